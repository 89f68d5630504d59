"""The first half of a run: from a recipe to a module that can be trained, its length known.

What can be refused is refused here. `recipe.yaml` and `environment.json` are written last, when
everything is known that they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from domainclip.data.datamodule import PictureData, open_data
from domainclip.domains.contract import Domain, PromptSet
from domainclip.domains.registry import get_domain
from domainclip.model.adapters import adapt
from domainclip.model.clip import DomainClip
from domainclip.model.cpu import speed_up
from domainclip.model.device import pick_device
from domainclip.model.digest import digest_weights
from domainclip.model.folder import built_in_configs
from domainclip.model.vocabulary import keep_used_tokens
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import flatten
from domainclip.texts.demands import check_texts
from domainclip.texts.vocabulary import list_texts
from domainclip.zoo.provenance import note_base
from domainclip.zoo.resolving import find_model

from .advice import advise_recipe
from .build import build_model, build_module, find_prompts, find_steps, say_start
from .compiling import require_compiler
from .environment import describe_environment
from .features import fix_features
from .fit import train_loader
from .folders import check_same_start, write_start
from .gradcache import has_batch_statistics
from .heads import settle_heads
from .loggers import require_loggers
from .mixing import copy_start
from .module import ContrastiveModule
from .pairs import require_pairs
from .precision import pick_precision
from .processes import agree, count_processes, first_alone, neighbours, process_rank
from .resolve import resolve


@dataclass(frozen=True)
class Prepared:
    """A run before its first step."""

    recipe: Recipe
    """The recipe with all that it left open found out."""
    domain: Domain
    prompts: PromptSet
    data: PictureData
    module: ContrastiveModule
    """Holds the model."""
    pretrained: bool
    start: dict[str, Tensor]
    """The weights before training, which WiSE-FT mixes with; {} where nothing asks for it."""
    device: str
    precision: str
    environment: dict[str, Any]
    """What `environment.json` says."""
    remarks: list[str]
    """What has been said of the recipe that the report should hold too."""


def prepare(
    recipe: Recipe,
    folder: Path,
    origins: Mapping[str, str] | None,
    command: Sequence[str],
    progress: bool,
    say: Callable[[str], None],
) -> Prepared:
    """Open the data, build the model, and find out what the recipe leaves open.

    Args:
        recipe: What was asked for.
        folder: The run folder.
        origins: Where each value of the recipe came from; None for a run that goes on, which keeps
            the files that it was begun with.
        command: The command line, for `environment.json`.
        progress: Draw progress bars on standard error.
        say: Tells a person a line.

    Raises:
        UsageError: If the recipe asks for what does not exist.
        DataError: If the data cannot be used, or is not that of the run that goes on.
    """
    rank, world = process_rank(), count_processes()
    asked = flatten(recipe)
    domain = get_domain(recipe.domain)
    prompts = find_prompts(domain, recipe.text.prompts)
    device = pick_device(recipe.device)
    require_loggers(recipe.train.loggers)
    if recipe.train.compile:
        require_compiler(device)
    L.seed_everything(recipe.seed, workers=True, verbose=False)
    model, pretrained = build_model(recipe)
    if not (pretrained or recipe.model.name in built_in_configs()):
        say(f"{recipe.model.name} names no pretrained weights: it starts from nothing")
    base = digest_weights(model) if pretrained else None
    base_note = note_base(find_model(recipe.model.name, recipe.domain)) if pretrained else None
    twin = model.has_twin()
    for line in say_start(recipe.loss, model, pretrained):
        say(line)
    start = copy_start(model, recipe, pretrained)
    together = device == "cuda" and world > 1
    for line in adapt(model, recipe.model, pretrained, together):
        say(line)
    with first_alone():
        data = open_data(recipe, domain, model.preprocess.size)
    data.rank, data.world = rank, world
    if recipe.data.workers is None:
        data.workers = -(-data.workers // neighbours())
    for message in data.messages:
        say(message)
    begun = {
        "data_fingerprint": data.fingerprint,
        "data_parts": dict(data.parts),
        "base": base,
        "processes": world,
    }
    differs = check_same_start(folder, begun) if origins is None else []
    require_pairs(recipe, data)
    idle = settle_heads(model, recipe.text, data, twin=twin, pretrained=pretrained)
    sources = data.captions["train"], *data.stored.get("train", ())
    idle += check_texts(recipe, data.labelled, *sources)
    for line in idle:
        say(line)
    if data.caption_sources:  # a newer generation of captions does not change the run
        pinned = recipe.data.model_copy(update={"captions": data.caption_sources})
        recipe = recipe.model_copy(update={"data": pinned})
    recipe, module, precision = _find_out(
        recipe, model, data, domain, prompts, pretrained=pretrained, device=device,
        progress=progress,
    )  # fmt: skip
    statistics = say_statistics(recipe, model, device)
    for line in statistics:
        say(line)
    steps = int(recipe.train.steps or 1)
    environment = describe_environment(device, precision, command, data.fingerprint)
    environment |= {**begun, "base_note": base_note}
    found = {k: "found out" for k, value in flatten(recipe).items() if value != asked[k]}
    if origins is not None and not rank:
        write_start(folder, recipe, {**origins, **found}, environment)
    say(
        f"training {steps} steps of {recipe.data.batch_size} on {len(data.splits['train'])} "
        f"pictures ({device}, {precision}) into {folder}"
    )
    warned = [*differs, *advise_recipe(recipe, pretrained)]
    for line in warned:
        say(f"warning: {line}")
    return Prepared(
        recipe, domain, prompts, data, module, pretrained, start, device, precision, environment,
        [*idle, *statistics, *warned],
    )  # fmt: skip


def _find_out(
    recipe: Recipe,
    model: DomainClip,
    data: PictureData,
    domain: Domain,
    prompts: PromptSet,
    *,
    pretrained: bool,
    device: str,
    progress: bool,
) -> tuple[Recipe, ContrastiveModule, str]:
    """Return the recipe with nothing left open, the module it trains, and the precision."""
    model.to(memory_format=torch.channels_last)
    if device == "cpu":
        speed_up(model)
    module = build_module(recipe, model, data, prompts)
    if device == "cpu" and recipe.train.strategy == "ddp":  # shards go on in one process, too
        words = domain.knowledge.words() if domain.knowledge else None
        nodes = np.unique(data.splits["train"].nodes).tolist()
        keep_used_tokens(model, list_texts(module.views, nodes, words))
    model.preprocess = replace(model.preprocess, resize=data.side)
    trial = train_loader(data, 1, 0)
    precision = agree(pick_precision(recipe.train.precision, device, module, trial))
    recipe = resolve(recipe, pretrained, device, precision, len(data.splits["train"]))
    module = build_module(recipe, model, data, prompts)
    features = module.features = fix_features(module, data, recipe, device, progress)
    if recipe.train.steps is None:
        recipe = agree(find_steps(recipe, module, data, device, precision))
        module = build_module(recipe, model, data, prompts)
        module.features = features
    return recipe, module, precision


def say_statistics(recipe: Recipe, model: DomainClip, device: str) -> list[str]:
    """Say whose statistics batch norms go by, where it is not the whole batch.

    Args:
        recipe: Resolved, so that `train.micro_batch` is less than a device's share of the batch.
        model: The model.
        device: GPUs share their statistics, processes on the CPU do not.
    """
    micro, world = recipe.train.micro_batch, count_processes()
    shared = world if device == "cuda" else 1
    if not has_batch_statistics(model.clip):
        return []
    if micro:
        return [
            f"this model normalises by batch statistics: they are those of {micro * shared} "
            "pictures, and are updated once for each such chunk"
        ]
    if world > shared:
        return [
            "this model normalises by batch statistics: in each process they are those of its own "
            f"{recipe.data.batch_size // world} pictures"
        ]
    return []
