"""Samples one at a time: built-in ones and those of a table, with the user's own columns."""

import csv
from collections import Counter

import numpy as np
import pytest
from data_fakes import class_folders, make_domain, picture, write_csv

from domainclip.data.builtin import sample_builtin
from domainclip.data.images import UnreadableImage
from domainclip.data.samples import open_samples
from domainclip.errors import UsageError

DOMAIN = make_domain()


def test_built_in_samples_are_those_that_training_draws():
    samples = open_samples(DOMAIN, size=16, seed=3)
    assert Counter(samples.splits) == {"train": 30, "val": 6, "test": 9, "test_unseen": 4}
    at = samples.find("test/000004")
    drawn = sample_builtin(DOMAIN, "test", 4, size=16, seed=3)
    image, digest = samples.picture(at)
    assert np.array_equal(np.asarray(image), drawn.image)
    assert digest == samples.picture(at)[1] != samples.picture(at + 1)[1]
    known = samples.facts(at)
    assert (known.traits, known.captions, known.id) == (drawn.traits, drawn.captions, drawn.id)
    assert len(known.image) == 0
    assert samples.tree.key(int(samples.nodes[at])) == drawn.label


def test_splits_and_limit_of_built_in_samples():
    samples = open_samples(DOMAIN, splits=["test_unseen", "val"], limit=7)
    assert samples.ids == [*(f"val/{i:06d}" for i in range(6)), "test_unseen/000000"]
    with pytest.raises(UsageError, match=r"no split 'tset'.*it has train") as error:
        open_samples(DOMAIN, splits=["tset"])
    assert "did you mean 'test'" in error.value.hint


def test_a_larger_limit_takes_the_same_samples_and_more(tmp_path):
    class_folders(tmp_path, n=12)
    every = open_samples(DOMAIN, str(tmp_path))
    few, more = (open_samples(DOMAIN, str(tmp_path), limit=n) for n in (5, 9))
    assert set(few.ids) < set(more.ids) < set(every.ids)
    assert len(few) == 5 and len(every) == 24
    assert set(few.splits) == {"train"}


def test_the_columns_of_a_table_come_along(tmp_path):
    for i in range(6):
        picture(tmp_path / f"{i}.png", i)
    rows = [
        {
            "file_name": f"{i}.png",
            "label": "ab"[i % 2],
            "caption": "said",
            "note": f"n{i}" * (i > 0),
        }
        for i in range(6)
    ]
    write_csv(
        tmp_path / "metadata.csv",
        [{"file_name": "gone.png", **rows[0]} | {"file_name": "gone.png"}, *rows],
    )
    samples = open_samples(DOMAIN, str(tmp_path))
    assert [one for one, _ in samples.unreadable] == ["gone.png"]
    third = samples.facts(samples.find("3.png"))
    assert third.metadata == {"file_name": "3.png", "label": "b", "caption": "said", "note": "n3"}
    assert (third.label, third.captions) == (("b",), ("said",))
    assert "note" not in samples.facts(samples.find("0.png")).metadata
    assert samples.read(2).image == (tmp_path / samples.ids[2]).read_bytes()


def test_an_unreadable_picture_says_so_when_it_is_read(tmp_path):
    class_folders(tmp_path, n=4)
    (tmp_path / "ant/ant_0.png").write_bytes(b"no picture")
    samples = open_samples(DOMAIN, str(tmp_path))
    with pytest.raises(UnreadableImage, match="not a picture"):
        samples.picture(samples.find("ant/ant_0.png"))
    with pytest.raises(UsageError, match=r"no sample 'ant/ant_9\.png'"):
        samples.find("ant/ant_9.png")


def test_digits_and_empty_cells_of_a_jsonl_table(tmp_path):
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2)
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file_name", "label", "age"), ("a.png", "x", "7"), ("b.png", "y", " ")]
        )
    samples = open_samples(DOMAIN, str(tmp_path))
    ages = {samples.facts(i).id: samples.facts(i).metadata.get("age") for i in range(2)}
    assert ages == {"a.png": "7", "b.png": None}
