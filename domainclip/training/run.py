"""From a recipe to a run folder: data, model, training, test, report."""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from domainclip.data.datamodule import open_data
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.model.adapters import adapt, merge_adapters
from domainclip.model.cpu import speed_up
from domainclip.model.device import pick_device
from domainclip.model.folder import built_in_configs, say_prefixes, write_json
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import flatten, to_yaml
from domainclip.texts.demands import check_texts

from .advice import advise_recipe
from .build import build_model, build_module, find_prompts, find_steps, say_start
from .checkpoints import LAST, checkpoint_path, step_of
from .compiling import require_compiler
from .environment import describe_environment, digest_weights
from .features import fix_features
from .final import test_model
from .fit import fit, say_patience, train_loader
from .folders import (
    METRICS,
    check_same_start,
    new_folder,
    read_metrics,
    read_recipe,
    save_trained,
    write_start,
)
from .gradcache import has_batch_statistics
from .guard import say_skipped
from .launch import launch, missing_processes
from .loggers import require_loggers
from .memory import explained_memory
from .mixing import copy_start, mix_weights
from .precision import pick_precision
from .processes import (
    agree,
    count_processes,
    first_alone,
    from_all,
    join_processes,
    leave_processes,
    neighbours,
    process_rank,
)
from .reporting import report_run, say_cut
from .resolve import resolve
from .shrinking import require_any_size

__all__ = ["RunResult", "read_metrics", "resume", "train"]


@dataclass(frozen=True)
class RunResult:
    """What a run left behind."""

    folder: Path
    rows: list[dict[str, Any]]
    """The final table: split, candidates, rank, metric, value, low, high, n."""
    next: list[str] = field(default_factory=list)
    """Commands to type next."""
    unreadable: int = 0
    stopped: bool = False
    """True where Ctrl-C ended training early."""
    rank: int = 0
    """Number of this process among those that trained together; only 0 has tested and saved."""


def train(
    recipe: Recipe,
    *,
    origins: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    progress: bool = True,
) -> RunResult:
    """Train, test and save a model by a recipe.

    Args:
        recipe: What to do; whatever it leaves open is resolved and written to the run folder before
            the first step.
        origins: Where each value of the recipe came from, for `recipe.yaml`.
        command: The command line, for `environment.json`.
        progress: Draw a progress bar and notes on standard error.

    Raises:
        UsageError: If the recipe asks for what does not exist.
        DataError: If the data cannot be used.
    """
    device = pick_device(recipe.device)
    if count := missing_processes(recipe.train, device):
        folder = new_folder(recipe)
        with tempfile.TemporaryDirectory() as scratch:
            asked = Path(scratch, "recipe.yaml")
            asked.write_text(to_yaml(recipe, origins), encoding="utf-8")
            again = list(command[1:]) or ["train", "--recipe", str(asked)]
            quiet = [] if progress else ["--quiet"]
            launch(count, [*again, "--out", str(folder), *quiet], folder)
        return _read_result(folder)
    join_processes(device)
    folder = agree(new_folder(recipe))
    with explained_memory(recipe, folder):
        return _run(recipe, folder, None, origins or {}, command, progress)


def resume(folder: str | Path, *, command: Sequence[str] = (), progress: bool = True) -> RunResult:
    """Go on with a run that was stopped, from its last checkpoint, under its own recipe.

    Raises:
        UsageError: If there is no run there, or not every process finds its checkpoint.
        DataError: If the data or the model that it started from has changed since.
    """
    folder = Path(folder)
    recipe = read_recipe(folder)
    device = pick_device(recipe.device)
    if count := missing_processes(recipe.train, device):
        quiet = [] if progress else ["--quiet"]
        launch(count, ["train", "--resume", str(folder), *quiet], folder)
        return _read_result(folder)
    join_processes(device)
    last = checkpoint_path(folder, LAST)
    found = from_all(step_of(last) if last.is_file() else None)
    if len(set(found)) > 1:
        raise UsageError(
            f"the processes find different checkpoints in {folder}: after steps "
            + ", ".join("none" if step is None else str(step) for step in found),
            "let the run folder be on a disk that all machines share",
        )
    checkpoint = None if found[0] is None else last
    with explained_memory(recipe, folder):
        return _run(recipe, folder, checkpoint, None, command, progress)


