"""Honest probabilities: fitted on pictures whose labels are known, and kept beside the model."""
