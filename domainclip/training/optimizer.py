"""The optimizer of a run: AdamW, its groups of parameters, and the learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from domainclip.model.clip import DomainClip
from domainclip.model.towers import depths
from domainclip.recipe.schema import Optim

from .sharding import may_be_shards


def build_optimizer(
    model: DomainClip, optim: Optim, steps: int
) -> tuple[torch.optim.AdamW, LambdaLR]:
    """Return fused AdamW and its schedule: warm-up, then cosine decay over the run's steps.

    Args:
        model: What is trained.
        optim: The resolved settings.
        steps: Steps of the whole run.

    Raises:
        ValueError: If learning rate or warm-up is not resolved.
    """
    lr, warmup, final = optim.lr, optim.warmup, optim.final_lr
    if lr is None or warmup is None:
        raise ValueError("optim.lr and optim.warmup are resolved before training")
    groups = group_parameters(model, lr, optim.weight_decay, optim.layer_decay)
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, optim.beta2), fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: cosine(step, steps, warmup, final))


def group_parameters(
    model: DomainClip, lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Return the trained parameters in groups of equal learning rate and weight decay.

    A parameter that lies d layers deep learns at lr * layer_decay**d (BEiT, arXiv:2106.08254,
    appendix). Vectors and scalars are never decayed. The group of the heads comes first.

    Args:
        model: What is trained.
        lr: Learning rate of heads and final norms.
        weight_decay: Decay of matrices.
        layer_decay: Share of its rate that the layer below gets.
    """
    depth: Mapping[str, int] = depths(model) if layer_decay < 1 else {}
    groups: dict[tuple[int, bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # AdamW takes no list that mixes shards with the rest, and a run may go on without them.
            key = depth.get(name, 0), may_be_shards(name, parameter), parameter.ndim <= 1
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": params, "lr": lr * layer_decay**d, "weight_decay": 0.0 if flat else weight_decay}
        for (d, _, flat), params in sorted(groups.items(), key=lambda item: item[0])
    ]


def lay_out_state(optimizer: torch.optim.Optimizer) -> None:
    """Lay the state out in memory as its parameters are, which fused AdamW takes for granted.

    A checkpoint that shards have written knows nothing of channels-last weights.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter).copy_(value)


def warmup_steps(warmup: float, steps: int) -> int:
    """Return the steps over which the learning rate rises, at least one."""
    return max(1, round(warmup * steps))


def cosine(step: int, steps: int, warmup: float, final: float) -> float:
    """Return the share of the peak learning rate at a step.

    Args:
        step: Steps done so far.
        steps: Steps of the run.
        warmup: Share of the run that rises linearly.
        final: Share of the peak at the end.
    """
    rise = warmup_steps(warmup, steps)
    if step < rise:
        return (step + 1) / rise
    done = min(1.0, (step - rise) / max(1, steps - rise))
    return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
