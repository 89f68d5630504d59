"""Captions for pictures: prompts, captioners, checks and the store."""
