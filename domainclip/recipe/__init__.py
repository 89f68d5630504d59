"""Recipes: what they may say, how they are merged and checked, how they are shown."""
