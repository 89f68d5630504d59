"""From the files that a model was published as to a model folder."""

from .conversion import convert

__all__ = ["convert"]
