"""Trainings by `domainclip train` in processes of their own, kept once done, and what they can do.

A run that was killed goes on by `domainclip train --resume`; one that is done is read; one that
failed is reported, and stands in the way of no other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from turns import HOURS, JOB, LOG, end, tell

from domainclip.data.datamodule import PictureData, open_data
from domainclip.domains.contract import Domain
from domainclip.domains.registry import get_domain
from domainclip.evaluation.metrics import Tally
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.model.clip import DomainClip
from domainclip.model.device import pick_device
from domainclip.model.folder import write_json
from domainclip.recipe.schema import Recipe

METRICS, RECIPE = "metrics.json", "recipe.yaml"


class RunFailed(Exception):
    """A run that did not come to its end; the message says why."""


def train(folder: Path, *options: object) -> dict[str, Any]:
    """Return the metrics of a run: trained by these options, gone on with, or read if done.

    Args:
        folder: The run folder; it keeps the options as well, and a log.
        options: What `domainclip train` is called with, beside `--out`.

    Raises:
        RunFailed: If it failed, or the folder holds a run of other options.
    """
    asked = [str(option) for option in options]
    job, begun = folder / JOB, (folder / RECIPE).is_file()
    if begun and job.is_file() and json.loads(job.read_text(encoding="utf-8")) != asked:
        raise RunFailed(f"{folder} holds a run of other options; delete it or name another --out")
    done = _finished(folder)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    write_json(job, asked)
    how = ["--resume", str(folder)] if begun else [*asked, "--out", str(folder)]
    doing = "resuming" if begun else "training"
    tell(f"{datetime.now(UTC):%H:%M:%S} {doing} {folder} (load {os.getloadavg()[0]:.1f})")
    command = [sys.executable, "-m", "domainclip", "train", *how]
    signal.signal(signal.SIGTERM, end)  # else the training would outlive what waits for it
    with (folder / LOG).open("a", encoding="utf-8") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=HOURS * 3600
            ).returncode
        except subprocess.TimeoutExpired:
            raise RunFailed(f"{folder} was ended after {HOURS} hours") from None
    done = _finished(folder)
    if done is None:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
        last = [line for line in text.replace("\r", "\n").splitlines() if line.strip()][-2:]
        raise RunFailed(f"ended with {code}: {' | '.join(last)[:300]} ({folder / LOG})")
    return done


def _finished(folder: Path) -> dict[str, Any] | None:
    """Return the metrics of a run that came to its end, None where there is none."""
    try:
        metrics = dict(json.loads((folder / METRICS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return None if metrics["stopped_early"] else metrics


def find_precision(folder: Path, wanted: str, *options: object) -> str:
    """Return the number format for all runs: as wanted, or what `auto` takes in one step of these.

    Raises:
        RunFailed: If that step failed.
    """
    if wanted != "auto":
        return wanted
    short = ["--train.steps", 1, "--train.validations", 1, "--evaluate.bootstrap", 0]
    train(folder, *options, *short, "--train.precision", "auto")
    return read_recipe(folder).train.precision


def read_recipe(folder: Path) -> Recipe:
    """Return the resolved recipe of a run."""
    values = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    return Recipe.model_validate(values)


class Measured(NamedTuple):
    """What a model says of one split."""

    right: NDArray[np.float64]
    """Shape (n,): 1 for each picture that is named right, else 0."""
    distance: float
    """Mean tree distance between truth and prediction over the wrong ones; nan without any."""


class Bench:
    """The pictures of a run, whole splits of them, to put models to the test on.

    Args:
        recipe: Of the run.
        size: Side of the model's input in pixels.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.domain: Domain = get_domain(recipe.domain)
        self.data: PictureData = open_data(recipe, self.domain, size)
        self.prompts = self.domain.prompts[recipe.text.prompts]
        self.device = pick_device(recipe.device)
        self.seen = np.unique(self.data.splits["train"].nodes)
        unseen = self.data.splits.get("test_unseen")
        self.unseen = self.seen[:0] if unseen is None else np.unique(unseen.nodes)

    def by_name(self, model: DomainClip, split: str) -> Measured:
        """Return how pictures are named among the labels that were trained on, by their names."""
        texts = [label_texts(self.data.tree, int(n), self.prompts) for n in self.seen]
        return self._classify(model, split, self.seen, texts, "names")

    def by_description(self, model: DomainClip, among_all: bool) -> Measured:
        """Return how pictures of unseen labels are told by descriptions, among these or all."""
        nodes = np.concatenate([self.seen, self.unseen]) if among_all else self.unseen
        texts = [self.data.descriptions[int(n)] for n in nodes]
        return self._classify(model, "test_unseen", nodes, texts, "captions")

    @torch.no_grad()
    def _classify(
        self,
        model: DomainClip,
        split: str,
        nodes: NDArray[np.int64],
        texts: Sequence[Sequence[str]],
        head: str,
    ) -> Measured:
        model.eval().to(self.device)
        pre, tally = model.preprocess, Tally(self.data.tree, nodes)
        mean, std = (_channels(values).to(self.device) for values in (pre.mean, pre.std))
        classes = embed_labels(model, texts, self.prompts.pooling, head=head)
        for batch in self.data.loader(split):
            pixels = (batch.pixels.to(self.device).float() / 255 - mean) / std
            logits = model.scale(head) * model.encode_image(pixels, head) @ classes.T
            tally.add(logits.softmax(dim=1), batch.nodes.numpy())
        distance = tally.error_distance()
        right = tally.predictions().right.astype(np.float64)
        return Measured(right, float("nan") if distance is None else distance)


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def change_data(recipe: Recipe, **data: object) -> Recipe:
    """Return a recipe with changes of its data, and nothing replayed."""
    changed = recipe.data.model_copy(update={"replay": "", **data})
    return recipe.model_copy(update={"data": changed})


def read_arrays(file: Path) -> dict[str, NDArray[np.float64]] | None:
    """Return arrays kept in a file, None where there is none."""
    if not file.is_file():
        return None
    with np.load(file) as kept:
        return dict(kept)


def keep_arrays(file: Path, arrays: dict[str, NDArray[np.float64]]) -> None:
    """Keep arrays in a file, whole or not at all."""
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    partial.replace(file)
