"""Columns by name, splits as given or made."""

import data_fakes as fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.data.columns import guess_columns
from domainclip.data.splits import make_splits, read_splits, split_name, torn_groups
from domainclip.errors import DataError, UsageError

LINNAEAN = ("kingdom", "class", "family", "species")


def guess(names, given=None, **changes):
    return guess_columns(names, fakes.make_domain(**{"ranks": LINNAEAN, **changes}), given)


def test_every_part_is_found_by_its_usual_name():
    names = ["file_name", "label", "split", "Species", "commonName", "captions", "caption"]
    found = guess([*names, "group", "license", "id", "camera"])
    assert found.parts == {
        "image": "file_name",
        "id": "id",
        "split": "split",
        "group": "group",
        "licence": "license",
        "captions": "captions",
        "caption": "caption",
        "common": "commonName",
        "label": "label",
    }
    assert found.ranks == {"species": "Species"}
    assert found.unused == ("camera",)
    assert "species <- Species" in found.lines()
    assert "not used: camera" in found.lines()


def test_ranks_come_coarsest_first():
    assert list(guess(["species", "kingdom", "class", "path"]).ranks) == [
        "kingdom",
        "class",
        "species",
    ]


def test_a_lone_column_called_class_is_the_label():
    assert guess(["path", "class"]).parts["label"] == "class"
    both = guess(["path", "class", "family"])
    assert both.ranks == {"class": "class", "family": "family"}
    assert "label" not in both.parts


def test_a_rank_that_is_called_like_a_part_does_not_take_its_column():
    found = guess(["path", "group", "label"], ranks=("lineage", "group", "type"))
    assert found.parts["group"] == "group"
    assert found.ranks == {}


def test_a_domain_adds_names_after_our_own():
    added = {"label": ("diagnosis",), "group": ("patient",), "species": ("binomial",)}
    found = guess(["path", "diagnosis", "patient", "binomial"], columns=added)
    assert (found.parts["label"], found.parts["group"]) == ("diagnosis", "patient")
    assert found.ranks == {"species": "binomial"}
    assert guess(["path", "diagnosis", "label"], columns=added).parts["label"] == "label"


def test_what_is_given_wins():
    found = guess(["path", "label", "disease", "x"], {"label": "disease", "family": "x"})
    assert found.parts["label"] == "disease"
    assert found.ranks == {"family": "x"}
    assert "label" in found.unused


def test_unknown_columns_and_parts_are_refused_with_a_suggestion():
    with pytest.raises(UsageError, match=r"'diseaze'.*does not have") as caught:
        guess(["path", "disease"], {"label": "diseaze"})
    assert caught.value.hint == "did you mean 'disease'?"
    with pytest.raises(UsageError, match="no part 'lable'") as caught:
        guess(["path", "disease"], {"lable": "disease"})
    assert caught.value.hint == "did you mean 'label'?"


@pytest.mark.parametrize(
    ("said", "name"),
    [("Training", "train"), ("valid", "val"), ("dev", "val"), ("test-unseen", "test_unseen")],
)
def test_split_names_in_the_wild(said, name):
    assert split_name(said) == name


def test_given_splits_are_read():
    assert read_splits(["train", "VALIDATION", "test", ""]) == (
        ["train", "val", "test", "train"],
        ["1 rows name no split and are trained on"],
    )
    with pytest.raises(DataError, match="'trian'") as caught:
        read_splits(["trian", "test"])
    assert caught.value.hint == "did you mean 'train'?"


def make(given, labels, groups=None, val=0.1, test=0.2, seed=0):
    groups = groups or [""] * len(labels)
    return make_splits(given, labels, groups, val_share=val, test_share=test, seed=seed)


def test_each_label_keeps_its_share():
    labels = ["a"] * 50 + ["b"] * 100
    splits, messages = make(None, labels)
    for label, n in (("a", 50), ("b", 100)):
        mine = [s for s, name in zip(splits, labels, strict=True) if name == label]
        assert mine.count("test") == n * 0.2
        assert mine.count("val") == n * 0.08  # a tenth of what is left
    assert messages == [
        "test: 30 of 150 pictures held out, the same share of each label",
        "val: 12 of 120 pictures held out, the same share of each label",
    ]
    assert make(None, labels)[0] == splits
    assert make(None, labels, seed=1)[0] != splits


def test_rare_labels_stay_in_training_first():
    splits, _ = make(None, ["one", "two", "two", "three", "three", "three"])
    assert splits[0] == "train"
    assert sorted(splits[1:3]) == ["test", "train"]
    assert sorted(splits[3:]) == ["test", "train", "val"]


def test_only_what_is_missing_is_made():
    given = ["train"] * 40 + ["test"] * 10
    splits, messages = make(given, ["a", "b"] * 25)
    assert splits[40:] == ["test"] * 10
    assert splits[:40].count("val") == 4
    assert len(messages) == 1
    whole = ["train", "val", "test"]
    assert make(whole, ["a", "a", "a"]) == (whole, [])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), min_size=12, max_size=60),
    st.integers(0, 3),
)
def test_a_group_is_never_torn(rows, seed):
    labels = [label for label, _ in rows]
    groups = [f"g{number}" if number else "" for _, number in rows]
    if len(set(groups)) < 5:
        return
    splits, messages = make(None, labels, groups, seed=seed)
    assert torn_groups(splits, groups) == ""
    assert set(splits) == {"train", "val", "test"}
    assert all("whole groups" in message for message in messages)


def test_torn_groups_are_named():
    said = torn_groups(["train", "test", "val", "test"], ["p1", "p1", "p2", ""])
    assert said == "1 group is in two splits: 'p1' in test and train"
    many = torn_groups(["train"] * 8 + ["test"] * 8, [f"p{i}" for i in range(8)] * 2)
    assert many.startswith("8 groups are in two splits: ")
    assert many.endswith("and 3 more")


def test_one_group_cannot_be_split():
    with pytest.raises(DataError, match="all pictures are of one group, 'p'"):
        make(None, ["a", "b"], ["p", "p"])


def test_nothing_to_train_on():
    with pytest.raises(DataError, match="no picture is in the split train; there are test, val"):
        make(["test", "val"], ["a", "b"])
