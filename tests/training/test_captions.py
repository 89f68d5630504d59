"""Runs with stored captions: what is drawn, what is cut, what is written down."""

import json

import pytest
import yaml

from domainclip.captioning.store import CaptionStore
from domainclip.data.datamodule import open_data
from domainclip.data.sampling import StepSampler
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError
from domainclip.model.folder import read_card
from domainclip.recipe.load import load_recipe
from domainclip.training.run import read_metrics, resume, train
from domainclip.training.stop import StopOnSignal

LONG = "long pointed wings with narrow stripes, two tails"


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    with CaptionStore(folder, {"captioner": "bank"}) as store:
        for i in range(48):
            for split in ("train", "test"):
                text = LONG if i % 2 else "one short caption"
                store.append({"sample_id": f"{split}/{i:06d}", "caption": text})
    return folder


def recipe(out, captions="[]", **flags):
    flags = {
        "out": str(out), "device": "cpu", "data.limit": "48", "data.batch-size": "16",
        "data.workers": "0", "model.image_size": "32", "model.context_length": "10",
        "train.steps": "4", "train.validations": "2", "train.precision": "float32",
        "evaluate.bootstrap": "20", "data.captions": str(captions),
        **{k.replace("__", "."): str(v) for k, v in flags.items()},
    }  # fmt: skip
    return load_recipe("biology", None, flags, {}).recipe


@pytest.fixture(scope="module")
def run(captions, tmp_path_factory):
    """Half of the pictures say one long caption, and nothing else is ever drawn."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(recipe(out, captions, text__captions=1, text__originals=0))


def test_cut_texts_are_counted_exactly_and_said(run, captions, capsys):
    texts = read_metrics(run.folder)["texts"]
    odd = sum(int((StepSampler(48, 16, 0, 4).batch(step) % 2).sum()) for step in range(4))
    assert texts["drawn"] == {"texts": 64, "cut": odd} and 16 < odd < 48
    assert texts["context_length"] == 10
    said = f"{odd} of 64 drawn texts were cut at 10 tokens"
    assert said in (run.folder / "report.html").read_text()
    # names, descriptions and reference captions of the tests
    tested = texts["tested"]
    assert 0 < tested["cut"] < tested["texts"]


def test_parts_fit_where_wholes_do_not(captions, tmp_path, capsys):
    whole = {"text__captions": 1, "text__originals": 0}
    done = train(recipe(tmp_path / "run", captions, text__parts=1, **whole, train__steps=2))
    assert read_metrics(done.folder)["texts"]["drawn"] == {"texts": 32, "cut": 0}
    said = capsys.readouterr().err
    assert "48 of 48 training pictures have a stored caption" in said
    assert "drawn texts were cut" not in said and "texts of the tests were cut at 10" in said


def test_the_generation_is_written_down_everywhere(run, captions):
    (generation,) = [p.name for p in captions.iterdir()]
    name = f"{captions}@{generation}"
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["data"]["captions"] == [name]
    assert read_card(run.folder)["provenance"]["captions"] == [name]
    begun = json.loads((run.folder / "environment.json").read_text())["data_fingerprint"]
    domain = get_domain("biology")
    again = open_data(recipe("x", name, train__steps=9), domain, 32)
    assert again.fingerprint == begun != open_data(recipe("x"), domain, 32).fingerprint


def test_a_stopped_run_counts_on_and_refuses_other_captions(run, captions, tmp_path, monkeypatch):
    ask = StopOnSignal.on_train_batch_end

    def stop_early(self, trainer, *rest):
        if trainer.global_step == 3 and not self.stopped:
            self._stop(2, None)
        ask(self, trainer, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(StopOnSignal, "on_train_batch_end", stop_early)
        options = {"text__captions": 1, "text__originals": 0}
        stopped = train(recipe(tmp_path / "run", captions, **options), progress=False)
    assert read_metrics(stopped.folder)["texts"]["drawn"]["texts"] == 48
    with CaptionStore(captions, {"captioner": "newer"}) as store:
        store.append({"sample_id": "train/000000", "caption": "of a newer generation"})
    done = resume(stopped.folder, progress=False)
    assert read_metrics(done.folder)["texts"] == read_metrics(run.folder)["texts"]
    with CaptionStore(captions, {"captioner": "bank"}) as store:
        store.append({"sample_id": "train/000000", "caption": "written later"})
    with pytest.raises(DataError, match="the data has changed"):
        resume(stopped.folder, progress=False)


def test_recall_both_ways_is_in_the_table_and_on_the_page(run):
    rows = [r for r in read_metrics(run.folder)["rows"] if r["metric"].startswith("recall@")]
    assert {(r["split"], r["metric"]) for r in rows} == {
        (split, f"recall@{k} {way}")
        for split in ("test", "test_unseen")
        for k in (1, 5, 10)
        for way in ("image-to-text", "text-to-image")
    }
    for row in rows:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["n"] == 48
    page = (run.folder / "report.html").read_text()
    assert "<h2>Retrieval</h2>" in page and page.count("text-to-image") >= 2
