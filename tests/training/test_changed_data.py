"""`train --resume` refuses data that has changed since, and says which part of it did."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app
from domainclip.errors import DataError
from domainclip.model.digest import digest_weights
from domainclip.training.folders import check_same_start

COLUMNS = ("file_name", "label", "caption", "split", "weight")


def write(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of one step on pictures of one's own, with others replayed, as typed."""
    place = tmp_path_factory.mktemp("place")
    rows = []
    for i in range(20):
        for name in ("own", "other"):
            (place / name).mkdir(exist_ok=True)
            noise = np.random.default_rng([i, len(name)]).integers(0, 255, (24, 24, 3), np.uint8)
            Image.fromarray(noise).save(place / name / f"{i}.png")
        split = ["train", "train", "train", "val", "test"][i // 2 % 5]
        rows.append(dict(zip(COLUMNS, (f"{i}.png", "ab"[i % 2], f"said {i}", split, "1"),
                             strict=True)))  # fmt: skip
    write(place / "own", rows)
    write(place / "other", [{**row, "split": ""} for row in rows])
    asked = ("--domain", "biology", "--tiny", "--data.source", place / "own", "--data.replay",
             place / "other", "--train.steps", 1, "--model.image-size", 16, "--data.workers", 0,
             "--data.limit", 0)  # fmt: skip
    result = typed(place, *asked, "--out", place / "run")
    assert result.exit_code == 0, result.stderr
    return place


def typed(place, *args):
    home = {"DOMAINCLIP_HOME": str(place / "home")}
    return CliRunner().invoke(app, ["train", *map(str, args)], env=home)


@pytest.mark.parametrize(
    ("folder", "cells", "said"),
    [
        ("own", {"caption": "something else"}, "(captions)"),
        ("own", {"label": "c"}, "(labels)"),
        ("own", {"split": "test", "weight": "2"}, "(splits, weights)"),
        ("other", {"caption": "something else"}, "(replay)"),
    ],
)
def test_what_changed_is_named(place, folder, cells, said):
    path = place / folder / "metadata.csv"
    before = path.read_text(encoding="utf-8")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rows[0] |= cells
        write(path.parent, rows)
        result = typed(place, "--resume", place / "run")
    finally:
        path.write_text(before, encoding="utf-8")
    assert result.exit_code == 1
    assert f"the data has changed since the run in {place / 'run'} began {said}" in result.stderr
    assert "begin a new run" in result.stderr


def test_a_run_on_the_same_data_goes_on(place):
    """Here from its start, killed before its first checkpoint; its recipe stays as it was."""
    shutil.copytree(place / "run", place / "killed")
    recipe = (place / "killed" / "recipe.yaml").read_bytes()
    assert b"[command line]" in recipe
    for name in ("checkpoints", "model"):
        shutil.rmtree(place / "killed" / name)
    (place / "killed" / "metrics.json").unlink()
    assert typed(place, "--resume", place / "killed").exit_code == 0
    assert json.loads((place / "killed" / "metrics.json").read_text())["steps"] == 1
    assert (place / "killed" / "checkpoints" / "last.ckpt").is_file()
    assert (place / "killed" / "recipe.yaml").read_bytes() == recipe


def test_data_is_looked_at_without_a_checkpoint_too(place):
    shutil.copytree(place / "run", place / "early")
    shutil.rmtree(place / "early" / "checkpoints")
    begun = json.loads((place / "early" / "environment.json").read_text())
    changed = {**begun, "data_fingerprint": "another"}
    (place / "early" / "environment.json").write_text(json.dumps(changed))
    result = typed(place, "--resume", place / "early")
    assert result.exit_code == 1 and "the data has changed" in result.stderr


def test_another_base_or_number_of_processes_is_noticed(tmp_path):
    now = {"data_fingerprint": "x", "data_parts": {}, "base": "one", "processes": 2}
    (tmp_path / "environment.json").write_text(json.dumps(now))
    assert check_same_start(tmp_path, now) == []
    (said,) = check_same_start(tmp_path, {**now, "processes": 1})
    assert "begun by 2 processes, goes on by 1" in said
    with pytest.raises(DataError, match=r"model\.name"):
        check_same_start(tmp_path, {**now, "base": "two"})


def test_any_weight_counts_in_the_digest():
    layer = torch.nn.BatchNorm1d(3)
    before = digest_weights(layer)
    assert digest_weights(layer) == before
    layer.running_mean[1] = 1e-3
    assert digest_weights(layer) != before


def test_position_embeddings_alone_do_not():
    model = torch.nn.ParameterDict({
        "ln_post": torch.zeros(3), "positional_embedding": torch.zeros(3),
    })  # fmt: skip
    before = digest_weights(model)
    model["positional_embedding"].data[0] = 1
    assert digest_weights(model) == before
    model["ln_post"].data[0] = 1
    assert digest_weights(model) != before
