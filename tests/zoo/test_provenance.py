"""The chain of a model: what is written when it is trained, and how it is walked."""

import json

import pytest
from run_folders import card_of, make_run

from domainclip.cli.app import app
from domainclip.errors import DataError, UsageError
from domainclip.zoo.provenance import note_base, recipe_differences, walk


def test_a_run_from_nothing_has_two_steps(tmp_path):
    run, start = walk(make_run(tmp_path / "first"))
    assert (run.name, run.kind, run.data) == ("first", "run", ("built-in pictures",))
    assert run.fingerprint == "feed" * 5 and run.commit.startswith("c0ffee")
    assert run.pictures == {"train": 40, "test": 64} and run.data_licences == {"MIT": 40}
    assert run.recipe == {"model.name": "tiny", "train.epochs": 20}
    assert run.device == "Some Processor"
    assert (start.kind, start.say()) == ("nothing", "tiny, weights drawn at random (seed 0)")
    json.dumps([step.as_dict() for step in (run, start)])


def test_the_chain_travels_with_the_folder(tmp_path, monkeypatch, home):
    """Run on run on a pulled model; then the models below are gone from this disk."""
    pulled = home / "zoo" / "general" / "them"
    make_run(tmp_path / "x")
    (tmp_path / "x" / "model").rename(pulled.parent.mkdir(parents=True) or pulled)
    (pulled / "domainclip.json").write_text("{}")
    source = {"repo": "them/model", "repo_type": "model", "revision": "a" * 40,
              "sha256": {"model.safetensors": "b" * 64}}  # fmt: skip
    record = {"name": "general/them", "licence": "CC-BY-NC-4.0", "source": source}
    (pulled / "zoo.json").write_text(json.dumps(record))
    first = make_run(tmp_path / "first", base="general/them", base_note=note_base("general/them"))
    second = make_run(
        tmp_path / "second", own=True, base=str(first), base_note=note_base(str(first))
    )
    first.rename(tmp_path / "elsewhere")
    (pulled / "zoo.json").unlink()
    steps = walk(second)
    assert [step.kind for step in steps] == ["run", "run", "zoo"]
    assert steps[0].recipe["seed"] == 3 and steps[1].schematic and not steps[0].schematic
    last = steps[2]
    assert (last.name, last.source, last.revision) == ("general/them", "them/model", "a" * 40)
    assert last.checksums == {"model.safetensors": "b" * 64}
    assert last.terms().commercial == "no"
    assert "them/model@aaaaaaaaaaaa" in last.say() and "CC-BY-NC-4.0" in last.say()


def test_runs_of_before_name_their_base_and_it_is_looked_for(tmp_path):
    first = make_run(tmp_path / "first")
    old = make_run(tmp_path / "old", base=str(first), data_licences=["MIT"])
    card = card_of(old)
    del card["provenance"]["base_note"]
    (old / "model" / "domainclip.json").write_text(json.dumps(card))
    assert [step.kind for step in walk(old)] == ["run", "run", "nothing"]
    assert walk(old)[0].data_licences == {"MIT": 0}


def test_a_base_from_elsewhere_is_told_as_far_as_it_is_known(tmp_path):
    tagged = make_run(tmp_path / "a", base="ViT-B-32/openai", base_note=None)
    assert [step.kind for step in walk(tagged)] == ["run", "pretrained"]
    assert "licence not known" in walk(tagged)[1].say()
    assert note_base("hf-hub:them/unheard@main")["zoo"]["repo"] == "them/unheard"


def test_what_a_recipe_changes():
    recipe = {"seed": 4, "out": "/x", "device": "cuda", "optim": {"lr": 0.1, "weight_decay": 0.1},
              "about": {"title": "T"}, "data": {"columns": {"label": "y"}}}  # fmt: skip
    assert recipe_differences(recipe) == {
        "seed": 4, "optim.lr": 0.1, "data.columns": {"label": "y"},
    }  # fmt: skip


def test_what_cannot_be_walked(tmp_path):
    with pytest.raises(UsageError, match="no model in"):
        walk(tmp_path)
    run = make_run(tmp_path / "run")
    (run / "model" / "domainclip.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        walk(run)


@pytest.mark.slow
def test_training_writes_what_the_chain_needs(tmp_path, monkeypatch):
    """Two real runs: the second starts from the first, on pictures of which some say a licence."""
    from click.testing import CliRunner
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    short = ("--tiny", "--device", "cpu", "--train.precision", "float32", "--train.steps", "1")
    rows = ["file,label,license,split"]
    for i in range(24):
        Image.new("RGB", (40, 40), (10 * i, 255 - 10 * i, 99)).save(tmp_path / f"{i}.png")
        split = ("train", "train", "val", "test")[i // 2 % 4]
        rows.append(f"{i}.png,{'ab'[i % 2]},{'CC-BY-4.0' if i < 12 else ''},{split}")
    (tmp_path / "own.csv").write_text("\n".join(rows))

    def train(*args):
        return CliRunner().invoke(app, ["train", "--domain", "medical", *short, *args])

    result = train("--model.name", "tiny", "--out", "first")
    assert result.exit_code == 0, result.output
    result = train("--model.name", "first", "--data", "own.csv", "--out", "second")
    assert result.exit_code == 0, result.output
    card = card_of(tmp_path / "second")
    assert card["data_licences"] == {"": 4, "CC-BY-4.0": 8}
    own, first, start = walk("second")
    assert (own.data, first.data, start.kind) == (("own.csv",), ("built-in pictures",), "nothing")
    assert own.pictures == {"train": 12, "val": 6, "test": 6} and own.hub_data == ()
    assert first.data_licences == {"MIT": first.pictures["train"]}
    assert own.precision == "float32" and own.made and own.domainclip
