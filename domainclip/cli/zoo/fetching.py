"""The commands of `domainclip zoo` that pull, verify, find, remove and import models."""

from __future__ import annotations
