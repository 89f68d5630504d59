"""Which of several endpoints a question goes to, and which of them are left alone for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from openai import AsyncOpenAI

from .faults import EndpointsDown, Fault

FAILURES = 3
"""Failures in a row after which an endpoint is left alone."""
FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds until it is tried again; doubled each time that it fails once more."""


@dataclass(eq=False)
class Endpoint:
    """One server, and how it has been doing."""

    name: str
    """Its address."""
    clients: tuple[AsyncOpenAI, ...] = field(repr=False)
    """Used in turn, each with connections of its own."""
    limit: float
    """Requests at once that it is given; halved when it is busy, regained answer by answer."""
    in_flight: int = 0
    asked: int = 0
    failures: int = 0
    """In a row."""
    opened: bool = False
    """Left alone: after each rest one question probes whether it is back."""
    probing: bool = False
    resting_until: float = 0.0
    next_rest: float = FIRST_REST
    halved: float = 0.0
    """When `limit` was halved last."""
    shut: bool = False
    """Will not serve us at all; not tried again."""
    fault: str = ""
    """What it said last when it failed."""
    renamed: bool = False
    """Takes `max_completion_tokens` rather than `max_tokens`."""
    seedless: bool = False
    """Takes no `seed`."""

    @property
    def client(self) -> AsyncOpenAI:
        """Return the client for the next request."""
        return self.clients[self.asked % len(self.clients)]

    def free(self, now: float) -> bool:
        """Return whether it can be given a question now."""
        ready = not self.shut and now >= self.resting_until and self.in_flight < self.limit
        return ready and not (self.opened and self.probing)

    def away(self, now: float) -> bool:
        """Return whether it is shut or left alone, rather than merely full."""
        return self.shut or self.opened or now < self.resting_until


@dataclass(frozen=True)
class Ticket:
    """The right to send one request to one endpoint."""

    endpoint: Endpoint
    taken: float
    probe: bool


class Pool:
    """Gives each question to the endpoint that has the least to do.

    It lives in one event loop.

    Args:
        endpoints: The servers.
        patience: Seconds that questions wait while no endpoint serves them.
    """

    def __init__(self, endpoints: Sequence[Endpoint], patience: float) -> None:
        self.endpoints = tuple(endpoints)
        self.patience = patience
        self._most = max(endpoint.limit for endpoint in endpoints)
        self._trouble: float | None = None  # since when nothing but faults has come
        self._changed: asyncio.Event | None = None

    def hope(self) -> None:
        """Forget for how long nothing has answered: a new start deserves the whole patience."""
        self._trouble = None

    def others(self, endpoint: Endpoint) -> bool:
        """Return whether another endpoint could take a question now."""
        now = asyncio.get_running_loop().time()
        return any(other is not endpoint and other.free(now) for other in self.endpoints)

    async def take(self, avoid: Endpoint | None = None) -> Ticket:
        """Wait for an endpoint and return the right to ask it.

        Args:
            avoid: The one that has just failed; taken only where there is no other.

        Raises:
            EndpointsDown: If none serves any more.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            free = [endpoint for endpoint in self.endpoints if endpoint.free(now)]
            if free:
                # One whose rest is over comes first: nobody else would find out that it is back.
                best = min(
                    free, key=lambda e: (e is avoid, not e.opened, e.in_flight, e.asked)
                )  # fmt: skip
                best.in_flight += 1
                best.asked += 1
                best.probing = best.opened
                return Ticket(best, now, best.opened)
            pause = self._pause(now)
            if self._changed is None:
                self._changed = asyncio.Event()
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def give_back(self, ticket: Ticket, fault: Fault | None) -> None:
        """Return a ticket with what came of it; None for an answer."""
        endpoint, now = ticket.endpoint, asyncio.get_running_loop().time()
        endpoint.in_flight -= 1
        if ticket.probe:
            endpoint.probing = False
        if fault is None or fault.kind in ("answer", "request", "size"):
            self._served(endpoint)
        else:
            endpoint.fault = fault.message
            if self._trouble is None:
                self._trouble = now
            if fault.kind == "shut":
                endpoint.shut = True
            elif fault.kind == "busy":
                self._rest(endpoint, now, fault.wait)
                if ticket.taken >= endpoint.halved:  # one burst of refusals counts once
                    endpoint.limit, endpoint.halved = max(1.0, endpoint.limit / 2), now
            else:
                endpoint.failures += 1
                if ticket.probe or (endpoint.failures >= FAILURES and not endpoint.opened):
                    endpoint.opened = True
                    self._rest(endpoint, now, None)
        self._wake()

    def put_off(self, ticket: Ticket) -> None:
        """Return a ticket that came to neither an answer nor a fault: it was cancelled."""
        ticket.endpoint.in_flight -= 1
        if ticket.probe:
            ticket.endpoint.probing = False
        self._wake()

    def _served(self, endpoint: Endpoint) -> None:
        self._trouble = None
        if endpoint.opened:
            endpoint.opened, endpoint.resting_until = False, 0.0
        endpoint.failures, endpoint.next_rest = 0, FIRST_REST
        endpoint.limit = min(self._most, endpoint.limit + 1 / endpoint.limit)

    def _rest(self, endpoint: Endpoint, now: float, wait: float | None) -> None:
        if wait is None:
            if now < endpoint.resting_until:
                return
            wait = endpoint.next_rest
            endpoint.next_rest = min(LONGEST_REST, 2 * wait)
        endpoint.resting_until = max(endpoint.resting_until, now + wait)

    def _pause(self, now: float) -> float | None:
        """Return how long to wait for a free endpoint at most; raise if there is no use in it."""
        if not all(endpoint.away(now) for endpoint in self.endpoints):
            return None  # one of them is merely full, or about to be probed
        back = [e.resting_until for e in self.endpoints if not e.shut]
        since = now if self._trouble is None else self._trouble
        end = since + self.patience
        if not back or now >= end or min(back) - now > self.patience:
            raise EndpointsDown(*self._obituary(now))
        return max(0.001, min([end, *(at for at in back if at > now)]) - now)

    def _obituary(self, now: float) -> tuple[str, str]:
        said = []
        for endpoint in self.endpoints:
            wait = endpoint.resting_until - now
            long = f", and asks to wait {wait:.0f} s" if wait > self.patience else ""
            said.append(f"{endpoint.name}: {endpoint.fault}{long}")
        hint = (
            "what has been written is kept: when the server is back, run the same command again "
            f"(questions wait {self.patience:g} s for it)"
        )
        return f"no endpoint serves any more: {'; '.join(said)}", hint

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
