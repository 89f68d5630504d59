"""Blocks of transformers' CLIP and SigLIP under open_clip's names: the same numbers, laid anew.

transformers keeps query, key and value apart and writes projections as layers; open_clip joins the
three and keeps matrices that features are multiplied by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]

_BLOCK = re.compile(r"^(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")
_THREE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

OPEN_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
"""Parts of a block, and their names in open_clip's own towers."""
TIMM = {
    "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
"""Parts of a block, and their names in timm's towers."""


def rename_blocks(state: Mapping[str, Tensor], text: str, vision: str, *, timm: bool) -> State:
    """Return tensors with those of the blocks of both towers renamed; others keep their names.

    Args:
        state: Tensors as transformers names them.
        text: What the names of the blocks of the text tower begin with.
        vision: The same for the image tower.
        timm: Whether timm has the image tower.
    """
    found: State = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _BLOCK.match(name)
        if match is None:
            found[name] = value
            continue
        tower, number, part, kind = match.groups()
        by_timm = timm and tower == "vision"
        block = f"{vision if tower == 'vision' else text}{number}."
        if part in _THREE:
            three = f"{block}attn.qkv.{kind}" if by_timm else f"{block}attn.in_proj_{kind}"
            joined.setdefault(three, {})[part] = value
        else:
            parts = TIMM if by_timm else OPEN_CLIP
            found[f"{block}{parts[part]}.{kind}" if part in parts else name] = value
    for name, parts_of in joined.items():
        if len(parts_of) == len(_THREE):
            found[name] = torch.cat([parts_of[part] for part in _THREE])
    return found


def rename(state: State, names: Mapping[str, str]) -> State:
    """Return tensors with those that a table holds renamed."""
    return {names.get(name, name): value for name, value in state.items()}


def both(names: Mapping[str, str]) -> dict[str, str]:
    """Return a table of layers as one of their weights and biases."""
    return {f"{a}.{k}": f"{b}.{k}" for a, b in names.items() for k in ("weight", "bias")}
