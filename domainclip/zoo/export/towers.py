"""The two towers of a model as a program runs them, whichever program that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from domainclip.model.clip import DomainClip

Prepare = Callable[[Image.Image], Tensor]
"""From an RGB picture to the image tower's input, shape (3, size, size)."""


class Towers(Protocol):
    """What is compared: unit vectors of pixels and of texts, and the logit scale."""

    @property
    def tool(self) -> str:
        """The program and its version."""
        ...

    @property
    def scale(self) -> float:
        """What cosines are multiplied by."""
        ...

    @property
    def prepare(self) -> Prepare | None:
        """The program's own preprocessing; None where it has none."""
        ...

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids of shape (n, context) by the program's own tokenizer."""
        ...

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim) for normalised pixels (n, 3, size, size)."""
        ...

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim) for token ids (n, context)."""
        ...


class SourceTowers:
    """A model of ours under one head.

    Args:
        model: The model, in eval mode.
        head: The head.
    """

    tool = "domainclip"
    prepare: Prepare | None = None

    def __init__(self, model: DomainClip, head: str) -> None:
        self.model, self.head = model.eval(), head
        self.scale = float(model.scale(head).detach())
        self.place = next(model.parameters()).device

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids of texts as they are: no prefix is put before them."""
        return self.model.tokenizer(texts, context_length=self.model.context_length)

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return self.model.encode_image(pixels.to(self.place), head=self.head).float().cpu()

    @torch.inference_mode()
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return self.model.encode_text(tokens.to(self.place)).float().cpu()


class ClipTowers:
    """An open_clip model.

    Args:
        clip: The model, in eval mode.
        tokenizer: Its tokenizer.
        tool: What loaded it.
        prepare: Its preprocessing.

    Attributes:
        vectors: Label vectors that lie beside it, shape (dim, labels).
    """

    def __init__(
        self, clip: Any, tokenizer: Any, tool: str, prepare: Prepare | None = None
    ) -> None:
        self.clip, self.tokenizer = clip.eval(), tokenizer
        self.tool, self.prepare = tool, prepare
        self.scale = float(clip.logit_scale.detach().exp())
        self.vectors: Tensor | None = None

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids of shape (n, context)."""
        found: Tensor = self.tokenizer(texts, context_length=self.clip.context_length)
        return found

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return functional.normalize(self.clip.encode_image(pixels).float(), dim=-1)

    @torch.inference_mode()
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return functional.normalize(self.clip.encode_text(tokens).float(), dim=-1)
