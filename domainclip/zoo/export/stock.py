"""A model as stock open_clip has it: one head, folded into the image tower."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from domainclip.errors import DataError, UsageError, suggest
from domainclip.model.clip import DomainClip, Preprocess, Tokenizer
from domainclip.model.tokenizing import MissingTokenizer

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""Number formats of half the size, by name."""


@dataclass(frozen=True)
class Stock:
    """A model of one head, and what is needed to speak to it."""

    clip: Any
    """The open_clip model, in eval mode on the CPU."""
    config: dict[str, Any]
    """open_clip's `model_cfg` of it."""
    preprocess: Preprocess
    tokenizer: Tokenizer
    head: str
    """The head that is folded in."""
    prefix: str
    """The word that texts begin with; "" for none."""
    folded: bool
    """Whether the head has the place of open_clip's projection; else it comes behind the image
    tower, as no class of open_clip has it."""

    @property
    def context(self) -> int:
        """Tokens per text."""
        return int(self.clip.context_length)

    @property
    def scale(self) -> float:
        """What cosines are multiplied by."""
        return float(self.clip.logit_scale.detach().exp())

    @property
    def bias(self) -> float | None:
        """What is added to logits; only models trained by sigmoid have it."""
        bias = getattr(self.clip, "logit_bias", None)
        return None if bias is None else float(bias.detach())

    @property
    def reads(self) -> bool:
        """Whether it has a tokenizer."""
        return not isinstance(self.tokenizer, MissingTokenizer)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids of shape (n, context) of texts as they are."""
        return self.tokenizer(texts, context_length=self.context)

    def state(self, dtype: str = "float32") -> dict[str, Tensor]:
        """Return the weights under open_clip's names.

        Statistics and scalars stay in single precision: they cost nothing, and float16 may not
        hold them.

        Args:
            dtype: The number format of the rest, float32 or one of `HALVES`.

        Raises:
            DataError: If a weight is too large for the format.
        """
        wanted = HALVES.get(dtype, torch.float32)
        rounded = {name for name, weight in self.clip.named_parameters() if weight.ndim}
        state: dict[str, Tensor] = {}
        for name, value in self.clip.state_dict().items():
            kept = value.detach()
            state[name] = kept.to(wanted if name in rounded else kept.dtype).contiguous().clone()
            if not bool(torch.isfinite(state[name]).all()):
                raise DataError(
                    f"the weight {name} does not fit into {dtype}, or is no number",
                    "bfloat16 holds larger numbers" if dtype == "float16" else "",
                )
        return state


def require_head(model: DomainClip, head: str) -> None:
    """Refuse a head that a model does not have.

    Raises:
        UsageError: If it has none of that name.
    """
    if head not in model.heads:
        raise UsageError(
            f"the model has no head {head!r}; heads: {', '.join(model.heads)}",
            suggest(head, model.heads) or "one alone serves names and captions: leave --head out",
        )


def fold_head(model: DomainClip, head: str) -> Stock:
    """Return a copy of a model with one of its heads in the place of open_clip's projection.

    A tower without one gets it behind its own end, which only programs of graphs can take.

    Args:
        model: The model; it stays as it is.
        head: The head.

    Raises:
        UsageError: If the model has no such head.
    """
    require_head(model, head)
    clip = copy.deepcopy(model.clip).cpu().float().eval()
    folded = True
    projection: Any = copy.deepcopy(model.heads[head]).cpu().float()
    if model.projection_key == "proj":
        clip.visual.proj = nn.Parameter(projection.weight.detach().T.contiguous())
    elif model.projection_key:
        place, _, name = model.projection_key.rpartition(".")
        setattr(clip.visual.get_submodule(place), name, projection)
    elif not isinstance(projection, nn.Identity):
        folded = _fold_into_pool(clip.visual, projection.weight.detach())
        if not folded:
            clip.visual = nn.Sequential(clip.visual, projection)
    clip.logit_scale = nn.Parameter(model.log_scales[head].detach().cpu().clone())
    if len(model.biases):
        clip.logit_bias = nn.Parameter(model.biases[head].detach().cpu().clone())
    clip.requires_grad_(False)
    return Stock(
        clip=clip.eval(),
        config=copy.deepcopy(model.config),
        preprocess=model.preprocess,
        tokenizer=model.tokenizer,
        head=head,
        prefix=model.prefixes.get(head, ""),
        folded=folded,
    )


@torch.no_grad()
def _fold_into_pool(visual: Any, weight: Tensor) -> bool:
    """Multiply a head into the last layer of CLIP's ResNet, whose attention pooling projects.

    Returns:
        Whether there is such a layer.
    """
    last = getattr(getattr(visual, "attnpool", None), "c_proj", None)
    if not isinstance(last, nn.Linear):
        return False
    last.weight.copy_(weight @ last.weight)
    if last.bias is not None:
        last.bias.copy_(weight @ last.bias)
    return True
