"""Our side of a comparison: domainclip by a recipe, within a given time or number of steps."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import domainclip.training.build as build
import domainclip.training.prepare as prepare
import domainclip.training.run as run
from domainclip.data.datamodule import open_data
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.model.folder import create_model, write_json
from domainclip.recipe.load import Loaded, load_recipe
from domainclip.recipe.locate import locate
from domainclip.recipe.schema import Recipe

LEAST, AIMED, MOST = 0.88, 0.96, 1.02
"""Share of its time that a run may take, and is given; else it is done again by other steps."""
TRIES = 3


def pick_recipe(name: str, domain: str) -> str:
    """Return the name if there is such a recipe, else `quickstart`."""
    try:
        locate(name, domain)
    except UsageError:
        print(f"no recipe {name} for {domain} yet: quickstart", file=sys.stderr, flush=True)
        return "quickstart"
    return name


def resolve_recipe(
    name: str, flags: Mapping[str, Any], options: list[str], tiny: bool = False
) -> Loaded:
    """Return a recipe with options as they are typed, `--train.ema 0.99`, over these flags."""
    if len(options) % 2 or not all(key.startswith("--") for key in options[::2]):
        raise UsageError(f"options come as --SECTION.KEY VALUE, not {' '.join(options)}")
    typed = {key.removeprefix("--"): v for key, v in zip(options[::2], options[1::2], strict=True)}
    return load_recipe(None, name, {**flags, **typed}, tiny=tiny)


def pin_recipe(name: str, domain: str, options: list[str]) -> tuple[str, dict[str, Any], str]:
    """Return the recipe that there is, what it says beyond the defaults, and a digest of that.

    A job that holds it is not mistaken for one of an older recipe of the same name.
    """
    name = pick_recipe(name, domain)
    recipe = resolve_recipe(name, {"domain": domain}, options).recipe
    said = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"about", "domain"})
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:6]
    return name, said, digest


def train_timed(loaded: Loaded, folder: Path, seconds: float | None = None) -> dict[str, Any]:
    """Train by a recipe with an empty cache, and return what took how long.

    Counted is everything from the first picture read to the last step: packing, choosing the
    precision, the probe that turns minutes into steps, training, our validations. Imports and
    building the model are not, and nor is the final test.

    Args:
        loaded: The recipe; its length is replaced where `seconds` are given.
        folder: A run folder is made in it.
        seconds: The time to take. A run that took much less of it, or more (the machine changed
            its pace after the probe), is done again by a number of steps; of all attempts the one
            stands that fills the time best without overdrawing it.

    Returns:
        `seconds` in all, of which `packing`, `before` (precision and probe) and `training`;
        `steps`, `images`, `run` (the folder), and `tries` (seconds of each attempt).

    Raises:
        RuntimeError: If no attempt kept to the time.
    """
    tries: list[dict[str, Any]] = []
    before = 0.0
    home = os.environ.get("DOMAINCLIP_HOME")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DOMAINCLIP_HOME"] = cache
        try:
            recipe = loaded.recipe
            packing = _time_packing(recipe)
            if seconds is not None:
                recipe = _of_length(recipe, minutes=(AIMED * seconds - packing) / 60)
            for attempt in range(TRIES):
                place = folder / f"run-{attempt}"
                recipe = recipe.model_copy(update={"out": str(place)})
                with _Clock() as clock:
                    run.train(recipe, origins=loaded.origins, progress=False)
                metrics = run.read_metrics(place)
                before = before or clock.seconds  # of the first attempt, which probed
                used = packing + before + metrics["train_seconds"]
                tries.append(
                    {
                        "seconds": used, "packing": packing, "before": before,
                        "training": metrics["train_seconds"], "steps": metrics["steps"],
                        "images": metrics["steps"] * recipe.data.batch_size, "run": place.name,
                    }
                )  # fmt: skip
                write_json(folder / "tries.json", tries)
                if seconds is None or LEAST * seconds <= used <= MOST * seconds:
                    break
                left = (AIMED * seconds - packing - before) / metrics["train_seconds"]
                steps = _whole(metrics["steps"] * left, recipe.train.validations)
                recipe = _of_length(recipe, steps=steps)
        finally:
            os.environ.pop("DOMAINCLIP_HOME")
            if home is not None:
                os.environ["DOMAINCLIP_HOME"] = home
    best = max(tries, key=lambda one: _fits(one["seconds"], seconds))
    if seconds is not None and best["seconds"] > MOST * seconds:
        raise RuntimeError(f"{TRIES} attempts took more than {seconds:.0f} seconds each")
    return {**best, "tries": [round(one["seconds"], 1) for one in tries]}


def _fits(used: float, seconds: float | None) -> tuple[bool, float]:
    """Return what ranks attempts: those in time first, then how near they come."""
    return seconds is None or used <= MOST * seconds, -abs(used - (seconds or used))


def _time_packing(recipe: Recipe) -> float:
    some, _ = create_model(
        recipe.model.name, heads=recipe.model.heads, image_size=recipe.model.image_size
    )
    start = time.perf_counter()
    open_data(recipe, get_domain(recipe.domain), some.preprocess.size)
    return time.perf_counter() - start


def _of_length(recipe: Recipe, **length: Any) -> Recipe:
    none = {"epochs": None, "steps": None, "minutes": None}
    train = recipe.train.model_copy(update={**none, **length})
    return recipe.model_copy(update={"train": train})


def _whole(steps: float, validations: int) -> int:
    """Return a number of steps that ends on a validation."""
    whole = max(1, int(steps))
    return whole - whole % validations if whole > validations else whole


class _Clock:
    """Times what a run does between packing and training, and takes it off its minutes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.kept = prepare.pick_precision, build.count_steps

    def __enter__(self) -> _Clock:
        """Stand in for what the run calls."""
        pick, count = self.kept

        def timed_pick(*args, **kwargs):
            start = time.perf_counter()
            try:
                return pick(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        def timed_count(*args, minutes, validations, **kwargs):
            start = time.perf_counter()
            steps = count(*args, minutes=minutes, validations=validations, **kwargs)
            self.seconds += time.perf_counter() - start
            return _whole(steps * max(0.0, 1 - self.seconds / (60 * minutes)), validations)

        prepare.pick_precision, build.count_steps = timed_pick, timed_count
        return self

    def __exit__(self, *_: object) -> None:
        """Put everything back."""
        prepare.pick_precision, build.count_steps = self.kept
