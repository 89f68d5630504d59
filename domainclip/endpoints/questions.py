"""What is asked of a chat endpoint, what comes back, and the account of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Messages: TypeAlias = Sequence[Mapping[str, Any]]
"""Messages in the form of the OpenAI chat API, pictures as data URLs."""


@dataclass(frozen=True)
class Question:
    """One question; what is None is not sent, so that the server's own default holds."""

    id: str
    messages: Messages | Callable[[], Messages]
    """The messages, or what makes them; that is called in a thread, shortly before they go out."""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    smaller: Callable[[], Messages] | None = None
    """Makes smaller messages, tried once if the endpoint finds these too large."""


@dataclass(frozen=True)
class Reply:
    """The answer to one question, or why there is none."""

    id: str
    text: str = ""
    error: str = ""
    """Why there is no text, in one line; "" where there is one."""
    model: str = ""
    """The model as the server names it."""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    """From sending to answer, of the request that was answered."""
    endpoint: str = ""
    """Address of the endpoint."""
    finish_reason: str = ""
    """"stop"; "length" where the answer was cut; "refusal" where the server marks it as one."""
    retries: int = 0
    """How many requests came to nothing before."""
    shrunk: bool = False
    """Whether it was `smaller` that was answered."""


@dataclass
class Account:
    """What has been asked so far, and what it cost."""

    price_in: float = 0.0
    """Price of a million tokens that are read, in the user's currency."""
    price_out: float = 0.0
    """Price of a million tokens that are written."""
    answered: int = 0
    failed: int = 0
    retries: int = 0
    shrunk: int = 0
    """Answers to smaller messages, the first ones being over an endpoint's size."""
    cut: int = 0
    """Answers that ended at `max_tokens`."""
    tokens_in: int = 0
    """Tokens of every answer that came, those not used counted too."""
    tokens_out: int = 0
    by_endpoint: dict[str, int] = field(default_factory=dict)
    """Answers of each endpoint."""
    notes: list[str] = field(default_factory=list)
    """What people should know about an endpoint, each said once."""

    @property
    def cost(self) -> float:
        """Return the price of all tokens; 0 where no prices are given."""
        return (self.tokens_in * self.price_in + self.tokens_out * self.price_out) / 1e6

    def add(self, reply: Reply) -> None:
        """Count one reply; its tokens are counted when they come."""
        if reply.error:
            self.failed += 1
        else:
            self.answered += 1
            self.by_endpoint[reply.endpoint] = self.by_endpoint.get(reply.endpoint, 0) + 1
            self.shrunk += reply.shrunk
            self.cut += reply.finish_reason == "length"
        self.retries += reply.retries

    def __add__(self, other: Account) -> Account:
        """Return both in one, at the prices of the one that has any."""
        return Account(
            self.price_in or other.price_in,
            self.price_out or other.price_out,
            self.answered + other.answered,
            self.failed + other.failed,
            self.retries + other.retries,
            self.shrunk + other.shrunk,
            self.cut + other.cut,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            {
                name: self.by_endpoint.get(name, 0) + other.by_endpoint.get(name, 0)
                for name in {**self.by_endpoint, **other.by_endpoint}
            },
            list(dict.fromkeys([*self.notes, *other.notes])),
        )

    def note(self, line: str) -> None:
        """Keep a line for people, unless it has been said."""
        if line not in self.notes:
            self.notes.append(line)
