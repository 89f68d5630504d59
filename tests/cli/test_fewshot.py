"""`domainclip fewshot` as a person types it: a small folder, a model that was never trained."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli import app as root
from domainclip.inference.fewshot.classifier import FewShotClassifier
from domainclip.inference.fewshot.galleries import BothHeads
from domainclip.model.folder import create_model, save_model

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
SPLITS = {"train": 6, "val": 3, "test": 4}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own, and the command in the list."""
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(root.COMMANDS, "fewshot", "Make a classifier.")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    made, _ = create_model("small", image_size=32)
    card = {"domain": "biology", "notice": "only a test"}
    return save_model(made, tmp_path_factory.mktemp("model"), tree=None, card=card)


@pytest.fixture
def data(tmp_path):
    """A table of pictures by colour, with splits and captions; returns its path."""
    rng, rows = np.random.default_rng(0), []
    for split, count in SPLITS.items():
        for name, colour in COLOURS.items():
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 25, (40, 32, 3)), 0, 255)
                file = f"{split}-{name}-{i}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / file)
                said = f"a {name} thing" if split == "train" else ""
                rows.append({"file_name": file, "label": name, "split": split, "caption": said})
    return write(tmp_path / "pictures.csv", rows)


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def fewshot(model, data, out, *args):
    line = ["fewshot", "--model", model, "--data", data, "--out", out, *args]
    return CliRunner().invoke(root.app, [*map(str, line)], prog_name="domainclip")


@pytest.fixture
def looked(monkeypatch):
    """How many pictures went through the image tower."""
    counts, encode = [], BothHeads.encode_pixels

    def count(self, pixels, head="names"):
        counts.append(len(pixels))
        return encode(self, pixels, head)

    monkeypatch.setattr(BothHeads, "encode_pixels", count)
    return counts


def test_the_best_method_is_told_and_saved(model, data, tmp_path):
    out = tmp_path / "mine"
    result = fewshot(model, data, out, "--shots", 4, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["method"] for row in rows] == ["centroid", "tip", "caps", "logistic", "tip-trained"]
    assert list(rows[0]) == ["method", "val_accuracy", "settings", "seconds", "chosen"]
    chosen = [row for row in rows if row["chosen"]]
    assert len(chosen) == 1 and chosen[0]["val_accuracy"] == "1.0"
    assert "only a test" in result.stderr and f"--classifier {out}" in result.stderr
    classifier = FewShotClassifier.load(out, device="cpu")
    files = sorted(tmp_path.glob("test-*.png"))
    assert classifier.predict(files).tolist() == [file.name.split("-")[1] for file in files]
    assert classifier.method_ == chosen[0]["method"]
    about = json.loads((out / "fewshot.json").read_text())
    assert about["learned_from"]["pictures"] == 12 and about["learned_from"]["shots"] == 4


def test_the_test_is_one_more_table_with_an_interval(model, data, tmp_path):
    result = fewshot(model, data, tmp_path / "mine", "--method", "centroid", "--test", "--json")
    told = json.loads(result.stdout)
    assert (told["method"], told["unreadable"]) == ("centroid", {})
    assert [row["accuracy"] for row in told["methods"]] == [1.0]
    (row,) = told["test"]
    assert (row["rank"], row["n"], row["value"]) == ("label", 12, 1.0)
    assert row["low"] <= row["value"] <= row["high"]
    table = fewshot(model, data, tmp_path / "mine", "--method", "centroid", "--test").stdout
    assert "# validation" in table and "# test" in table and "label,1.0,1.0,1.0,12" in table
    quiet = fewshot(model, data, tmp_path / "mine", "--method", "centroid", "--quiet")
    assert (quiet.stdout, quiet.stderr) == (f"{tmp_path / 'mine'}\n", "")


def test_test_pictures_are_not_looked_at_unless_they_are_asked_for(model, data, tmp_path):
    for file in tmp_path.glob("test-*.png"):
        file.write_bytes(b"torn")
    result = fewshot(model, data, tmp_path / "mine")
    assert result.exit_code == 0, result.stderr
    result = fewshot(model, data, tmp_path / "mine", "--test", "--method", "tip")
    assert result.exit_code == 1 and "12 pictures cannot be read" in result.stderr


def test_unreadable_pictures_are_listed_and_replaced(model, data, tmp_path):
    for i in range(4):
        (tmp_path / f"train-red-{i}.png").write_bytes(b"torn")
    (tmp_path / "val-blue-0.png").write_bytes(b"")
    result = fewshot(model, data, tmp_path / "mine", "--method", "centroid", "--shots", 2, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)["unreadable"]
    assert told["val-blue-0.png"] == "the file is empty"
    assert {name[:-6] for name in told} == {"train-red", "val-blue"}
    assert all(name in result.stderr for name in told)
    about = json.loads((tmp_path / "mine" / "fewshot.json").read_text())
    assert about["learned_from"]["pictures"] == 6
    for i in range(6):
        (tmp_path / f"train-red-{i}.png").write_bytes(b"torn")
    result = fewshot(model, data, tmp_path / "none", "--method", "centroid")
    assert result.exit_code == 1 and "no picture of 'red' can be read, of 6" in result.stderr
    assert not (tmp_path / "none").exists()


