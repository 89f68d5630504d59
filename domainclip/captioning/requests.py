"""What goes into a captioner and what comes out, one value a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from domainclip.domains.contract import LabelKey
from domainclip.knowledge.records import Record, Trait


@dataclass(frozen=True)
class Prompt:
    """What is asked of a language model about one picture.

    `messages` is a list in the form of the OpenAI chat API, its picture a part
    `{"type": "image"}` that each captioner replaces by the picture in the form that it sends.
    """

    messages: tuple[Mapping[str, Any], ...]
    digest: str
    """Digest of the messages, the picture left out."""
    excerpt: str = ""
    """The knowledge that the messages quote, a line for each subject; "" for none."""


@dataclass(frozen=True)
class Request:
    """One picture to caption."""

    id: str
    """Sample id."""
    node: int
    """Label node, in the tree of the data."""
    label: LabelKey
    picture: Callable[[], Image.Image]
    """Reads the picture as RGB; raises `domainclip.data.images.UnreadableImage`."""
    seed: int
    """Seed of this picture's draws, made of the run's seed and the sample id."""
    records: tuple[Record, ...] = ()
    traits: tuple[Trait, ...] = ()
    """Visible statements about the label and the sample."""
    prompt: Prompt | None = None
    """None for captioners without a language model."""


@dataclass(frozen=True)
class Written:
    """What a captioner wrote for one picture, or why it wrote nothing."""

    id: str
    text: str = ""
    error: str = ""
    """Why there is no text, in one line; such a picture is asked for again by the next run."""
    model: str = ""
    revision: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the captioner notes about it: the endpoint, the trait sentences picked."""


class Captioner(Protocol):
    """Writes captions; a stream in, a stream out, in any order, holding only what is in flight."""

    name: str
    """"bank", "openai" or "transformers"."""
    model: str
    """The model that writes, "" for none."""
    revision: str
    uses_prompt: bool

    @property
    def settings(self) -> Mapping[str, Any]:
        """Sampling settings and whatever else changes what is written; JSON values, no secrets."""
        ...

    def write(self, requests: Iterable[Request]) -> Iterator[Written]:
        """Yield one `Written` for each request, pulling requests only as they can be worked on."""
        ...
