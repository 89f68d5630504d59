"""What a hub's refusal means for the person who asked, and how long to wait where it is busy."""

from __future__ import annotations

import contextlib
from typing import Any

from domainclip.errors import DataError, DomainclipError

BUSY = (408, 429, 500, 502, 503, 504)
"""Answers after which the same may be asked again."""


def explain(error: Any, endpoint: str, page: str, repo: str, asked: str) -> DomainclipError:
    """Return a refusal as an error that says the way on; no token is in it.

    Args:
        error: An `HfHubHTTPError`.
        endpoint: Address of the hub.
        page: Address of the repository.
        repo: The repository.
        asked: What was asked for: a file, or the commit.
    """
    from huggingface_hub import errors, get_token

    status, tokens = status_of(error), f"{endpoint}/settings/tokens"
    if isinstance(error, errors.GatedRepoError):
        closed = f"{repo} is gated: its publishers want to know who uses it"
        if get_token() is None:
            return DomainclipError(
                closed, f"ask for access at {page}, then set HF_TOKEN to a token of {tokens}"
            )
        return DomainclipError(
            f"{closed}, and your token has no access yet",
            f"ask for access at {page} as the user of that token, and wait for the answer",
        )
    told = error.response.headers if error.response is not None else {}
    if status == 401 and (told.get("X-Error-Message") or "").startswith("Invalid credentials"):
        return DomainclipError(
            f"{endpoint} refuses your token: it is wrong, or has expired",
            f"make a new one at {tokens} and set HF_TOKEN, or log out with `hf auth logout`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return DataError(
            f"{repo} has no commit {asked}: its publishers have removed it",
            f"look at {page}/commits/main; a newer domainclip may name another commit",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return DataError(f"{repo} has no file {asked}", f"{page} shows what it has")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        return DomainclipError(
            f"{endpoint} has no {repo}, or does not show it to you",
            f"look at {page}; a private one needs HF_TOKEN, a token of {tokens}",
        )
    return DomainclipError(f"{asked} of {repo} cannot be fetched: HTTP {status}", f"look at {page}")


def status_of(error: Any) -> int:
    """Return the HTTP status of an error of the hub; 0 where it has none."""
    return int(error.response.status_code) if error.response is not None else 0


def wait_of(error: Any, attempt: int) -> float:
    """Return the seconds that the hub asks to wait, else some that grow."""
    told = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    with contextlib.suppress(ValueError):
        return max(0.0, float(told))
    return 0.5 * 2.0**attempt


def say_connection(error: Exception) -> str:
    """Return what an error of the connection says; "" where a token may stand in it."""
    from huggingface_hub import get_token

    text, token = " ".join(str(error).split()), get_token()
    hidden = "bearer" in text.lower() or (token and token in text)
    return f"{type(error).__name__}: {text[:200]}" if text and not hidden else type(error).__name__
