"""The commands of `domainclip zoo` that list and show models."""

from __future__ import annotations
