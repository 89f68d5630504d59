"""Pictures in: sources, the packed cache, transforms and the data module."""
