"""`train --resume` refuses data that has changed since, and says which part of it did."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app

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
    assert typed(place, "--resume", place / "run").exit_code == 0
