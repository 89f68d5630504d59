"""The commands of `domainclip zoo` that publish models."""

from __future__ import annotations