def test_stopped_it_goes_on_where_it_was(model, data, tmp_path, looked, monkeypatch):
    counted = BothHeads.encode_pixels

    def stop(self, pixels, head="names"):
        if sum(looked) >= 8:
            raise KeyboardInterrupt
        return counted(self, pixels, head)

    same = ("--method", "centroid", "--batch-size", 4)
    with monkeypatch.context() as patch:
        patch.setattr(BothHeads, "encode_pixels", stop)
        result = fewshot(model, data, tmp_path / "mine", *same)
    assert result.exit_code == 130 and "to go on: domainclip" in result.stderr
    assert sum(looked) == 8 and not (tmp_path / "mine").exists()
    assert fewshot(model, data, tmp_path / "mine", *same).exit_code == 0
    assert sum(looked) == 27  # 18 to learn from and 9 to choose on, each once
    assert fewshot(model, data, tmp_path / "mine", *same, "--shots", 3).exit_code == 0
    assert sum(looked) == 27
    file = tmp_path / "train-red-0.png"
    Image.open(file).rotate(180).save(file)  # another picture under an old name
    assert fewshot(model, data, tmp_path / "mine", *same).exit_code == 0
    assert sum(looked) == 28


def test_built_in_pictures_are_those_of_the_seed_that_the_model_was_trained_under(
    model, tmp_path, monkeypatch
):
    from domainclip.data import samples as room

    seen, opened = [], room.open_samples

    def note(*args, **kwargs):
        seen.append((kwargs["seed"], kwargs["size"]))
        return opened(*args, **{**kwargs, "limit": 4050})  # all to train on, and some to choose on

    monkeypatch.setattr(room, "open_samples", note)
    card = json.loads((model / "domainclip.json").read_text())
    there = tmp_path / "run"
    there.mkdir()
    for file in model.iterdir():
        (there / file.name).symlink_to(file)
    (there / "domainclip.json").unlink()
    card["provenance"] = {"recipe": {"seed": 5}}
    (there / "domainclip.json").write_text(json.dumps({**card, "resize": 36}))
    result = fewshot(there, "builtin", tmp_path / "mine", "--method", "tip", "--shots", 1,
                     "--seed", 2)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert seen == [(5, 36)]
    classifier = FewShotClassifier.load(tmp_path / "mine", device="cpu")
    assert len(classifier.classes_) == 40 and classifier.ranks_.names[-1] == "species"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--method", "centriod"), 2, "did you mean 'centroid'?"),
        (("--model", "nowhere"), 2, "no model 'nowhere'"),
        (("--domain", "biologie"), 2, "did you mean 'biology'?"),
        (("--data", "nothing"), 1, "no file or folder nothing"),
        (("--columns", "label"), 2, "write --columns PART=COLUMN"),
        (("--captions", "nothing"), 1, "no captions in nothing"),
        (("--shots", "-1"), 2, "--shots"),
    ],
)
def test_bad_input_is_one_line_with_the_way_on(model, data, tmp_path, args, code, said):
    result = fewshot(model, data, tmp_path / "mine", *args)
    assert result.exit_code == code and said in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "mine").exists()


def test_data_that_does_not_suffice_is_refused(model, data, tmp_path):
    rows = list(csv.DictReader(io.StringIO(data.read_text())))
    bare = write(tmp_path / "bare.csv", [{**row, "caption": ""} for row in rows])
    result = fewshot(model, bare, tmp_path / "mine", "--method", "caps")
    assert result.exit_code == 2 and "caps needs captions" in result.stderr
    one = write(tmp_path / "one.csv", [row for row in rows if row["label"] == "red"])
    result = fewshot(model, one, tmp_path / "mine")
    assert result.exit_code == 1 and "nothing to tell apart" in result.stderr
    result = fewshot(model, data, tmp_path / "mine", "--shots", 9, "--method", "centroid")
    assert result.exit_code == 0 and "fewer than 9 pictures to learn from" in result.stderr
    unseen = [row for row in rows if (row["label"], row["split"]) != ("red", "train")]
    few = write(tmp_path / "few.csv", unseen)
    result = fewshot(model, few, tmp_path / "mine", "--method", "centroid", "--test")
    assert result.exit_code == 0
    assert "3 of 9 validation pictures have labels that are not learned" in result.stderr
    assert "4 test pictures with labels that were not learned" in result.stderr


def test_a_folder_that_holds_something_else_is_left_alone(model, data, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    result = fewshot(model, data, tmp_path / "mine")
    assert result.exit_code == 2 and "holds something else" in result.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
