"""What a check is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from domainclip.captioning.requests import Request
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Claim, Lexicon

Outcome: TypeAlias = Literal["pass", "flag", "drop-claim", "reject"]


@dataclass(frozen=True)
class Verdict:
    """What one check says of one caption."""

    check: str
    outcome: Outcome
    """`pass`; `flag`: kept and noted; `drop-claim`: `claims` are taken out and the caption is
    rewritten from the rest; `reject`: no caption is stored, the reason is."""
    reason: str = ""
    claims: tuple[Claim, ...] = ()
    """What the verdict is about, by where it lies in the text that the check was given."""


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """One caption and everything that the checks go by; what is left out is not checked."""

    text: str
    request: Request
    lexicon: Lexicon | None = None
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Trait -> values that the label is known to have."""
    can_have: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Trait -> values known of the labels nearby, for traits that `known` does not tell; no
    values for a trait that it cannot have at all."""
    tree: LabelTree | None = None
    """The tree of `request.node`, for the names of labels."""
    names: Literal["say", "omit"] | None = None
    """Name policy; None for none."""
    noun: str = "one"
    """Stands in for a name that is taken out."""
    max_tokens: int = 0
    """Tokens that the text tower reads; 0 for no limit."""
    count_tokens: Callable[[str], int] | None = None
    language: str = "en"
    excerpt: str = ""
    """The knowledge that the captioner was shown; "" where it was shown none."""
    strict: bool = False
    """Drop claims about which nothing is known, instead of flagging them."""

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the text that the lexicon can read."""
        return self.lexicon.claims(self.text) if self.lexicon else ()
