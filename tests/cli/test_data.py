"""`domainclip data inspect` on a folder made here."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for i, label in enumerate(("platelet", "lymphocyte")):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            for j in range(3):
                colour = (40 * i, 40 * j, 200 if split == "test" else 20)
                Image.new("RGB", (20, 20), colour).save(place / f"{j}.png")
    return tmp_path


def inspect(*args):
    args = ["data", "inspect", *map(str, args), "--domain", "medical"]
    return CliRunner().invoke(app, args, prog_name="domainclip")


def test_counts_come_as_tables_and_as_one_object(folder):
    result = inspect(folder, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    pictures = {row["split"]: row["pictures"] for row in told["splits"]}
    assert (pictures["test"], sum(pictures.values())) == (6, 12)
    assert told["unreadable"] == 0
    assert "# splits\nsplit,pictures" in inspect(folder).stdout


def test_a_broken_picture_is_told_and_exit_code_1(folder, tmp_path):
    whole = (folder / "train/platelet/0.png").read_bytes()
    (folder / "train/platelet/0.png").write_bytes(whole[: len(whole) // 2])
    result = inspect(folder, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "1 picture cannot be read" in result.stderr
    assert "train/platelet/0.png" in result.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 20


def test_wrong_columns_are_wrong_use(folder):
    result = inspect(folder, "--columns", "label")
    assert result.exit_code == 2 and "PART=COLUMN" in result.stderr
