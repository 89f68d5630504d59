"""Captions by any server that speaks the OpenAI chat API: vLLM, a hosted one, one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from domainclip.endpoints.answers import drop_thoughts
from domainclip.endpoints.chat import Endpoints
from domainclip.endpoints.questions import Account, Messages, Question, Reply
from domainclip.errors import UsageError

from .pictures import MAX_BYTES, QUALITY, SIDE, encode_picture, put_picture
from .requests import Request, Written


class OpenAICaptioner:
    """Asks endpoints for the caption of each picture.

    Args:
        endpoints: The servers; closed by whoever made them.
        max_tokens: Longest answer.
        temperature: Of the sampling; None leaves it to the server.
        top_p: Of the sampling; None leaves it to the server.
        side: Longest side in pixels of the picture sent.
        max_bytes: Bytes of the JPEG sent.
        revision: Of the model, if its server's operator knows it.
    """

    name = "openai"
    uses_prompt = True

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        max_tokens: int = 256,
        temperature: float | None = 0.7,
        top_p: float | None = 0.95,
        side: int = SIDE,
        max_bytes: int = MAX_BYTES,
        revision: str = "",
    ) -> None:
        self.endpoints = endpoints
        self.model, self.revision = endpoints.model, revision
        self.max_tokens, self.temperature, self.top_p = max_tokens, temperature, top_p
        self.side, self.max_bytes = side, max_bytes

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes what is written; neither addresses nor keys."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "side": self.side,
            "max_bytes": self.max_bytes,
            "quality": QUALITY,
        }

    @property
    def account(self) -> Account:
        """What has been asked so far, and what it cost."""
        return self.endpoints.account

    def check(self) -> tuple[str, ...]:
        """Ask each server once before any work; see `Endpoints.check`."""
        return self.endpoints.check(pictures=True)

    def write(self, requests: Iterable[Request]) -> Iterator[Written]:
        """Yield a caption, or why there is none, for each request, as answers come.

        Raises:
            EndpointsDown: If no server answers any more, after all that was under way is yielded.
        """
        for reply in self.endpoints.ask_many(self._question(request) for request in requests):
            yield self._written(reply)

    def _question(self, request: Request) -> Question:
        if request.prompt is None:
            raise UsageError(f"{request.id}: a request without a prompt")
        messages = request.prompt.messages

        def make(side: int) -> Callable[[], Messages]:
            return lambda: put_picture(
                messages, encode_picture(request.picture(), side=side, max_bytes=self.max_bytes)
            )

        return Question(
            request.id,
            make(self.side),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=request.seed % 2**31,  # some servers take no more
            smaller=make(self.side // 2),
        )

    def _written(self, reply: Reply) -> Written:
        if reply.error:
            return Written(
                reply.id, error=reply.error, model=self.model, revision=self.revision,
                details={"endpoint": reply.endpoint} if reply.endpoint else {},
            )  # fmt: skip
        text = drop_thoughts(reply.text)
        cut_short = not text or text.startswith("<think>")
        details: dict[str, Any] = {"endpoint": reply.endpoint}
        if reply.finish_reason not in ("stop", ""):
            details["finish_reason"] = reply.finish_reason
        if reply.retries:
            details["retries"] = reply.retries
        if reply.shrunk:
            details["side"] = self.side // 2
        return Written(
            reply.id,
            text="" if cut_short else text,
            error="the answer holds thoughts and no caption; allow more tokens"
            if cut_short
            else "",
            model=reply.model,
            revision=self.revision,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            seconds=reply.seconds,
            details=details,
        )
