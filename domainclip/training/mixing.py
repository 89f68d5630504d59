"""Weights between those at the start and those at the end of fine-tuning, as validation likes best.

WiSE-FT: Wortsman et al. 2022 (arXiv:2109.01903), equation 1: (1 - a) * start + a * end, for all
weights at once. Batch statistics, which their towers had none of, are then taken anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from domainclip.data.datamodule import PictureData
from domainclip.errors import UsageError
from domainclip.model.clip import DomainClip
from domainclip.recipe.schema import Recipe

from .module import ContrastiveModule
from .pairs import recall_pairs
from .statistics import renew_statistics

SHARES = tuple(round(0.1 * i, 1) for i in range(11))


@dataclass(frozen=True)
class Candidate:
    """One mixture and what validation says of it."""

    share: float
    """Share of the end, a."""
    val: float
    """Of the validation pictures: top-1, or without labels recall@1."""
    recall: float | None
    """Recall@1, mean of both ways, of held-out replayed pictures and captions; None without."""

    @property
    def score(self) -> float:
        """What is compared: the new and the old in equal parts, where both are known."""
        return self.val if self.recall is None else (self.val + self.recall) / 2


@dataclass(frozen=True)
class Mixture:
    """What was kept, of what."""

    kept: Candidate
    candidates: tuple[Candidate, ...]
    remark: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as `metrics.json` has it."""
        table = [asdict(one) | {"score": one.score} for one in self.candidates]
        return {"kept": self.kept.share, "candidates": table}


def copy_start(model: DomainClip, recipe: Recipe, pretrained: bool) -> dict[str, Tensor]:
    """Return the weights to mix with at the end; {} where the recipe does not ask for it.

    Raises:
        UsageError: If they were never trained.
    """
    if recipe.train.wise_ft and not pretrained:
        raise UsageError(
            f"train.wise_ft mixes with pretrained weights, and {recipe.model.name!r} has none",
            "name a pretrained model or a run by model.name, or leave train.wise_ft out",
        )
    return copy_weights(model) if recipe.train.wise_ft else {}


def copy_weights(model: DomainClip) -> dict[str, Tensor]:
    """Return a copy of all weights and batch statistics."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def mix_weights(
    module: ContrastiveModule,
    start: Mapping[str, Tensor],
    data: PictureData,
    recipe: Recipe,
    device: str,
    progress: bool,
) -> Mixture:
    """Mix the weights of a trained model with those at its start, and leave the best in it.

    Args:
        module: Holds the model at the end, any adapters merged.
        start: Weights before training, as `copy_weights` gave them.
        data: Names the validation pictures, and those held out of the replay.
        recipe: The resolved recipe.
        device: "cpu", "cuda" or "mps".
        progress: Print the table on standard error.
    """
    module.eval().to(device)
    model, end = module.model, copy_weights(module.model)
    candidates: list[Candidate] = []
    named: list[Tensor] = []
    half = recipe.train.precision == "bfloat16"

    def mix(share: float) -> None:
        set_mixture(model, start, end, share)
        if share:  # the start stays as it is
            renew_statistics(module, data, device)

    for share in SHARES:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=half):
            mix(share)
            named.append(_val_hits(module, data, device).cpu())
            recall = None if data.held is None else _recall(module, data, device)
        candidates.append(Candidate(share, float(named[-1].mean()), recall))
    kept, remark = choose(candidates, torch.stack(named))
    with torch.autocast(device, torch.bfloat16, enabled=half):
        mix(kept.share)
    if progress:
        lines = ["share  validation  replay recall@1"]
        for one in candidates:
            old = "" if one.recall is None else f"  {one.recall:15.4f}"
            lines.append(f"{one.share:5.1f}  {one.val:10.4f}{old}{' <' * (one is kept)}")
        lines[0] = lines[0] if data.held is not None else lines[0][:17]
        loud = "" if kept.share else "warning: "
        print("\n".join([*lines, loud + remark]), file=sys.stderr, flush=True)
    return Mixture(kept, tuple(candidates), remark)


@torch.no_grad()
def set_mixture(
    model: DomainClip, start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float
) -> None:
    """Set all weights of a model to (1 - share) * start + share * end; counters are the end's."""
    for name, here in model.state_dict().items():
        first, last = start[name], end[name]
        here.copy_(torch.lerp(first, last, share) if here.is_floating_point() else last)


def choose(candidates: list[Candidate], hits: Tensor) -> tuple[Candidate, str]:
    """Return the candidate to keep, and a line that says why.

    Where old pictures were asked about too, the best score wins, and among equals the share nearer
    to one half. Validation of the new field alone cannot see what is forgotten: there the least
    moved is kept of all whose distance from the best is within its standard error, picture by
    picture: all candidates answer the same pictures, so what is hard for each cancels out. The
    start itself is kept only where nothing else is as good.

    Args:
        candidates: By rising share, from 0.
        hits: Shape (candidates, n): 1 for each validation picture that one names right, else 0.
    """
    best = max(one.score for one in candidates)
    both = candidates[0].recall is not None
    if both:
        equal = [one for one in candidates if one.score == best]
        kept = min(equal, key=lambda one: abs(one.share - 0.5))
        why = "the best mean of new and replayed pictures"
    else:
        first = next(i for i, one in enumerate(candidates) if one.score == best)
        behind = hits[first].double() - hits.double()
        close = behind.mean(dim=1) <= behind.std(dim=1, correction=0) / hits.shape[1] ** 0.5
        equal = [one for one, near in zip(candidates, close, strict=True) if near and one.share]
        kept = equal[0] if equal else candidates[0]
        why = "the best on the validation pictures"
        if len(equal) > 1:
            why = (
                f"{len(equal)} shares are within the standard error of their distance from the "
                "best, and of these it moves the model least"
            )
    said = ", ".join(
        f"{one.val:.3f}" + (f" and {one.recall:.3f}" if both else "") + f" at {one.share:g}"
        for one in dict.fromkeys((candidates[0], kept, candidates[-1]))
    )
    what = "validation and replay recall@1" if both else "validation"
    told = f"train.wise_ft keeps a share of {kept.share:g} of the end: {why} ({what} {said})"
    if not kept.share:
        told += "; nothing of the training is left: lower optim.lr, or leave train.wise_ft out"
    return kept, told


def _val_hits(module: ContrastiveModule, data: PictureData, device: str) -> Tensor:
    """Return 1 for each validation picture that is named right, 0 for the others."""
    module.on_validation_epoch_start()
    for batch in data.loader("val"):
        module.validation_step(
            batch._replace(pixels=batch.pixels.to(device), nodes=batch.nodes.to(device)), 0
        )
    return module.hits()


def _recall(module: ContrastiveModule, data: PictureData, device: str) -> float:
    assert data.held is not None
    images = torch.cat(
        [
            module.model.encode_image(module.normalise(batch.pixels.to(device)))
            for batch in data.loader("held")
        ]
    )
    captions = [several[0] for several in data.held.captions]
    return float(recall_pairs(module.model, images, captions).hits.mean())
