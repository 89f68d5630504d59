"""Pairs of pictures and texts without labels: captions alone tell the pictures apart."""

import csv

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small_recipe import small_recipe
from tiny_module import build

from domainclip.cli.app import app
from domainclip.errors import DataError
from domainclip.model.folder import load_model
from domainclip.training.metrics import read_history
from domainclip.training.pairs import recall_pairs
from domainclip.training.run import read_metrics, resume, train

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 50, 210)}
PLACES = ("left", "right")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """48 pictures, of which one half has a colour; no label, two without a caption."""
    root = tmp_path_factory.mktemp("pairs")
    rows, rng = [], np.random.default_rng(0)
    for i in range(48):
        colour, place = list(COLOURS)[i % 3], PLACES[i // 3 % 2]
        picture = rng.integers(90, 130, (32, 32, 3), dtype=np.uint8)
        picture[:, :16] = COLOURS[colour] if place == "left" else picture[:, :16]
        picture[:, 16:] = COLOURS[colour] if place == "right" else picture[:, 16:]
        Image.fromarray(picture).save(root / f"{i}.png")
        caption = "" if i in (5, 40) else f"a {colour} half on the {place}, number {i % 12}"
        split = "test" if i >= 36 else "val" if i >= 24 else "train"
        rows.append({"file_name": f"{i}.png", "caption": caption, "split": split})
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def test_they_are_trained_on_validated_and_tested(pairs, tmp_path, capsys):
    asked = small_recipe(
        tmp_path / "run", data={"source": str(pairs), "columns": {}}, train={"steps": 6}
    )
    done = train(asked)
    said = capsys.readouterr().err
    assert "no label tells the pictures apart: pictures are paired with captions alone" in said
    assert "no picture has a label: only captions tell them apart" in said
    assert "'5.png', '40.png'" in said and "it has no label and no caption" in said
    history = read_history(done.folder / "metrics.jsonl")
    found = [line["val_recall1"] for line in history if "val_recall1" in line]
    assert len(found) == 2 and all(0 <= recall <= 1 for recall in found)
    assert not any("val_top1" in line for line in history)
    metrics = read_metrics(done.folder)
    assert metrics["texts"]["drawn"]["texts"] == 6 * 8
    assert {row["metric"].split(" ")[0] for row in metrics["rows"]} == {
        "recall@1", "recall@5", "recall@10"
    }  # fmt: skip
    report = (done.folder / "report.html").read_text()
    assert "Retrieval" in report and "<h2>Results</h2>" not in report
    wise = small_recipe(
        tmp_path / "tuned",
        data={"source": str(pairs)},
        model={"name": str(done.folder), "image_size": 0},
        train={"steps": 2, "validations": 1, "wise_ft": True},
    )
    assert len(read_metrics(train(wise, progress=False).folder)["wise_ft"]["candidates"]) == 11
    names = ["predict", str(pairs / "0.png"), "--model", str(done.folder)]
    asked_for = CliRunner().invoke(app, [*names, "--cls", "red,green,blue"])
    assert asked_for.exit_code == 0, asked_for.output


@pytest.mark.slow
def test_they_are_learned(pairs, tmp_path):
    """Six kinds of pictures, two of them of each caption: a model that knows them finds both."""
    asked = small_recipe(
        tmp_path / "run",
        data={"source": str(pairs), "batch_size": 34, "limit": 0},
        train={"steps": 60, "validations": 3, "augment": False},
        optim={"lr": 2e-3},
    )
    rows = {row["metric"]: row["value"] for row in train(asked, progress=False).rows}
    assert max(v for name, v in rows.items() if name.startswith("recall@5")) > 0.8, rows


def test_recall_of_pairs_by_hand():
    model = build("vit").model.eval()
    captions = ["one thing", "another", "one thing", "a third"]
    with torch.no_grad():
        texts = model.encode_text(model.tokenize(captions))
    whole = recall_pairs(model, texts, captions)
    assert whole.hits.tolist() == [1, 1, 1, 1]
    logits = (model.scale() * texts @ texts[[0, 1, 3]].T).detach()
    chance = logits.softmax(dim=1)[range(4), [0, 1, 0, 2]].mean()
    assert whole.chance == pytest.approx(float(chance), rel=1e-5)
    turned = texts[[1, 0, 2, 3]]
    # "one thing" is found by picture 2 alone; it finds pictures 1 and 2, a tie that counts half
    found = recall_pairs(model, turned, captions).hits
    assert found.tolist() == pytest.approx([0.25, 0.0, 0.75, 1.0])
    nothing = recall_pairs(model, texts * float("nan"), captions)
    assert nothing.hits.tolist() == [0, 0, 0, 0]


def test_a_model_of_pairs_has_no_labels_of_its_own(pairs, tmp_path):
    run = train(small_recipe(tmp_path / "run", data={"source": str(pairs)}), progress=False).folder
    assert load_model(run).context_length == 48
    result = CliRunner().invoke(app, ["predict", str(pairs / "0.png"), "--model", str(run)])
    assert result.exit_code == 2
    assert "labels" in result.stderr


def test_a_tuned_run_of_pairs_goes_on(pairs, tmp_path):
    """One head serves both texts, whatever the base had been given; the base is known again."""
    first = train(small_recipe(tmp_path / "first"), progress=False).folder
    model = {"name": str(first), "image_size": 0}
    data, steps = {"source": str(pairs)}, {"steps": 4, "validations": 2}
    start = load_model(first)
    assert not start.has_twin() and "captions" in start.heads
    kept = train(small_recipe(tmp_path / "kept", data=data, model=model, train=steps))
    assert list(load_model(kept.folder).heads) == ["names", "captions"]
    only = train(
        small_recipe(tmp_path / "names", model={"heads": ["names"]}, train={"steps": 2}),
        progress=False,
    ).folder
    asked = small_recipe(
        tmp_path / "run", data=data, model={**model, "name": str(only)}, train=steps
    )
    done = train(asked, progress=False).folder
    assert list(load_model(done).heads) == ["names"]
    (done / "metrics.json").unlink()
    assert (
        resume(done, progress=False).rows
        == train(asked.model_copy(update={"out": str(tmp_path / "again")}), progress=False).rows
    )


def test_pairs_that_cannot_choose_are_refused(pairs, tmp_path):
    rows = list(csv.DictReader((pairs / "metadata.csv").read_text().splitlines()))
    source = tmp_path / "some.csv"
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "label"])
        writer.writeheader()
        for row in rows:
            said = "" if row["split"] == "val" else row["caption"]
            place = str(pairs / row["file_name"])
            writer.writerow({**row, "file_name": place, "caption": said, "label": "half"})
    asked = small_recipe(tmp_path / "run", data={"source": str(source)})
    with pytest.raises(DataError, match="fewer than two validation pictures have a caption"):
        train(asked, progress=False)


