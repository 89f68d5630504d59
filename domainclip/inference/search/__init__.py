"""Finds pictures among many: by words, by another picture, or by both, where a condition holds."""
