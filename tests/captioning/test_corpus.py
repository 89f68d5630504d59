"""Checks over all captions: equal words on many pictures, the lowest scores, verdicts on disk."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from domainclip.captioning import scoring
from domainclip.captioning.checks import corpus
from domainclip.captioning.checks.context import Verdict
from domainclip.captioning.store import CaptionStore
from domainclip.data.captions import read_rejected
from domainclip.data.samples import open_samples
from domainclip.errors import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from data_fakes import make_domain

MADE = {"captioner": "fake", "domain": "fake"}


def write(folder, captions):
    with CaptionStore(folder, MADE) as store:
        for one, (caption, label) in captions.items():
            store.append({"sample_id": one, "caption": caption, "label": label})
        return store.folder


def test_equal_words_on_many_pictures_of_several_labels_are_flagged():
    captions = {
        str(i): (f"{'A' if i % 2 else 'The'} red lamp.", f"label {i % 2}") for i in range(6)
    }
    captions |= {"x": ("A red lamp stands.", "label 0")}
    assert corpus.find_duplicates(captions, many=6).keys() == {str(i) for i in range(6)}
    assert corpus.find_duplicates(captions, many=7) == {}
    one_label = {one: (text, "label") for one, (text, _) in captions.items()}
    assert corpus.find_duplicates(one_label, many=2) == {}


def test_the_lowest_scores_are_rejected():
    scores = {str(i): i / 100 for i in range(100)}
    found = corpus.reject_lowest(scores, 0.05)
    assert found.keys() == {"0", "1", "2", "3", "4"}
    assert {v.outcome for v in found.values()} == {"reject"}
    assert corpus.reject_lowest(scores, 0) == corpus.reject_lowest({}, 0.5) == {}
    assert corpus.reject_lowest(dict.fromkeys(scores, 1.0), 0.5) == {}
    (flag,) = corpus.reject_lowest({"a": 0.0, "b": 1.0}, 0.5, "flag").values()
    assert flag.outcome == "flag"


class Model:
    """Scores by a table; its pictures and texts meet in unit vectors of two numbers."""

    preprocess = type("P", (), {"shortest": 32})


def test_a_generation_is_checked_and_its_verdicts_lie_beside_it(tmp_path, monkeypatch):
    samples = open_samples(make_domain(), splits=["train"], limit=8, size=32)
    folder = write(
        tmp_path, {one: ("a red lamp", f"l{i % 2}") for i, one in enumerate(samples.ids)}
    )
    seen = []

    def pictures(model, images):
        seen.append(len(images))
        return torch.eye(2)[[0] * len(images)]

    def texts(model, said):
        angles = torch.linspace(0, 1, len(said))
        return torch.stack([angles.cos(), angles.sin()], 1)

    monkeypatch.setattr(scoring, "picture_features", pictures)
    monkeypatch.setattr(scoring, "text_features", texts)
    found = corpus.check_corpus(tmp_path, samples=samples, model=Model(), quantile=0.2)
    table = pq.read_table(folder / "verdicts.parquet")
    assert (
        tuple(table.column_names) == corpus.COLUMNS == ("sample_id", "outcome", "check", "reason")
    )
    rejected = [r["sample_id"] for r in table.to_pylist() if r["outcome"] == "reject"]
    assert rejected == sorted(samples.ids[-2:])
    assert sum(r["check"] == "duplicate" for r in table.to_pylist()) == len(samples.ids) == 8
    assert found.keys() == set(samples.ids) and seen == [8]
    corpus.check_corpus(tmp_path)  # a run without the model rejects them still
    assert read_rejected(folder) == {*rejected}
    corpus.check_corpus(tmp_path, keep_scores=False)
    assert read_rejected(folder) == set()


def test_verdicts_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = corpus.write_verdicts(tmp_path, {"a": [Verdict("score", "reject", "low")]})
    before = path.read_bytes()

    def fail(*args, **rest):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(DataError, match="No space left"):
        corpus.write_verdicts(tmp_path, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["verdicts.parquet"]


def test_the_newest_caption_counts(tmp_path):
    with CaptionStore(tmp_path, MADE) as store:
        store.append({"sample_id": "a", "caption": "old", "label": "l"})
        store.append({"sample_id": "a", "caption": "new", "label": "l"})
        store.append({"sample_id": "b", "caption": "", "label": "l"})
    assert corpus.newest_captions(store.folder) == {"a": ("new", "l")}


def test_without_captions_there_is_nothing_to_check(tmp_path):
    with pytest.raises(DataError, match="no captions"):
        corpus.check_corpus(tmp_path)
