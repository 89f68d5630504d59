"""Sums the scores of labels up to a rank."""

from __future__ import annotations

import torch
from torch import Tensor

from domainclip.domains.labels import Groups


def roll_up(scores: Tensor, groups: Groups) -> Tensor:
    """Sum scores over the groups of a rank; probabilities that sum to one still do.

    Args:
        scores: Scores of shape (..., n), one for each node that was grouped; half precision is
            summed and returned in single precision.
        groups: Groups of those n nodes.

    Returns:
        Shape (..., n_groups), on the same device.

    Raises:
        ValueError: If there are not n scores.
    """
    if scores.shape[-1] != len(groups.codes):
        raise ValueError(f"{scores.shape[-1]} scores for {len(groups.codes)} grouped labels")
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    codes = torch.from_numpy(groups.codes).to(scores.device)
    return scores.new_zeros((*scores.shape[:-1], len(groups))).index_add(-1, codes, scores)
