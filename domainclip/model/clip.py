"""A CLIP of open_clip's two towers, with projection heads of its own on the pooled image feature.

BioCAP (arXiv:2510.20095) projects one pooled feature twice, once for names and once for captions,
both heads starting alike; inference names the head that it wants.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .cpu import short_attention

MAX_LOG_SCALE = math.log(100.0)
"""CLIP's bound on the log of the logit scale (arXiv:2103.00020, section 2.5)."""

PREFIXES = {"names": "name:", "captions": "caption:"}
"""Words that tell the text tower where a text comes from, where a model is trained with them."""


class Tokenizer(Protocol):
    """Turns texts into token ids of shape (n, context_length)."""

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        """Tokenise, truncating at the context length with the end token kept."""
        ...


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the image tower's input."""

    size: int
    """Side of the input in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize: int = 0
    """Shortest side in pixels before the centre is cut out; 0 for `size` itself."""
    mode: str = "shortest"
    """`shortest` cuts out the centre, `squash` presses the whole picture into a square."""

    @property
    def shortest(self) -> int:
        """Shortest side in pixels before the centre is cut out."""
        return self.resize or self.size


class DomainClip(nn.Module):
    """Two towers, one pooled image feature, and a projection head for each kind of text.

    Args:
        clip: An open_clip model; its image projection is taken out and becomes the `names` head.
        tokenizer: The tokenizer that belongs to it.
        preprocess: Size, mean and standard deviation of its pictures.
        config: open_clip's `model_cfg` of it, from which the model folder is written.
        heads: The heads to have; `names` always exists.
        prefixes: Head -> word that its texts begin with (prefix conditioning, Saito et al. 2022,
            arXiv:2206.01125); {} for none.
    """

    def __init__(
        self,
        clip: Any,
        tokenizer: Tokenizer,
        preprocess: Preprocess,
        config: dict[str, Any],
        heads: Sequence[str] = ("names",),
        prefixes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.config = config
        self.prefixes = dict(prefixes or {})
        self.projection_key, head = take_projection(clip.visual)
        self.clip: Any = clip
        self.heads = nn.ModuleDict({"names": head})
        self.log_scales = nn.ParameterDict({"names": _scalar(clip.logit_scale)})
        clip.logit_scale = None
        self.held: tuple[nn.Module, ...] = ()
        """Modules that stay in eval mode while the rest is trained."""
        for name in heads:
            if name not in self.heads:
                self.heads[name] = _twin(head, config["embed_dim"])
                self.log_scales[name] = _scalar(self.log_scales["names"])
        bias = getattr(clip, "logit_bias", None)
        clip.logit_bias = None
        self.biases = nn.ParameterDict(
            {name: _scalar(bias) for name in self.heads} if bias is not None else {}
        )

    @property
    def _trims_text(self) -> bool:
        text = getattr(self.clip, "text", None)
        causal = getattr(text, "attn_mask", None) is not None
        return causal and getattr(text, "pool_type", "") == "argmax"

    def train(self, mode: bool = True) -> DomainClip:
        """Set the mode; what is held keeps its batch statistics and drops nothing out."""
        super().train(mode)
        for module in self.held:
            module.eval()
        return self

    @property
    def text_tower(self) -> nn.Module:
        """The module whose parameters encode texts; open_clip's CLIP class is one itself."""
        tower: nn.Module = getattr(self.clip, "text", self.clip)
        return tower

    @property
    def context_length(self) -> int:
        """Tokens per text."""
        return int(self.clip.context_length)

    def head(self, name: str) -> str:
        """Return the head that serves `name`: itself where it exists, else `names`."""
        return name if name in self.heads else "names"

    def say(self, texts: Sequence[str], head: str = "names") -> list[str]:
        """Return texts as the text tower gets them: with the prefix of a head, if it has one."""
        prefix = self.prefixes.get(head)
        return [f"{prefix} {text}" for text in texts] if prefix else list(texts)

    def tokenize(self, texts: Sequence[str], head: str = "names") -> Tensor:
        """Return token ids of shape (n, context_length) of texts for a head."""
        return self.tokenizer(self.say(texts, head), context_length=self.context_length)

    def pool(self, pixels: Tensor) -> Tensor:
        """Return pooled image features of shape (n, width) for normalised pixels (n, 3, s, s)."""
        features: Tensor = self.clip.visual(pixels)
        return features

    def project(self, pooled: Tensor, head: str = "names") -> Tensor:
        """Return unit vectors of shape (n, dim) for pooled features."""
        with torch.autocast(pooled.device.type, enabled=False):
            projected: Tensor = self.heads[self.head(head)](pooled.float())
        return functional.normalize(projected, dim=-1)

    def encode_image(self, pixels: Tensor, head: str = "names", normalize: bool = True) -> Tensor:
        """Return image features of shape (n, dim) under one head."""
        pooled = self.pool(pixels)
        if normalize:
            return self.project(pooled, head)
        features: Tensor = self.heads[self.head(head)](pooled)
        return features

    def encode_text(self, tokens: Tensor, normalize: bool = True) -> Tensor:
        """Return text features of shape (n, dim) for token ids (n, context_length)."""
        if not self._trims_text:
            features = self._read(tokens)
        else:
            # Causal attention read at the end token: what stands behind the longest text is unused.
            tower = self.clip.text
            mask, length = tower.attn_mask, int(tokens.argmax(dim=1).max()) + 1
            tower.attn_mask = mask[:length, :length]
            try:
                features = self._read(tokens[:, :length])
            finally:
                tower.attn_mask = mask
        return functional.normalize(features.float(), dim=-1) if normalize else features

    def _read(self, tokens: Tensor) -> Tensor:
        with short_attention(self.text_tower, tokens):
            features: Tensor = self.clip.encode_text(tokens)
        return features

    def scale(self, head: str = "names") -> Tensor:
        """Return the logit scale of a head, 1/temperature, as a scalar."""
        scale: Tensor = self.log_scales[self.head(head)].exp()
        return scale

    def bias(self, head: str = "names") -> Tensor:
        """Return the logit bias of a head as a scalar; only models trained by sigmoid have one."""
        bias: Tensor = self.biases[self.head(head)]
        return bias

    def has_twin(self) -> bool:
        """Return whether the captions head still is what the names head is."""
        if "captions" not in self.heads:
            return False
        twin = _twin(self.heads["names"], self.config["embed_dim"]).state_dict()
        here = {k: v.cpu() for k, v in self.heads["captions"].state_dict().items()}
        alike = [(twin[name].cpu(), here.get(name)) for name in twin]
        alike += [(p["names"], p["captions"]) for p in (self.log_scales, self.biases) if len(p)]
        return len(twin) == len(here) and all(
            b is not None and a.shape == b.shape and torch.equal(a, b) for a, b in alike
        )

    def drop_captions(self) -> None:
        """Take the captions head out: that of the names then serves both kinds of text."""
        for parts in (self.heads, self.log_scales, self.biases):
            if "captions" in parts:
                del parts["captions"]

    @torch.no_grad()
    def start_logits(self, scale: float | None = None, bias: float | None = None) -> None:
        """Set the logit scale and bias of every head; None leaves them as they are.

        A model without a bias is given one, as the sigmoid loss needs it (arXiv:2303.15343).
        """
        if scale is not None:
            for log_scale in self.log_scales.values():
                log_scale.fill_(math.log(scale))
        if bias is not None:
            for name in self.heads:
                self.biases[name] = _scalar(torch.tensor(bias))
            self.config["init_logit_bias"] = bias  # open_clip then expects one in the weights

    @torch.no_grad()
    def clamp_scales(self) -> None:
        """Hold every log scale in [0, ln 100]."""
        for scale in self.log_scales.parameters():
            scale.clamp_(0.0, MAX_LOG_SCALE)

    def beside_towers(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Return what is trained beside the towers: heads, log scales and biases."""
        return self.heads, self.log_scales, self.biases

    def stock_state(self) -> dict[str, Tensor]:
        """Return the weights under open_clip's own names, with the names head folded in."""
        state = dict(self.clip.state_dict())
        state["logit_scale"] = self.log_scales["names"].detach()
        if len(self.biases):
            state["logit_bias"] = self.biases["names"].detach()
        head: Any = self.heads["names"]
        if self.projection_key == "proj":
            state["visual.proj"] = head.weight.detach().T.contiguous()
        elif self.projection_key:
            for name, value in head.state_dict().items():
                state[f"visual.{self.projection_key}.{name}"] = value
        return state

    def heads_state(self) -> dict[str, Tensor]:
        """Return the weights of every head on the pooled feature, their log scales and biases."""
        parts = {"heads": self.heads, "log_scales": self.log_scales, "biases": self.biases}
        return {
            f"{part}.{k}": v
            for part, values in parts.items()
            for k, v in values.state_dict().items()
        }


def take_projection(visual: Any) -> tuple[str, nn.Module]:
    """Take the projection out of an open_clip image tower, which then returns its pooled feature.

    Returns:
        Where it was (a dotted name below `visual`, "" where there is none to take) and the head.
    """
    matrix = getattr(visual, "proj", None)
    if isinstance(matrix, nn.Parameter):
        linear = nn.Linear(matrix.shape[0], matrix.shape[1], bias=False)
        linear.weight.data.copy_(matrix.data.T)
        visual.proj = None
        return "proj", linear
    head = getattr(visual, "head", None)
    for name in ("proj", "mlp"):
        module = getattr(head, name, None)
        if isinstance(head, nn.Module) and isinstance(module, nn.Module):
            setattr(head, name, nn.Identity())
            return f"head.{name}", module
    return "", nn.Identity()


def _twin(head: nn.Module, dim: int) -> nn.Module:
    """Return a head that starts alike: a copy, or an identity matrix where there are no weights."""
    if not isinstance(head, nn.Identity):
        return copy.deepcopy(head)
    linear = nn.Linear(dim, dim, bias=False)
    nn.init.eye_(linear.weight)
    return linear


def _scalar(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone().float().reshape(()))
