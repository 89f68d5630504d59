"""From a recipe to a run folder: data, model, training, test, report."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from domainclip import __version__
from domainclip.data.datamodule import PictureData, open_data
from domainclip.domains.contract import Domain, PromptSet
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError, UsageError, suggest
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.knowledge.nouns import find_noun
from domainclip.knowledge.traits import sheet_claims
from domainclip.model.adapters import adapt, merge_adapters
from domainclip.model.clip import PREFIXES, DomainClip
from domainclip.model.device import pick_device
from domainclip.model.folder import built_in_configs, create_model, save_model, write_json
from domainclip.paths import runs_dir
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import flatten, to_yaml
from domainclip.texts.demands import check_texts
from domainclip.texts.labels import NAME_VIEWS
from domainclip.texts.views import TextViews

from .advice import advise_recipe
from .checkpoints import LAST, checkpoint_path
from .compiling import require_compiler
from .environment import describe_environment
from .features import fix_features
from .final import test_model
from .fit import fit, train_loader
from .guard import say_skipped
from .loggers import require_loggers
from .memory import explained_memory
from .mixing import copy_start, mix_weights
from .module import ContrastiveModule
from .precision import pick_precision
from .probe import TIMED, WARM, count_steps
from .reporting import report_run, say_cut
from .resolve import DEFAULT_MINUTES, INIT_SCALE, init_bias, resolve

RECIPE, ENVIRONMENT, METRICS = "recipe.yaml", "environment.json", "metrics.json"


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
    folder = _new_folder(recipe)
    with explained_memory(recipe, folder):
        return _run(recipe, folder, None, origins or {}, command, progress)


def resume(folder: str | Path, *, command: Sequence[str] = (), progress: bool = True) -> RunResult:
    """Go on with a run that was stopped, from its last checkpoint, under its own recipe.

    Raises:
        UsageError: If there is no run there.
    """
    import yaml

    folder = Path(folder)
    if not (folder / RECIPE).is_file():
        raise UsageError(f"no run in {folder}", f"a run folder holds {RECIPE}")
    recipe = Recipe.model_validate(yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")))
    last = checkpoint_path(folder, LAST)
    with explained_memory(recipe, folder):
        return _run(recipe, folder, last if last.is_file() else None, {}, command, progress)


def _run(
    recipe: Recipe,
    folder: Path,
    checkpoint: Path | None,
    origins: Mapping[str, str],
    command: Sequence[str],
    progress: bool,
) -> RunResult:
    say = _teller(progress)
    _hush()
    asked = flatten(recipe)
    began = time.perf_counter()
    domain = get_domain(recipe.domain)
    prompts = _prompts(domain, recipe.text.prompts)
    device = pick_device(recipe.device)
    require_loggers(recipe.train.loggers)
    if recipe.train.compile:
        require_compiler(device)
    L.seed_everything(recipe.seed, workers=True, verbose=False)
    model, pretrained = create_model(
        recipe.model.name,
        heads=recipe.model.heads,
        context_length=recipe.model.context_length,
        image_size=recipe.model.image_size,
        init_scale=recipe.loss.init_scale or INIT_SCALE[recipe.loss.kind],
        init_bias=init_bias(recipe.loss),
        prefixes=PREFIXES if recipe.text.prefix else None,
    )
    if not (pretrained or recipe.model.name in built_in_configs()):
        say(f"{recipe.model.name} names no pretrained weights: it starts from nothing")
    start = copy_start(model, recipe, pretrained)
    adapt(model, recipe.model, pretrained)
    data = open_data(recipe, domain, model.preprocess.size)
    for message in data.messages:
        say(message)
    check_texts(recipe, data.captions["train"], *data.stored.get("train", ()))
    recipe = _pin_captions(recipe, data)
    model.to(memory_format=torch.channels_last)
    module = _module(recipe, model, data, prompts)
    model.preprocess = replace(model.preprocess, resize=data.side)
    precision = pick_precision(recipe.train.precision, device, module, train_loader(data, 1, 0))
    recipe = resolve(recipe, pretrained, device, precision, len(data.splits["train"]))
    module = _module(recipe, model, data, prompts)
    features = module.features = fix_features(module, data, recipe, device, progress)
    if recipe.train.steps is None:
        recipe = _with_steps(recipe, module, data, device, precision)
        module = _module(recipe, model, data, prompts)
        module.features = features
    steps = int(recipe.train.steps or 1)
    environment = describe_environment(device, precision, command, data.fingerprint)
    environment["data_parts"] = dict(data.parts)
    found = {k: "found out" for k, value in flatten(recipe).items() if value != asked[k]}
    if checkpoint is not None:
        _check_same_data(folder, data)
    else:  # a run that goes on keeps what it was begun with
        _write_start(folder, recipe, {**origins, **found}, environment)
    say(
        f"training {steps} steps of {recipe.data.batch_size} on {len(data.splits['train'])} "
        f"pictures ({device}, {precision}) into {folder}"
    )
    warned = advise_recipe(recipe, pretrained)
    for line in warned:
        say(f"warning: {line}")
    fitted = fit(module, data, recipe, folder, checkpoint, device, precision, progress)
    merge_adapters(model)
    mixture = mix_weights(module, start, data, recipe, device, progress) if start else None
    say("testing the best model")
    tested = test_model(module, data, prompts, recipe, device)
    rows = [row.as_dict() for row in tested.rows]
    length = model.context_length
    remarks = [*say_skipped(module.guard.skipped), *say_cut(module.drawn, tested.said, length)]
    for remark in remarks:
        say(remark)
    remarks = [*warned, *fitted.advice, *([mixture.remark] if mixture else []), *remarks]
    _save(folder, module, data, recipe, domain, pretrained)
    schematic = recipe.data.source == "builtin"
    write_json(
        folder / METRICS,
        {
            "rows": rows,
            "train_seconds": round(fitted.seconds, 1),
            "total_seconds": round(time.perf_counter() - began, 1),
            "steps": fitted.steps,
            "skipped_steps": module.guard.skipped,
            "stopped_early": fitted.stopped,
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
    hints = [f"domainclip predict PICTURES --model {shlex.quote(str(folder))}"]
    if fitted.stopped:
        hints = [f"domainclip train --resume {shlex.quote(str(folder))}", *hints]
    report = report_run(
        folder, tested, data, domain, environment, hints, schematic=schematic, remarks=remarks
    )
    say(f"report: {report}")
    if domain.notice:
        say(domain.notice)
    return RunResult(folder, rows, hints, len(data.unreadable), fitted.stopped)


def _module(
    recipe: Recipe, model: DomainClip, data: PictureData, prompts: PromptSet
) -> ContrastiveModule:
    text, domain = recipe.text, get_domain(recipe.domain)
    classes = np.unique(data.splits["train"].nodes).tolist()
    views = TextViews(
        data.tree,
        prompts,
        {view: getattr(text, view) for view in NAME_VIEWS},
        data.captions.get("train", ()),
        stored=data.stored.get("train", ()),
        replay=data.replay.captions if data.replay else (),
        caption_share=text.captions,
        original_share=text.originals,
        part_share=text.parts,
        template_share=text.templates,
        both=text.both,
        draw=text.draw,
        caption_draws=text.caption_draws,
        nameless=text.nameless,
        nouns={n: find_noun(domain, data.tree, n) for n in classes if text.nameless},
        negatives=text.negatives,
        words=domain.knowledge.words() if domain.knowledge else None,
        traits={n: sheet_claims(domain, data.tree, n) for n in classes if text.negatives},
    )
    said = [label_texts(data.tree, node, prompts) for node in classes]

    def embed_classes(model: DomainClip) -> Tensor:
        return embed_labels(model, said, prompts.pooling)

    return ContrastiveModule(
        model, views, recipe, recipe.train.steps or 1,
        embed_classes=embed_classes, classes=classes,
        weights=data.drawn.weights,
    )  # fmt: skip


def _pin_captions(recipe: Recipe, data: PictureData) -> Recipe:
    """Name the generation of the captions, so that a newer one does not change the run."""
    if not data.caption_sources:
        return recipe
    pinned = recipe.data.model_copy(update={"captions": data.caption_sources})
    return recipe.model_copy(update={"data": pinned})


def _with_steps(
    recipe: Recipe, module: ContrastiveModule, data: PictureData, device: str, precision: str
) -> Recipe:
    steps = count_steps(
        module,
        train_loader(data, WARM + TIMED, 0),
        data.loader("val"),
        minutes=float(recipe.train.minutes or DEFAULT_MINUTES),
        validations=recipe.train.validations,
        device=device,
        precision=precision,
    )
    length = recipe.train.model_copy(update={"steps": steps, "minutes": None})
    return recipe.model_copy(update={"train": length})


def _save(
    folder: Path,
    module: ContrastiveModule,
    data: PictureData,
    recipe: Recipe,
    domain: Domain,
    pretrained: bool,
) -> None:
    seen = np.unique(data.splits["train"].nodes)
    save_model(
        module.model.cpu(),
        folder / "model",
        tree=data.tree,
        card={
            "domain": domain.name,
            "notice": domain.notice,
            "prompts": recipe.text.prompts,
            "candidates": [list(data.tree.key(int(node))) for node in seen],
            "data_licences": list(data.licences),
            "provenance": {
                "base": recipe.model.name if pretrained else None,
                "recipe": recipe.model_dump(mode="json"),
                "data": data.fingerprint,
                "captions": list(data.caption_sources),
                "schematic": recipe.data.source == "builtin",
                "domainclip": __version__,
            },
        },
    )


def _write_start(
    folder: Path, recipe: Recipe, origins: Mapping[str, str], environment: dict[str, Any]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).write_text(to_yaml(recipe, origins), encoding="utf-8")
    write_json(folder / ENVIRONMENT, environment)


def _new_folder(recipe: Recipe) -> Path:
    if recipe.out:
        folder = Path(recipe.out).expanduser()
        if (folder / RECIPE).exists():
            raise UsageError(
                f"{folder} holds a run already",
                f"go on with it by --resume {folder}, or name another --out",
            )
        return _writable(folder)
    stamp = f"{recipe.domain}-{datetime.now():%Y%m%d-%H%M%S}"
    names = (stamp if i == 1 else f"{stamp}-{i}" for i in count(1))
    return _writable(next(runs_dir() / name for name in names if not (runs_dir() / name).exists()))


def _writable(folder: Path) -> Path:
    """Return the folder if it can be made, so that no run is lost at its end."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f"{folder} cannot be made: {there} is not a folder that can be written to",
                         "name another place by --out")  # fmt: skip
    return folder


def _check_same_data(folder: Path, data: PictureData) -> None:
    begun = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    if begun["data_fingerprint"] == data.fingerprint:
        return
    before, now = begun.get("data_parts", {}), data.parts
    changed = sorted(part for part in {*before, *now} if before.get(part) != now.get(part))
    which = f" ({', '.join(changed)})" if before and changed else ""
    raise DataError(
        f"the data has changed since the run in {folder} began{which}",
        f"begin a new run under its recipe: domainclip train --recipe {folder}",
    )


def _prompts(domain: Domain, name: str) -> PromptSet:
    if name not in domain.prompts:
        raise UsageError(
            f"the domain {domain.name!r} has no prompt set {name!r}; "
            f"it has {', '.join(domain.prompts)}",
            suggest(name, domain.prompts),
        )
    return domain.prompts[name]


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


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """Return `metrics.json` of a run folder."""
    return dict(json.loads((Path(folder) / METRICS).read_text(encoding="utf-8")))
