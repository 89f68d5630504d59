"""The two towers in training: which one is held, what is kept in memory, how deep a layer lies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from open_clip.transformer import PatchDropout
from timm.layers.norm_act import convert_sync_batchnorm
from timm.layers.patch_dropout import PatchDropout as TimmPatchDropout
from timm.models._manipulate import group_with_matcher
from torch import nn

from domainclip.errors import UsageError

from .clip import DomainClip

Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = ("image", "text")

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_TEXT_HEADS = ("text_projection", "text.text_projection", "text.proj.")
_STEM = re.compile(
    r"^(?!.*attn_?pool).*(^|\.)(\w*embed\w*|cls_emb|conv\d|bn\d|ln_pre|patchnorm\w*)(\.|$)"
)
_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks|layers?|h)\.?(\d+)\.")


def parameters_of(model: DomainClip, tower: Tower) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield (name below `model.clip`, parameter) of a tower; projection heads belong to none."""
    for name, parameter in model.clip.named_parameters():
        if name.startswith("visual.") == (tower == "image") and not name.startswith(_TEXT_HEADS):
            yield name, parameter


def modules_of(model: DomainClip, tower: Tower) -> tuple[nn.Module, ...]:
    """Return the modules that a tower consists of."""
    return tuple(m for n, m in model.clip.named_children() if (n == "visual") == (tower == "image"))


def in_block(name: str) -> bool:
    """Return whether a name below `model.clip` lies in one of the repeated blocks of a tower."""
    return bool(_BLOCK.search(name))


def blocks_of(model: DomainClip) -> list[nn.Module]:
    """Return the repeated blocks of both towers, the outermost where blocks lie in blocks."""
    found = ((_BLOCK.search(f"{name}."), module) for name, module in model.clip.named_modules())
    return [module for match, module in found if match and match.end() == len(match.string)]


def lock_tower(model: DomainClip, tower: Tower) -> None:
    """Hold a tower as it is: no gradients, and always in eval mode; its heads stay trainable.

    Locked-image tuning: Zhai et al. 2022 (arXiv:2111.07991).
    """
    for _, parameter in parameters_of(model, tower):
        parameter.requires_grad_(False)
    model.held = modules_of(model, tower)
    model.train(model.training)


def share_statistics(model: DomainClip) -> None:
    """Have batch norms normalise by the pictures of all processes, which GPUs can do.

    Comes before anything that is hung on the norms: they are other modules afterwards. PyTorch's
    own conversion, which Lightning calls, drops the activation that many of timm's norms hold.
    """
    model.clip = convert_sync_batchnorm(model.clip)  # type: ignore[no-untyped-call]


def save_memory(model: DomainClip) -> None:
    """Have every trained tower compute its activations twice rather than keep them.

    Raises:
        UsageError: If a tower has no such way.
    """
    for tower in TOWERS:
        if not any(p.requires_grad for _, p in parameters_of(model, tower)):
            continue
        switches = [part for module in modules_of(model, tower) for part in _switches(module)]
        if not switches:
            raise UsageError(
                f"model.grad_checkpointing: the {tower} tower ({_kind(model, tower)}) cannot do it",
                "leave it out, or save memory by train.micro_batch",
            )
        for part in switches:
            if hasattr(part, "gradient_checkpointing_enable"):
                part.gradient_checkpointing_enable()
            else:
                part.grad_checkpointing = True
        for module in modules_of(model, tower):
            for part in module.modules():
                if isinstance(part, _BATCH_NORMS):
                    part.register_forward_pre_hook(partial(_count_once, momentum=part.momentum))


def _switches(module: Any) -> Iterator[Any]:
    """Yield the outermost parts of a tower that can compute activations twice."""
    if getattr(module, "supports_gradient_checkpointing", False) or hasattr(
        module, "grad_checkpointing"
    ):
        yield module
        return
    for child in module.children():
        yield from _switches(child)


def _count_once(norm: Any, args: Any, *, momentum: float | None) -> None:
    """Leave a batch out of the statistics where it is computed again, which backward does."""
    again = torch._C._current_graph_task_id() != -1
    norm.momentum = 0.0 if again else momentum
    if again and norm.training and norm.track_running_stats:
        norm.num_batches_tracked -= 1


def drop_patches(model: DomainClip, share: float) -> None:
    """Have the image tower leave out a share of its patches in training.

    Li et al. 2022, FLIP (arXiv:2212.00794).

    Raises:
        UsageError: If the tower has no patches that it could leave out.
    """
    visual = model.clip.visual
    trunk: Any = getattr(visual, "trunk", None)
    if hasattr(visual, "patch_dropout"):
        visual.patch_dropout = PatchDropout(share)
    elif isinstance(getattr(trunk, "patch_drop", None), (nn.Identity, TimmPatchDropout)):
        # timm's ViT, of SigLIP for one; EVA's has None there, and wants more of it
        trunk.patch_drop = TimmPatchDropout(share, trunk.num_prefix_tokens)
    else:
        raise UsageError(
            f"model.patch_dropout needs an image tower of patches, not {_kind(model, 'image')}",
            "leave it out, or name a ViT such as ViT-B-32",
        )


def _kind(model: DomainClip, tower: Tower) -> str:
    visual = model.clip.visual
    part = getattr(visual, "trunk", visual) if tower == "image" else model.text_tower
    return type(part).__name__


def depths(model: DomainClip) -> dict[str, int]:
    """Return how deep below the output each parameter lies, by its name in the model.

    Heads, scales and final norms are at 0, the topmost block at 1, the embeddings of a tower of n
    blocks at n + 1, as in BEiT (arXiv:2106.08254, appendix).
    """
    found = {name: 0 for name, _ in model.named_parameters()}
    for tower in TOWERS:
        names = [name for name, _ in parameters_of(model, tower)]
        trunk = getattr(model.clip.visual, "trunk", None)
        if tower == "image" and hasattr(trunk, "group_matcher"):
            levels = _timm_levels(trunk, names)
        else:
            levels = _levels(names)
        found |= {f"clip.{name}": level for name, level in levels.items()}
    return found


def _levels(names: list[str]) -> dict[str, int]:
    blocks = {name: int(m[1]) for name in names if (m := _BLOCK.search(name))}
    first, last = (min(blocks.values()), max(blocks.values())) if blocks else (0, -1)
    bottom = last - first + 2
    return {
        name: last - blocks[name] + 1 if name in blocks else (bottom if _STEM.match(name) else 0)
        for name in names
    }


def _timm_levels(trunk: Any, names: list[str]) -> dict[str, int]:
    prefix, above = "visual.trunk.", "none of them"  # what no group takes lies above all groups
    own = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
    ids = group_with_matcher(
        iter([(name, None) for name in (*own, above)]), trunk.group_matcher(), reverse=True
    )
    return {name: ids[above] - ids.get(name.removeprefix(prefix), ids[above]) for name in names}
