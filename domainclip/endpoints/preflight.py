"""Asks each endpoint before any work, so that what is set wrong costs one request, not a run."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from typing import Any, Protocol

from domainclip.errors import DomainclipError, UsageError, suggest

from .faults import Fault
from .pool import Endpoint
from .questions import Account, Messages, Question, Reply

SIDE = 64
"""Pixels along the trial picture; some models take none under 28."""
SHOWN = 12
"""Names of models that a message lists at most."""
WORDS = "Say one word."
LOOK = "Which colour is this picture? Say one word."


class Asker(Protocol):
    """What sends a request: `domainclip.endpoints.chat.Endpoints`."""

    model: str
    key_env: str
    has_key: bool
    account: Account

    async def send(self, endpoint: Endpoint, question: Question, messages: Messages) -> Reply:
        """Send one request; raises `Fault`."""
        ...

    def adapt(self, endpoint: Endpoint, fault: Fault) -> bool:
        """Return whether a request that was refused may be accepted now."""
        ...


async def check(asker: Asker, endpoints: Sequence[Endpoint], *, pictures: bool) -> tuple[str, ...]:
    """Ask every endpoint once; see `Endpoints.check`."""
    work = [_check_one(asker, endpoint, pictures) for endpoint in endpoints]
    results = await asyncio.gather(*work, return_exceptions=True)
    down: list[DomainclipError] = []
    notes: list[str] = []
    for result in results:
        if isinstance(result, UsageError):
            raise result
        if isinstance(result, DomainclipError):
            down.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            notes += result
    if len(down) == len(endpoints):
        raise down[0]
    return (*notes, *(f"{error.message}; left out until it does" for error in down))


async def _check_one(asker: Asker, endpoint: Endpoint, pictures: bool) -> list[str]:
    """Return remarks on one endpoint; raise if it cannot be used."""
    seen = await _try(asker, endpoint, LOOK, "red" if pictures else None)
    name = endpoint.name
    if isinstance(seen, Reply):
        return await _check_sight(asker, endpoint, seen) if pictures else []
    if seen.kind == "answer":
        return []  # one word was too many for it: an answer all the same
    if seen.kind == "busy":
        return [f"{name}: busy ({seen.message})"]
    if seen.kind == "down" and not seen.status:
        raise DomainclipError(
            f"{name}: nothing answers: {seen.message}",
            "is the server running, and the address right?",
        )
    if seen.status in (401, 403):
        raise _key_refused(asker, name, seen)
    models = await _models(endpoint)
    if models and asker.model not in models:
        raise _no_model(asker.model, name, seen, models)
    if seen.kind == "garbled" or (seen.status in (404, 405) and not models):
        raise UsageError(
            f"{name}: not a chat endpoint: {seen.message}",
            "an address ends where /chat/completions would follow, mostly in /v1",
        )
    if seen.kind == "shut":
        raise UsageError(f"{name}: it does not serve {asker.model!r}: {seen.message}")
    plain = await _try(asker, endpoint, WORDS) if pictures else seen
    if isinstance(plain, Reply) or plain.kind == "answer":
        raise _sightless(asker.model, name, seen.message)
    if plain.kind == "request":
        raise UsageError(
            f"{name}: it refuses a plain question to {asker.model!r}: {plain.message}",
            "is the model named exactly as it was started?",
        )
    raise DomainclipError(f"{name}: it fails: {plain.message}", "see the server's own log")


async def _check_sight(asker: Asker, endpoint: Endpoint, red: Reply) -> list[str]:
    """Return remarks on a model that accepts pictures; raise if it is given none of them.

    Some servers drop the pictures for a model that reads text alone, and answer as if they were
    seen. Then a picture adds no tokens, and two pictures get one answer.
    """
    with_none = await _try(asker, endpoint, LOOK)
    if not isinstance(with_none, Reply) or not 0 < red.tokens_in <= with_none.tokens_in:
        return []
    blue = await _try(asker, endpoint, LOOK, "blue")
    if isinstance(blue, Reply) and blue.text == red.text:
        what = "a picture adds no tokens to a question, and does not change the answer"
        raise _sightless(asker.model, endpoint.name, what)
    return [f"{endpoint.name}: a picture adds no tokens to a question: does the model see it?"]


async def _try(
    asker: Asker, endpoint: Endpoint, words: str, colour: str | None = None
) -> Reply | Fault:
    """Ask one question, with a picture of one colour or none."""
    content: list[dict[str, Any]] = [{"type": "text", "text": words}]
    if colour is not None:
        content.insert(0, {"type": "image_url", "image_url": {"url": _picture(colour)}})
    messages = [{"role": "user", "content": content}]
    question = Question("check", messages, max_tokens=16, temperature=0.0, seed=0)
    while True:
        try:
            return await asker.send(endpoint, question, messages)
        except Fault as fault:
            if fault.kind != "request" or not asker.adapt(endpoint, fault):
                return fault


async def _models(endpoint: Endpoint) -> list[str]:
    """Return the names of the models that a server lists; none where it lists none."""
    try:
        body = json.loads(await endpoint.client.get("/models", cast_to=str))
        return [str(row["id"]) for row in body["data"]]
    except Exception:  # a server need not have a list, nor a good one
        return []


def _key_refused(asker: Asker, name: str, fault: Fault) -> UsageError:
    if asker.has_key:
        what, hint = "the key is refused", f"is the key in {asker.key_env} one of this server?"
    else:
        what, hint = "it wants a key", f"set the environment variable {asker.key_env}"
    return UsageError(f"{name}: {what}: {fault.message}", hint)


def _no_model(model: str, name: str, fault: Fault, models: Sequence[str]) -> UsageError:
    shown = ", ".join(models[:SHOWN]) + (", ..." if len(models) > SHOWN else "")
    close = suggest(model, models)
    return UsageError(
        f"{name}: no model {model!r}: {fault.message}",
        f"{close + ' ' if close else ''}it has: {shown}",
    )


def _sightless(model: str, name: str, why: str) -> UsageError:
    return UsageError(
        f"{name}: {model!r} takes no pictures: {why}",
        "serve an image-text-to-text model; this one answers questions without a picture",
    )


def _picture(colour: str) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), colour).save(buffer, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
