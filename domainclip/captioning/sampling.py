"""Draws each row's next token from a generator of its own, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Of sums of float32 chances, so that 0.5 of two equal tokens is one token."""


class SeededSampling:
    """Leaves one token to choose in each row: drawn by temperature and top-p, by the row's seed.

    It goes last among a generation's logits processors, with the library's own sampling off; that
    one has a single generator for the batch, so that a caption would depend on its neighbours.

    Args:
        seeds: One for each row.
        temperature: Above 0.
        top_p: Share of the probability that is drawn from, the likeliest tokens first.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (rows, vocabulary) that are minus infinity but for the token drawn."""
        chances = (scores.float() / self.temperature).softmax(-1)
        chances, order = chances.sort(dim=-1, descending=True, stable=True)
        before = chances.cumsum(-1) - chances
        chances = chances.masked_fill(before >= self.top_p - ROUNDING, 0.0)
        draws = torch.stack([torch.rand((), generator=g) for g in self.generators])
        below = draws.to(scores.device)[:, None] * chances.sum(-1, keepdim=True)
        drawn = (chances.cumsum(-1) <= below).sum(-1, keepdim=True)
        drawn = drawn.clamp_max((chances > 0).sum(-1, keepdim=True) - 1)
        only = torch.full_like(scores, float("-inf"))
        return only.scatter(-1, order.gather(-1, drawn), 0.0)
