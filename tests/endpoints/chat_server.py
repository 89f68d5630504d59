"""A scripted server that speaks the OpenAI chat API, for faults and for speed.

    python tests/endpoints/chat_server.py --port 0 --delay 0.5

It prints its address and serves until it is ended. In a test, `serve(answer)` runs it in a thread;
`answer` is called with every chat request and returns what to do with it, so a fault can be made of
anything that was asked. HTTP is spoken by hand: it answers thousands of requests a second, and can
break every rule that a library would keep.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One chat request."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    number: int
    """0, 1, ... in the order of arrival."""

    @property
    def text(self) -> str:
        """All text of the request, pictures left out."""
        return "\n".join(part["text"] for part in self.parts() if part["type"] == "text")

    @property
    def pictures(self) -> list[str]:
        """Data URLs of the request's pictures."""
        return [part["image_url"]["url"] for part in self.parts() if part["type"] == "image_url"]

    def parts(self) -> Iterator[Mapping[str, Any]]:
        """Content parts of all messages, plain strings as text parts."""
        for message in self.body["messages"]:
            content = message["content"]
            yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    text: str | None = "A picture."
    status: int = 200
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    finish: str = "stop"
    refusal: str | None = None
    body: bytes | None = None
    """Sent in place of a proper answer."""
    kind: str = "application/json"
    cut: int | None = None
    """The connection is cut after this many bytes of the answer, 0 before the first."""
    tokens: tuple[int, int] | None = None
    """Tokens in and out; counted roughly where not given."""


def failure(status: int, message: str, code: str | None = None, **more: Any) -> Answer:
    """Return an error as the OpenAI API words it."""
    error = {"message": message, "type": "error", "param": None, "code": code}
    return Answer(status=status, body=json.dumps({"error": error}).encode(), **more)


class ChatServer:
    """What is served, and what has been asked of it so far."""

    def __init__(
        self,
        answer: Callable[[Asked], Answer],
        models: tuple[str, ...] | None = ("tiny",),
        *,
        keep: bool = True,
    ) -> None:
        self.answer, self.models, self.keep = answer, models, keep
        self.asked: list[Asked] = []
        self.port = 0
        self.now = self.most = 0
        """Requests being answered at this moment, and the most there were."""
        self.dropped = 0
        """Requests whose client went away before the answer."""
        self.connections: set[asyncio.Transport] = set()
        self._numbers = itertools.count()

    @property
    def url(self) -> str:
        """Its address, as an endpoint is named."""
        return f"http://127.0.0.1:{self.port}/v1"

    def respond(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to one HTTP request."""
        if path == "/v1/models":
            if self.models is None:
                return failure(404, "Not Found")
            listed = [{"id": name, "object": "model", "created": 0} for name in self.models]
            return Answer(body=json.dumps({"object": "list", "data": listed}).encode())
        if path != "/v1/chat/completions":
            return failure(404, f"no such path: {path}")
        asked = Asked(json.loads(body), headers, next(self._numbers))
        if self.keep:
            self.asked.append(asked)
        answer = self.answer(asked)
        if answer.body is None:
            text_in = asked.text
            tokens_in, tokens_out = answer.tokens or (
                len(text_in.split()) + 50 * len(asked.pictures),
                len((answer.text or "").split()),
            )
            said = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
            whole = {
                "id": f"chat-{asked.number}",
                "object": "chat.completion",
                "created": 0,
                "model": asked.body["model"],
                "choices": [{"index": 0, "message": said, "finish_reason": answer.finish}],
                "usage": {
                    "prompt_tokens": tokens_in,
                    "completion_tokens": tokens_out,
                    "total_tokens": tokens_in + tokens_out,
                },
            }
            answer = Answer(
                body=json.dumps(whole).encode(), delay=answer.delay, cut=answer.cut,
                status=answer.status, headers=answer.headers,
            )  # fmt: skip
        return answer


class _Connection(asyncio.Protocol):
    """One connection: requests one after the other, answers after their delay."""

    def __init__(self, server: ChatServer) -> None:
        self.server = server
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.length = -1
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.server.connections.discard(self.transport)
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.length < 0:
            self._read_head()
        if 0 <= self.length <= len(self.buffer):
            self._read_body()

    def _read_head(self) -> None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        del self.buffer[: end + 4]
        _, self.path, _ = first.split(" ")
        pairs = (line.partition(": ") for line in lines)
        self.headers = {name.lower(): value for name, _, value in pairs}
        self.length = int(self.headers.get("content-length", 0))

    def _read_body(self) -> None:
        body = bytes(self.buffer[: self.length])
        del self.buffer[: self.length]
        self.length = -1
        server = self.server
        server.now += 1
        server.most = max(server.most, server.now)
        answer = server.respond(self.path, self.headers, body)
        asyncio.get_running_loop().call_later(answer.delay, self._send, answer)

    def _send(self, answer: Answer) -> None:
        self.server.now -= 1
        if self.transport is None:
            self.server.dropped += 1
            return
        body = answer.body or b""
        head = {"content-type": answer.kind, "content-length": str(len(body)), **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        data = f"HTTP/1.1 {answer.status} -\r\n{lines}\r\n".encode("latin-1") + body
        if answer.cut is not None:
            self.transport.write(data[: answer.cut])
            self.transport.close()
        else:
            self.transport.write(data)


async def run(server: ChatServer, port: int = 0) -> asyncio.Server:
    """Start listening on this machine alone; `server.port` is set."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: _Connection(server), "127.0.0.1", port, backlog=1024
    )
    server.port = listening.sockets[0].getsockname()[1]
    return listening


@contextmanager
def serve(
    answer: Callable[[Asked], Answer] = lambda asked: Answer(),
    models: tuple[str, ...] | None = ("tiny",),
    port: int = 0,
) -> Iterator[ChatServer]:
    """Serve in a thread for the length of a `with` block."""
    server, ready = ChatServer(answer, models), threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def work() -> None:
        listening = await run(server, port)
        ready.set()
        await over.wait()
        listening.close()
        for connection in list(server.connections):
            connection.abort()

    def run_loop() -> None:
        loop.run_until_complete(work())
        loop.close()

    thread = threading.Thread(target=run_loop, daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the scripted server did not start")
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


async def _forever(delay: float, port: int, words: int) -> None:
    text = " ".join(["word"] * words)
    server = ChatServer(lambda asked: Answer(text, delay=delay), keep=False)
    listening = await run(server, port)
    print(server.url, flush=True)
    await listening.serve_forever()


def main() -> None:
    """Serve with one delay until ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds to each answer")
    parser.add_argument("--words", type=int, default=25, help="words in each answer")
    asked = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_forever(asked.delay, asked.port, asked.words))


if __name__ == "__main__":
    main()
