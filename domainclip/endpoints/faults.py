"""Reads what went wrong with a request: whose fault it is, and what may be said of it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeAlias

import openai

from domainclip.errors import DomainclipError

Kind: TypeAlias = Literal["down", "garbled", "busy", "shut", "size", "request", "answer"]
"""Whose fault: `down`, the endpoint's for now; `garbled`, what came was no chat answer; `busy`, it
asks for patience; `shut`, it will not serve us at all; `size`, the question is too large;
`request`, the question is not accepted; `answer`, there was one and it holds nothing."""

LONGEST = 300
"""Characters of a server's own words that are kept."""
SHORTEST = 6
"""Characters of a key that is a secret; "EMPTY" and the like are not, and are words besides."""
SPENT = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance")
TOO_LARGE = re.compile(
    r"too (large|big|many pixels)|larger than|payload"
    r"|exceed\w*[^.]{0,40}(size|limit|maximum|pixels)|(size|pixels)[^.]{0,40}exceed"
    r"|maximum[^.]{0,30}(image|picture|request)[^.]{0,20}size",
    re.IGNORECASE,
)
"""How servers say that a picture or a request is over their limit."""


class Fault(Exception):
    """One request that came to nothing.

    Args:
        kind: Whose fault it is.
        message: What happened, in one line without secrets.
        wait: Seconds that the server asks to wait, if it does.
        status: HTTP status, 0 where there was no answer.
    """

    def __init__(
        self, kind: Kind, message: str, *, wait: float | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.wait, self.status = kind, message, wait, status


class EndpointsDown(DomainclipError):
    """No endpoint answers any more; what was written until now is whole."""


def redact(text: str, secret: str) -> str:
    """Return a text without the key, and without whatever else looks like one."""
    if len(secret) >= SHORTEST:
        text = text.replace(secret, "[key]")
        text = text.replace(json.dumps(secret)[1:-1], "[key]")
    return re.sub(r"(?i)\b(bearer|basic)\s+[^\s\"',;}]{4,}", r"\1 [key]", text)


def one_line(text: str, secret: str) -> str:
    """Return a server's words as one line of bounded length, without the key."""
    said = " ".join(redact(text, secret).split())  # redacted first: a cut key is still a key
    return said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"


def server_words(body: object) -> tuple[str, str]:
    """Return message and code of an error's body, in the forms that servers use."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            said = inner.get("message") or inner.get("detail") or inner.get("error") or ""
            code = str(inner.get("code") or inner.get("type") or "")
            return (said if isinstance(said, str) else json.dumps(said)), code
        return str(inner), ""
    text = str(body or "")
    if "<html" in text[:1000].lower() or text.lstrip().lower().startswith("<!doctype"):
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
        return "a web page" + (f" ({title[1].strip()})" if title else ""), "html"
    return text, ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a server asks to wait: in seconds, milliseconds or as a date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def read_fault(error: Exception, secret: str, timeout: float) -> Fault:
    """Return what an exception of the client library means.

    Args:
        error: What it raised.
        secret: The key, which is left out of every text.
        timeout: Seconds that were waited.
    """
    if isinstance(error, Fault):
        return error
    if isinstance(error, TimeoutError | asyncio.TimeoutError | openai.APITimeoutError):
        return Fault("down", f"no answer within {timeout:g} s")
    if isinstance(error, openai.APIStatusError):
        return _read_status(error, secret)
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    said = one_line(str(cause) or type(cause).__name__, secret)
    if isinstance(error, openai.APIConnectionError):
        return Fault("down", f"no connection ({said})")
    return Fault("down", f"the request failed ({type(error).__name__}: {said})")


def _read_status(error: openai.APIStatusError, secret: str) -> Fault:
    status = error.status_code
    body: Any = error.body if error.body is not None else error.response.text
    said, code = server_words(body)
    line = f"HTTP {status}: {one_line(said, secret)}" if said else f"HTTP {status}"
    wait = retry_after(error.response.headers)
    kind: Kind = "request"
    if code == "html" and status < 500:
        kind = "garbled"
    elif status in (401, 402, 404) or code in SPENT:
        kind = "shut"
    elif status == 413 or (status in (400, 422) and TOO_LARGE.search(said)):
        kind = "size"
    elif status == 429 or (status == 503 and wait is not None):
        kind = "busy"
    elif status in (408, 409) or status >= 500:
        kind = "down"
    return Fault(kind, line, wait=wait, status=status)
