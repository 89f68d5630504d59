"""Asks one or several OpenAI-compatible servers many questions at once, and outlives their faults.

Requests go out through the openai package with its own retries off: retries are counted here, so
that a question moves on to another server and none is asked more often than agreed.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from openai import DEFAULT_CONNECTION_LIMITS, AsyncOpenAI, DefaultAsyncHttpxClient

from domainclip.errors import DomainclipError, UsageError

from .answers import read_answer
from .faults import EndpointsDown, Fault, one_line, read_fault, redact
from .pool import Endpoint, Pool, Ticket
from .questions import Account, Messages, Question, Reply
from .stream import LoopThread

AHEAD = 32
"""Questions made ready while all slots are taken, at most."""
SHARE, MOST_CLIENTS = 8, 16
"""Connections of one client: it looks at each of them for each request, so that many cost time."""
NO_KEY = "none"
"""Sent where no key is set: servers of one's own do not look at it."""


class Endpoints:
    """One or several servers of one model, asked as one.

    Args:
        urls: Their addresses, such as "http://127.0.0.1:8000/v1"; "/v1" is added to a bare host.
        model: The model's name, the same at each.
        key_env: Environment variable that holds the key; servers without keys need none.
        timeout: Seconds that one request may take as a whole.
        retries: Further requests for one question after its first came to nothing.
        concurrency: Requests under way at a time, over all servers.
        price_in: Price of a million tokens read, for the account.
        price_out: Price of a million tokens written.
        patience: Seconds that questions wait while no server serves them. A server that asks
            (`Retry-After`) for a longer wait than this is not waited for.

    Raises:
        UsageError: If an address is none or is named twice, a number is out of range, or what the
            environment variable holds is no key.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        key_env: str = "OPENAI_API_KEY",
        timeout: float = 60.0,
        retries: int = 5,
        concurrency: int = 16,
        price_in: float = 0.0,
        price_out: float = 0.0,
        patience: float = 60.0,
    ) -> None:
        if concurrency < 1 or retries < 0 or timeout <= 0:
            raise UsageError(
                f"concurrency {concurrency}, retries {retries}, timeout {timeout:g}: out of range",
                "at least one request at a time, no negative retries, some time to answer",
            )
        self.model, self.key_env = model, key_env
        self.timeout, self.retries, self.concurrency = timeout, retries, concurrency
        self.account = Account(price_in, price_out)
        self._key = os.environ.get(key_env, "").strip()
        self.has_key = bool(self._key)
        if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
            raise UsageError(f"{key_env}: what it holds is no key", "a key has no spaces in it")
        self._endpoints = self._connect([urls] if isinstance(urls, str) else urls)
        self.pool = Pool(self._endpoints, patience)
        self._jitter = random.Random(0)
        self._thread: LoopThread | None = None
        self._down: EndpointsDown | None = None

    def __repr__(self) -> str:
        """Name the servers and the model, never the key."""
        return f"Endpoints({[endpoint.name for endpoint in self._endpoints]}, {self.model!r})"

    def __enter__(self) -> Endpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the addresses."""
        return tuple(endpoint.name for endpoint in self._endpoints)

    def check(self, *, pictures: bool = True) -> tuple[str, ...]:
        """Ask each server once, before any work.

        Args:
            pictures: Whether the questions will hold pictures.

        Returns:
            Lines for people: a server that is left out for now, a model that may not see pictures.

        Raises:
            UsageError: If one is no chat endpoint, refuses the key, has no such model, or the model
                takes no pictures.
            DomainclipError: If none of them answers.
        """
        from .preflight import check

        return self._loop().run(check(self, self._endpoints, pictures=pictures))

    def ask_many(self, questions: Iterable[Question]) -> Iterator[Reply]:
        """Yield a reply to each question, in the order in which they come.

        Questions are pulled one by one as requests end. Closing the generator cancels what is
        under way. A question that fails is a reply with an `error`.

        Raises:
            EndpointsDown: If no server serves any more, after a reply to every question pulled.
        """
        self._down = None
        self.pool.hope()
        limit = self.concurrency + min(AHEAD, self.concurrency)
        stream = self._loop().stream(
            questions, self._answer, limit=limit, over=lambda: self._down is not None
        )
        yield from stream
        if self._down is not None:
            raise EndpointsDown(self._down.message, self._down.hint)

    def close(self) -> None:
        """Close connections and threads; asking again opens new ones."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self._disconnect())
            thread.close()
            self._makers.shutdown(wait=False, cancel_futures=True)

    async def send(self, endpoint: Endpoint, question: Question, messages: Messages) -> Reply:
        """Send one request to one server; raises `Fault` if nothing comes of it."""
        body = self._body(endpoint, question, messages)
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            async with asyncio.timeout(self.timeout):
                text = await endpoint.client.post("/chat/completions", cast_to=str, body=body)
        except Exception as error:
            raise read_fault(error, self._key, self.timeout) from None
        seconds = loop.time() - start
        answer = read_answer(text, self._key)
        self.account.tokens_in += answer.tokens_in
        self.account.tokens_out += answer.tokens_out
        if not answer.text:
            raise Fault("answer", answer.why_empty())
        return Reply(
            question.id,
            text=redact(answer.text, self._key),
            model=answer.model or self.model,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            seconds=seconds,
            endpoint=endpoint.name,
            finish_reason=answer.finish_reason,
        )

    def redact(self, text: str) -> str:
        """Return a text as one line without the key."""
        return one_line(text, self._key)

    async def _answer(self, question: Question) -> Reply:
        """Return the reply to one question, whatever happens."""
        messages = await self._make(question, question.messages)
        if isinstance(messages, Reply):
            reply = messages
        else:
            async with self._slots:
                reply = await self._ask(question, messages)
        self.account.add(reply)
        return reply

    async def _ask(self, question: Question, messages: Messages) -> Reply:
        """Send a question until it is answered, or there is no use in it any more."""
        retries, shrunk, where = 0, False, ""
        avoid: Endpoint | None = None
        while True:
            if self._down is None:
                try:
                    ticket = await self.pool.take(avoid)
                except EndpointsDown as down:
                    self._down = down
            if self._down is not None:
                error = self._down.message
                return Reply(question.id, error=error, endpoint=where, retries=retries)
            endpoint = ticket.endpoint
            where = endpoint.name
            answer = await self._use(ticket, question, messages)
            if isinstance(answer, Reply):
                return replace(answer, retries=retries, shrunk=shrunk)
            again = retries < self.retries
            if answer.kind == "size" and question.smaller is not None and not shrunk:
                made = await self._make(question, question.smaller)
                if isinstance(made, Reply):
                    return made
                messages, shrunk = made, True
            elif answer.kind in ("size", "request"):
                again = again and self.adapt(endpoint, answer)
            elif answer.kind == "answer":
                again = again and not retries  # twice is enough
            if not again:
                times = f" ({retries + 1} requests)" if retries else ""
                error = f"{where}: {answer.message}{times}"
                return Reply(question.id, error=error, endpoint=where, retries=retries)
            retries += 1
            avoid = None if answer.kind in ("size", "request", "answer") else endpoint
            if answer.kind in ("down", "garbled") and not self.pool.others(endpoint):
                pause = min(8.0, 0.25 * 2 ** (retries - 1))
                await asyncio.sleep(pause * self._jitter.uniform(0.5, 1.0))

    async def _use(self, ticket: Ticket, question: Question, messages: Messages) -> Reply | Fault:
        """Use a ticket for one request and give it back."""
        try:
            reply = await self.send(ticket.endpoint, question, messages)
        except Fault as fault:
            self.pool.give_back(ticket, fault)
            return fault
        except BaseException:  # cancelled: it says nothing about the endpoint
            self.pool.put_off(ticket)
            raise
        self.pool.give_back(ticket, None)
        return reply

    async def _make(
        self, question: Question, messages: Messages | Callable[[], Messages]
    ) -> Messages | Reply:
        """Return a question's messages, made in a thread; a reply if that fails."""
        if not callable(messages):
            return messages
        try:
            return await asyncio.get_running_loop().run_in_executor(self._makers, messages)
        except DomainclipError as error:
            return Reply(question.id, error=self.redact(error.message))
        except Exception as error:  # one question's fault must not end the others
            return Reply(question.id, error=self.redact(f"{type(error).__name__}: {error}"))

    def _body(self, endpoint: Endpoint, question: Question, messages: Messages) -> dict[str, Any]:
        length = "max_completion_tokens" if endpoint.renamed else "max_tokens"
        sent = {
            length: question.max_tokens,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "seed": None if endpoint.seedless else question.seed,
        }
        given = {name: value for name, value in sent.items() if value is not None}
        return {"model": self.model, "messages": list(messages), **given}

    def adapt(self, endpoint: Endpoint, fault: Fault) -> bool:
        """Leave out what a server does not know, if it says so and nothing hangs on it."""
        if "max_completion_tokens" in fault.message and not endpoint.renamed:
            endpoint.renamed = True
        elif "seed" in fault.message and not endpoint.seedless:
            endpoint.seedless = True
            self.account.note(f"{endpoint.name}: takes no seed, so answers cannot be repeated")
        else:
            return False
        return True

    def _connect(self, urls: Sequence[str]) -> list[Endpoint]:
        addresses = [_address(url, self.key_env) for url in urls]
        if not addresses or len(set(addresses)) < len(addresses):
            raise UsageError(
                "no endpoint is named" if not addresses else "an endpoint is named twice",
                "name each server once, such as http://127.0.0.1:8000/v1",
            )
        return [Endpoint(url, self._clients(url), self.concurrency) for url in addresses]

    def _clients(self, url: str) -> tuple[AsyncOpenAI, ...]:
        limits = type(DEFAULT_CONNECTION_LIMITS)(
            max_connections=None, max_keepalive_connections=self.concurrency
        )
        return tuple(
            AsyncOpenAI(
                base_url=url,
                api_key=self._key or NO_KEY,
                max_retries=0,
                timeout=self.timeout,
                http_client=DefaultAsyncHttpxClient(limits=limits),
            )
            for _ in range(min(MOST_CLIENTS, math.ceil(self.concurrency / SHARE)))
        )

    def _loop(self) -> LoopThread:
        if self._thread is None:
            self._slots = asyncio.Semaphore(self.concurrency)  # belongs to one loop
            threads = min(16, max(4, os.cpu_count() or 4))
            self._makers = ThreadPoolExecutor(threads, thread_name_prefix="questions")
            self._thread = LoopThread()
        return self._thread

    async def _disconnect(self) -> None:
        for endpoint in self._endpoints:
            for client in endpoint.clients:
                await client.close()
            endpoint.clients = self._clients(endpoint.name)


def _address(url: str, key_env: str) -> str:
    """Return an address as the client library wants it; "/v1" is added to a bare host."""
    parts = urlsplit(url.strip())
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{shown!r}: not the address of an endpoint",
            "an address begins with http:// or https://, such as http://127.0.0.1:8000/v1",
        )
    if "@" in parts.netloc or parts.query:
        raise UsageError(
            f"{shown}: the address must not hold a password or a query",
            f"put the key into the environment variable {key_env}",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))
