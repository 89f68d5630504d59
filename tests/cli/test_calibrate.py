"""`domainclip calibrate` as people type it, with a small model of random weights."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app
from domainclip.domains.labels import LabelTree
from domainclip.inference.classify import ZeroShotClassifier
from domainclip.model.folder import create_model, save_model

COLOURS = {"red": (220, 30, 30), "rose": (230, 120, 130), "blue": (30, 30, 220)}
TREE = LabelTree.from_columns({"family": ["warm", "warm", "cold"], "species": list(COLOURS)})


def run(*args):
    return CliRunner().invoke(app, [*map(str, args)], prog_name="domainclip")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy pictures of three colours, in folders."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(60):
            pixels = np.clip(rng.normal(colour, 70, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    network, _ = create_model("small", image_size=32)
    card = {"domain": "biology", "heads": ["names"]}
    return save_model(network.eval(), tmp_path / "model", tree=TREE, card=card)


def test_what_is_fitted_is_printed_kept_and_used(model, photos, tmp_path):
    one = photos / "red" / "0.png"
    before = run("predict", one, "--model", model, "--confidence", 0.8)
    assert before.exit_code == 2 and "this model is not calibrated" in before.stderr
    typed = ("calibrate", "--model", model, "--data", photos, "--split", "train")
    result = run(*typed, "--picture", tmp_path / "r.png")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.split("\n# backing off\n")
    rows = list(csv.DictReader(io.StringIO(first.partition("\n")[2])))
    assert [row["rank"] for row in rows] == ["family", "species"]
    assert all(int(row["pictures"]) >= 100 and 0 <= float(row["error"]) <= 1 for row in rows)
    assert [float(r["confidence"]) for r in csv.DictReader(io.StringIO(second))] == [
        0.8, 0.9, 0.95, 0.99
    ]  # fmt: skip
    assert Image.open(tmp_path / "r.png").size[0] > 300
    after = run("predict", one, "--model", model, "--confidence", 0.8)
    (row,) = csv.DictReader(io.StringIO(after.stdout))
    assert after.exit_code == 0 and row["rank"] in ("", "family", "species")
    held = next(r for r in csv.DictReader(io.StringIO(second)) if r["confidence"] == "0.8")
    assert f"confidence 0.8, fitted to {rows[0]['pictures']} pictures of 3 labels" in after.stderr
    assert f"{float(held['answered']):.1%} got a name" in after.stderr or "nothing" in after.stderr
    sets = run("predict", one, "--model", model, "--sets", 0.2)
    assert sets.exit_code == 0 and 1 <= len(sets.stdout.splitlines()) - 1 <= 3
    assert "sets that may miss 20%" in sets.stderr
    told = json.loads(run(*typed, "--json").stdout)
    assert told["fitted"]["head"] == "names" and told["pictures"] >= 100
    kept = json.loads((model / "calibration.json").read_text())
    assert len(kept["calibrations"]) == 1  # in the place of the first


def test_it_holds_for_one_choice_of_labels(model, photos):
    run("calibrate", "--model", model, "--data", photos, "--split", "train", "--cls", "red,blue")
    one = photos / "red" / "0.png"
    more = run("calibrate", "--model", model, "--data", photos, "--split", "train",
               "--cls", "red,blue,ox")  # fmt: skip
    assert "the pictures show 2 of 3 labels" in more.stderr
    both = run("predict", one, "--model", model, "--cls", "red,blue", "--confidence", 0.8)
    assert both.exit_code == 0
    other = run("predict", one, "--model", model, "--confidence", 0.8)
    assert other.exit_code == 2 and "for other labels" in other.stderr


def test_another_model_in_its_place_is_not_taken_for_it(model, photos, tmp_path):
    run("calibrate", "--model", model, "--data", photos, "--split", "train")
    torch.manual_seed(1)
    network, _ = create_model("small", image_size=32)
    other = save_model(network.eval(), tmp_path / "other", tree=TREE, card={"domain": "biology"})
    shutil.copy(model / "calibration.json", other)
    classifier = ZeroShotClassifier(other, device="cpu").fit()
    assert classifier.calibrated_ is None and "is for another model" in classifier.why_not_


def test_what_cannot_be_fitted_is_one_line(model, photos, tmp_path):
    folder = tmp_path / "few"
    for name in COLOURS:
        (folder / name).mkdir(parents=True)
        for i in range(4):
            shutil.copy(photos / name / f"{i}.png", folder / name)
    few = run("calibrate", "--model", model, "--data", folder, "--split", "train")
    assert few.exit_code == 1 and "are too few" in few.stderr
    none = run("calibrate", "--model", model, "--data", photos, "--split", "train",
               "--cls", "ox,ass")  # fmt: skip
    assert none.exit_code == 1 and "no picture has a label to choose from" in none.stderr
    wrong = run("calibrate", "--model", model, "--data", photos, "--split", "tain")
    assert wrong.exit_code == 2 and "Traceback" not in wrong.stderr
    (photos / "red" / "broken.png").write_bytes(b"no picture")
    try:
        broken = run("calibrate", "--model", model, "--data", photos, "--split", "train")
    finally:
        (photos / "red" / "broken.png").unlink()
    assert broken.exit_code == 1 and "# probabilities" in broken.stdout
    assert "1 picture could not be read" in broken.stderr
