"""The figures of a run: the same in lines, in the table, and in the loggers."""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from small_recipe import small_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe
from domainclip.training.metrics import COLUMNS, read_history
from domainclip.training.run import train


def recipe(out: Path, **train) -> Recipe:
    return small_recipe(out, train=train)


def check_table(folder: Path) -> list[dict]:
    lines = read_history(folder / "metrics.jsonl")
    with (folder / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert [{k: v for k, v in row.items() if v} for row in table] == [
        {k: str(v) for k, v in line.items() if v is not None} for line in lines
    ]
    return lines


def test_lines_and_table_say_the_same(tmp_path):
    lines = check_table(train(recipe(tmp_path / "run"), progress=False).folder)
    steps = [line for line in lines if "lr" in line]
    assert [line["step"] for line in steps] == [2, 4]
    assert [line["step"] for line in lines if "val_top1" in line] == [2, 4]
    assert all(line["grad_norm"] > 0 for line in lines if "train_loss" in line)
    for line in steps:
        assert 100 < line["memory_mb"] < 100_000
        assert line["images_per_second"] > 0 and 0 <= line["data_wait"] < 1
    assert steps[-1]["seconds_left"] == 0 <= steps[0]["seconds_left"]


def test_the_bar_shows_rate_waiting_memory_and_time_left(tmp_path, capsys):
    train(recipe(tmp_path / "run", steps=10, validations=1), progress=True)
    bars = capsys.readouterr().err.replace("\r", "\n").splitlines()
    last = [line for line in bars if line.startswith("training:")][-1]
    # 10 steps of 8 pictures, in minutes and seconds spent and left
    told = r"training: 100%\|.*\| 80\.0/80\.0 \[\d\d:\d\d<00:00, [\d.k]+ pictures/s, "
    assert re.match(told + r"loss \d+\.\d{3}, val .*, wait \d+%, \d+\.\d GB\]", last), last


def test_tensorboard_gets_the_figures(tmp_path):
    run = train(recipe(tmp_path / "run", loggers=["tensorboard"]), progress=False).folder
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    lines = check_table(run)
    for name in ("train_loss", "val_top1", "images_per_second"):
        wanted = [(x["step"], x[name]) for x in lines if name in x]
        got = [(e.step, e.value) for e in events.Scalars(name)]
        assert [s for s, _ in got] == [s for s, _ in wanted]
        assert [v for _, v in got] == pytest.approx([v for _, v in wanted])


@pytest.mark.slow
def test_wandb_stays_offline_and_keeps_to_the_run_folder(tmp_path, run_python):
    values = recipe(tmp_path / "run", loggers=["wandb"]).model_dump(mode="json")
    code = (
        "import json\nfrom domainclip.recipe.schema import Recipe\n"
        "from domainclip.training.run import train\n"
        f"train(Recipe.model_validate(json.loads({json.dumps(json.dumps(values))})))"
    )
    done: subprocess.CompletedProcess[str] = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    assert b"val_top1" in written.read_bytes()
    assert not (tmp_path / "wandb").exists()


def test_a_logger_without_its_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("domainclip.training.loggers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        train(recipe(tmp_path / "run", loggers=["wandb"]), progress=False)
    assert caught.value.hint == "pip install wandb" and not (tmp_path / "run").exists()
