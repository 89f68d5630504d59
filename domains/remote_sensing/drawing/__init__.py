"""Paints a tile from its traits: one file a trait, one function a value."""