def test_labelled_pictures_may_be_chosen_by_their_captions(tmp_path):
    length = {"choose_by": "captions", "steps": 2, "validations": 1}
    done = train(small_recipe(tmp_path / "run", train=length), progress=False).folder
    found = [line for line in read_history(done / "metrics.jsonl") if "val_recall1" in line]
    assert len(found) == 1 and "val_top1" not in found[0]
    assert any(row["metric"] == "top1" for row in read_metrics(done)["rows"])
    folder = tmp_path / "photos"
    for i in range(24):
        place = folder / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 10 * i, np.uint8)).save(place)
    with pytest.raises(DataError, match=r"train\.choose_by is captions.*") as refused:
        train(small_recipe(tmp_path / "no", data={"source": str(folder)}, train=length))
    assert "--train.choose_by names" in refused.value.hint


def test_captions_are_not_written_for_pictures_without_labels(pairs, tmp_path):
    asked = ["caption", "--domain", "biology", "--data", str(pairs), "--out", str(tmp_path / "c")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 1 and "no picture has a label" in result.stderr
    looked = CliRunner().invoke(app, ["data", "inspect", str(pairs), "--domain", "biology"])
    assert looked.exit_code == 1 and "picture,23,12,11,46" in looked.stdout  # two are left out


@pytest.mark.parametrize("same", [True, False])
def test_a_twin_is_what_starts_alike(same):
    model = build("resnet").model
    assert model.has_twin()
    if not same:
        model.log_scales["captions"].data += 0.5
        assert not model.has_twin()
    model.drop_captions()
    assert list(model.heads) == list(model.log_scales) == ["names"] and not model.has_twin()


def test_a_head_on_a_tower_without_projection_is_no_twin_once_trained():
    model = build("resnet").model
    model.heads["names"] = torch.nn.Identity()
    model.heads["captions"] = torch.nn.Linear(16, 16, bias=False)
    assert not model.has_twin()
    torch.nn.init.eye_(model.heads["captions"].weight)
    assert model.has_twin()
