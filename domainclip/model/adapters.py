"""What a recipe changes in a model before training: locks, low-rank adapters, memory.

Adapters are PEFT's LoRA (Hu et al. 2021, arXiv:2106.09685) in attention, MLP and convolutions:
W + alpha / rank * B A, where only A and B are trained. They are merged before a model is saved.
Norms are trained beside them, few as their scales and shifts are (Chen et al. 2023, LongLoRA,
arXiv:2309.12307, section 3.3), batch statistics included: they follow a change of light that low
ranks follow slowly.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from domainclip.errors import UsageError
from domainclip.recipe import schema

from .clip import DomainClip
from .towers import (
    TOWERS,
    Tower,
    drop_patches,
    in_block,
    lock_tower,
    modules_of,
    parameters_of,
    save_memory,
    share_statistics,
)

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
_READ_ONLY = "AttentionPool"
"""Attention whose layers are read as weights and never called: adapters there would do nothing."""


def adapt(
    model: DomainClip, asked: schema.Model, pretrained: bool, together: bool = False
) -> list[str]:
    """Prepare a model for training as a recipe asks for it.

    Args:
        model: The model, changed in place.
        asked: The recipe's part on models.
        pretrained: Whether its weights are pretrained: adapters change little in them.
        together: Whether several GPUs share a batch: batch norms then see the whole of it.

    Returns:
        Lines that say what learns, where the recipe alone does not.

    Raises:
        UsageError: If the model cannot do what is asked.
    """
    if asked.lora and not pretrained:
        raise UsageError(
            f"model.lora adapts trained weights, and {asked.name!r} starts from nothing",
            "name a pretrained model or a run by model.name, or leave model.lora out",
        )
    said: list[str] = []
    if together:
        share_statistics(model)
    if asked.lock != "none":
        lock_tower(model, asked.lock)
    if asked.lora:
        adapted = add_adapters(model, asked.lora, asked.lora_alpha or 2.0 * asked.lora)
        rest = "" if asked.lock == "none" else f"; the {asked.lock} tower is locked and gets none"
        towers = " and the ".join(adapted)
        said.append(f"model.lora: adapters of rank {asked.lora} in the {towers} tower{rest}")
    if asked.patch_dropout:
        if asked.lock == "image":
            raise UsageError(
                "model.patch_dropout does nothing: the image tower is locked",
                "leave out one of model.patch_dropout and model.lock",
            )
        drop_patches(model, asked.patch_dropout)
    if asked.grad_checkpointing:
        save_memory(model)
    return said


def add_adapters(model: DomainClip, rank: int, alpha: float) -> list[Tower]:
    """Freeze the towers, and give those that are not locked adapters.

    Heads stay trainable, and so do norms beside adapters: scales, shifts and batch statistics,
    which is where another light or another camera shows (Li et al. 2016, arXiv:1603.04779).

    Args:
        model: The model.
        rank: Rank of the adapters.
        alpha: Their weight, times the rank.

    Returns:
        The towers that got some.

    Raises:
        UsageError: If PEFT is missing, or a tower has no layer that could take an adapter.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora.layer import MultiheadAttention
    except ModuleNotFoundError as error:
        raise UsageError(
            "model.lora needs the package peft, which is not installed",
            "pip install 'domainclip[lora]', or pip install peft",
        ) from error
    targets: list[str] = []
    adapted: list[Tower] = []
    for tower in TOWERS:
        parameters = [parameter for _, parameter in parameters_of(model, tower)]
        if not any(parameter.requires_grad for parameter in parameters):
            continue
        for parameter in parameters:
            parameter.requires_grad_(False)
        found = _targets(model, {id(parameter) for parameter in parameters})
        if not found:
            raise UsageError(
                f"model.lora: the {tower} tower has no layer that takes an adapter",
                f"lock it by model.lock: {tower}, or train it whole",
            )
        targets += found
        adapted.append(tower)
    norms = [m for t in adapted for part in modules_of(model, t) for m in _norms(part)]
    whole = [p for p in model.clip.parameters() if p.requires_grad]  # heads
    whole += [p for norm in norms for p in norm.parameters(recurse=False)]
    exactly = "|".join(map(re.escape, targets))  # a list would be taken for ends of names
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=exactly)  # type: ignore[arg-type]
    inject_adapter_in_model(config, model.clip)
    for parameter in whole:  # PEFT freezes whatever is no adapter
        parameter.requires_grad_(True)
    for module in model.clip.modules():
        if isinstance(module, MultiheadAttention):
            module.register_forward_pre_hook(_keep)
            module.register_forward_hook(_put_back, always_call=True)
    model.train(model.training)
    return adapted


def merge_adapters(model: DomainClip) -> None:
    """Add every adapter to the weights that it adapts, and take it out; without one, do nothing."""
    for name, module in list(model.clip.named_modules()):
        if not hasattr(module, "lora_A") or not _within(model.clip, name):
            continue
        parent, _, last = name.rpartition(".")
        if hasattr(module, "unload_and_optionally_merge_module"):
            merged = module.unload_and_optionally_merge_module(True, False, None)
        else:
            module.merge()
            merged = module.get_base_layer()
        setattr(model.clip.get_submodule(parent), last, merged)
    if hasattr(model.clip, "peft_config"):
        del model.clip.peft_config


def _within(clip: nn.Module, name: str) -> bool:
    """Return whether a module is still part of the model: some leave with the one they are in."""
    try:
        clip.get_submodule(name)
    except AttributeError:
        return False
    return ".base_layer." not in name


def _targets(model: DomainClip, own: set[int]) -> list[str]:
    """Return the names of the layers that take an adapter, with weights among `own`.

    These are those of blocks, and the stem of a convolutional tower: light and focus show there.
    """
    names: list[str] = []
    closed: list[str] = []
    for name, module in model.clip.named_modules():
        if any(name.startswith(prefix) for prefix in closed):
            continue
        if isinstance(module, nn.MultiheadAttention):
            closed.append(f"{name}.")  # it reads the weights of its parts
            weight: Any = module.in_proj_weight
        elif _READ_ONLY in type(module).__name__:
            closed.append(f"{name}.")
            continue
        elif type(module) is nn.Linear or (isinstance(module, nn.Conv2d) and module.groups == 1):
            weight = module.weight
        else:
            continue
        if id(weight) in own and (in_block(f"{name}.") or _in_stem(module)):
            names.append(name)
    return names


def _in_stem(module: nn.Module) -> bool:
    """Return whether a layer outside of blocks is a convolution, but no embedding of patches."""
    return isinstance(module, nn.Conv2d) and module.kernel_size != module.stride


def _norms(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, _NORMS) or hasattr(m, "running_mean")]


def _keep(attention: Any, args: Any) -> None:
    """Remember the weights: PEFT adds the adapter to them for a pass, and rounds taking it off."""
    base = attention.get_base_layer()
    attention.kept = (base.in_proj_weight, base.out_proj.get_base_layer().weight)


def _put_back(attention: Any, args: Any, output: Any) -> None:
    base = attention.get_base_layer()
    base.in_proj_weight, base.out_proj.get_base_layer().weight = attention.kept
    attention.kept = ()
