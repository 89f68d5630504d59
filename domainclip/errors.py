"""One family of errors that people can act on: what happened, where, and the way on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DomainclipError(Exception):
    """Something a person can put right: a message, a hint, and the exit code of the command.

    Args:
        message: What happened and where, in one line.
        hint: What to do about it, in one line.
        exit_code: 1 for work that failed, 2 for wrong use or a wrong recipe.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(DomainclipError):
    """Wrong use of a command, a function or a recipe; nothing was started."""

    exit_code = 2


class DataError(DomainclipError):
    """Data that cannot be used as it is: missing, unreadable, duplicated or contradictory."""


class TrainingError(DomainclipError):
    """Training that cannot go on as it is: it diverges, or memory runs out."""


class LabelError(DataError):
    """A label tree that contradicts itself: duplicates, cycles, unknown names."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean X?" for the closest known word, or "" where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