def _run(
    recipe: Recipe,
    folder: Path,
    checkpoint: Path | None,
    origins: Mapping[str, str] | None,
    command: Sequence[str],
    progress: bool,
) -> RunResult:
    """Do a run; without origins it is one that goes on, and keeps what it was begun with."""
    rank, world = process_rank(), count_processes()
    progress = progress and rank == 0
    say = _teller(progress)
    _hush()
    asked = flatten(recipe)
    began = time.perf_counter()
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
    for line in say_start(recipe.loss, model, pretrained):
        say(line)
    start = copy_start(model, recipe, pretrained)
    together = device == "cuda" and world > 1
    for line in adapt(model, recipe.model, pretrained, together):
        say(line)
    if recipe.train.small:
        require_any_size(model)
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
    for line in check_texts(recipe, data.captions["train"], *data.stored.get("train", ())):
        say(line)
    if data.caption_sources:  # a newer generation of captions does not change the run
        pinned = recipe.data.model_copy(update={"captions": data.caption_sources})
        recipe = recipe.model_copy(update={"data": pinned})
    model.to(memory_format=torch.channels_last)
    if device == "cpu":
        speed_up(model)
    module = build_module(recipe, model, data, prompts)
    model.preprocess = replace(model.preprocess, resize=data.side)
    if recipe.train.micro_batch and has_batch_statistics(model.clip):
        say(
            f"this model normalises by batch statistics: they are those of "
            f"{recipe.train.micro_batch} pictures, and are updated once for each such chunk"
        )
    elif world > 1 and device != "cuda" and has_batch_statistics(model.clip):
        say(
            "this model normalises by batch statistics: in each process they are those of its own "
            f"{recipe.data.batch_size // world} pictures"
        )
    trial = train_loader(data, 1, 0)
    precision = agree(pick_precision(recipe.train.precision, device, module, trial))
    recipe = resolve(recipe, pretrained, device, precision, len(data.splits["train"]))
    module = build_module(recipe, model, data, prompts)
    features = module.features = fix_features(module, data, recipe, device, progress)
    if recipe.train.steps is None:
        recipe = agree(find_steps(recipe, module, data, device, precision))
        module = build_module(recipe, model, data, prompts)
        module.features = features
    steps = int(recipe.train.steps or 1)
    environment = describe_environment(device, precision, command, data.fingerprint)
    environment |= begun
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
    fitted = fit(module, data, recipe, folder, checkpoint, device, precision, progress)
    stopped = fitted.ended == "signal"
    leave_processes()
    if rank:
        return RunResult(folder, [], stopped=stopped, rank=rank)
    model = module.model  # whole again, where it was in shards
    merge_adapters(model)
    mixture = mix_weights(module, start, data, recipe, device, progress) if start else None
    say("testing the best model")
    tested = test_model(module, data, prompts, recipe, device)
    rows = [row.as_dict() for row in tested.rows]
    length = model.context_length
    remarks = [
        *say_patience(fitted, recipe),
        *say_skipped(module.guard.skipped),
        *say_cut(module.drawn, tested.said, length),
    ]
    remarks += [say_prefixes(model.prefixes)] if model.prefixes else []
    for remark in remarks:
        say(remark)
    remarks = [*warned, *fitted.advice, *([mixture.remark] if mixture else []), *remarks]
    save_trained(folder, model, data, recipe, domain, pretrained)
    schematic = recipe.data.source == "builtin"
    write_json(
        folder / METRICS,
        {
            "rows": rows,
            "train_seconds": round(fitted.seconds, 1),
            "total_seconds": round(time.perf_counter() - began, 1),
            "steps": fitted.steps,
            "skipped_steps": module.guard.skipped,
            "stopped_early": stopped,
            "ended_by": fitted.ended,
            **({"wise_ft": mixture.as_dict()} if mixture else {}),
            "schematic": schematic,
            "unreadable": [list(pair) for pair in data.unreadable],
            "texts": {
                "context_length": length,
                "drawn": asdict(module.drawn),
                "tested": asdict(tested.said),
            },
        },
    )
    hints = _next(folder, stopped)
    report = report_run(
        folder, tested, data, domain, environment, hints, schematic=schematic, remarks=remarks
    )
    say(f"report: {report}")
    if domain.notice:
        say(domain.notice)
    return RunResult(folder, rows, hints, len(data.unreadable), stopped)


def _next(folder: Path, stopped: bool) -> list[str]:
    run = shlex.quote(str(folder))
    hints = [f"domainclip train --resume {run}"] if stopped else []
    return [*hints, f"domainclip predict PICTURES --model {run}"]


def _read_result(folder: Path) -> RunResult:
    """Return the result of a run that other processes did."""
    found = read_metrics(folder)
    stopped = bool(found["stopped_early"])
    return RunResult(
        folder, found["rows"], _next(folder, stopped), len(found["unreadable"]), stopped
    )


def _teller(progress: bool) -> Callable[[str], None]:
    def say(message: str) -> None:
        if progress:
            print(message, file=sys.stderr, flush=True)

    return say


def _hush() -> None:
    """Keep the engines' own notes off the terminal; ours say what a person needs."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    # FSDP fears for changes in place of what towers return; there are none here.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
