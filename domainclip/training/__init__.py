"""Training: the one LightningModule, its callbacks, and the run from recipe to run folder."""
