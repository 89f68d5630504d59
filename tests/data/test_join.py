"""Stored captions and the pictures of a run: joined by sample id, counted, pinned."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_fakes import class_folders, make_domain

from domainclip.captioning.store import CaptionStore
from domainclip.data.captions import list_generations
from domainclip.data.datamodule import PictureData, open_data
from domainclip.errors import DataError, UsageError
from domainclip.recipe.schema import Recipe


def opened(source="builtin", captions=(), **data) -> PictureData:
    given = {"source": str(source), "captions": [str(c) for c in captions], "workers": 0, **data}
    recipe = Recipe.model_validate({"domain": "fake", "data": given})
    return open_data(recipe, make_domain(), 16)


def store(folder, rows, style="a", data=None):
    """Write captions as `domainclip caption` does: {sample id: (caption, label)}."""
    with CaptionStore(folder, {"captioner": "bank", "style": style}, data=data) as kept:
        for one, (caption, label) in rows.items():
            kept.append({"sample_id": one, "caption": caption, "label": label, "outcome": "kept"})
        return kept.generation


def labels(data: PictureData) -> dict[str, str]:
    return {
        one: " > ".join(data.tree.path(node))
        for split in data.splits.values()
        for one, node in zip(split.ids, split.nodes.tolist(), strict=True)
    }


@pytest.fixture(scope="module")
def plain():
    return opened()


def test_built_in_pictures_are_joined_in_every_split_and_counted(plain, tmp_path):
    known = labels(plain)
    rows = {one: (f"says {one}", label) for one, label in known.items() if "0000" in one}
    rows |= {"train/999999": ("of nobody", ""), "train/000000": ("of another", "K > small > moss")}
    store(tmp_path, rows)
    data = opened(captions=[tmp_path])
    for name, split in data.splits.items():
        (source,) = data.stored[name]
        for one, captions in zip(split.ids, source, strict=True):
            joined = one in rows and one != "train/000000"
            assert captions == ((f"says {one}",) if joined else ())
    said = "\n".join(data.messages)
    assert "29 of 30 training pictures have a stored caption" in said
    assert "1 belong to no picture here, such as 'train/999999';" in said
    said = "\n".join(opened(captions=[tmp_path], limit=2).messages)
    assert "such as 'test/000002' (data.limit leaves pictures out)" in said
    assert "1 were written for another label and are left out" in said
    assert data.captions == plain.captions  # the data's own ones stay


def test_pictures_of_ones_own_are_joined_by_their_id(tmp_path):
    folder = class_folders(tmp_path / "pictures")
    known = labels(opened(folder))
    one = next(iter(known))
    assert one == "ant/ant_0.png"
    store(tmp_path / "captions", {i: (f"says {i}", label) for i, label in known.items()})
    data = opened(folder, [tmp_path / "captions"])
    for name, split in data.splits.items():
        assert data.stored[name] == [[(f"says {i}",) for i in split.ids]]
        assert data.reference_captions(name) == [f"says {i}" for i in split.ids]


def test_several_sources_stay_apart_and_own_captions_are_the_reference(plain, tmp_path):
    known = labels(plain)
    first, second = (one for one in list(known)[:2])
    store(tmp_path / "a", {first: ("a1", ""), second: ("a2", "")})
    store(tmp_path / "b", {first: ("b1", "")})
    data = opened(captions=[tmp_path / "a", tmp_path / "b"])
    assert [source[:2] for source in data.stored["train"]] == [[("a1",), ("a2",)], [("b1",), ()]]
    assert data.reference_captions("train")[0] == plain.captions["train"][0][0]


def test_the_generation_is_named_and_changes_the_fingerprint(plain, tmp_path):
    one = next(iter(labels(plain)))
    old = store(tmp_path, {one: ("old words", "")}, "a")
    before = opened(captions=[tmp_path])
    new = store(tmp_path, {one: ("new words", "")}, "b")
    assert {g.name for g in list_generations(tmp_path)} == {old, new}
    again = opened(captions=before.caption_sources)
    assert before.caption_sources == (f"{tmp_path}@{old}",)
    assert again.fingerprint == before.fingerprint != plain.fingerprint
    other = opened(captions=[f"{tmp_path}@{new}"])
    assert other.stored["train"][0][0] == ("new words",)
    assert other.fingerprint != before.fingerprint
    store(tmp_path, {next(reversed(labels(plain))): ("more", "")}, "a")
    assert opened(captions=before.caption_sources).fingerprint != before.fingerprint


def test_a_table_of_ones_own_with_the_two_columns_will_do(plain, tmp_path):
    file = tmp_path / "mine.parquet"
    one = next(iter(labels(plain)))
    pq.write_table(pa.table({"sample_id": [one], "caption": ["mine"]}), file)
    data = opened(captions=[file])
    assert data.stored["train"][0][0] == ("mine",) and data.caption_sources == (str(file),)


def test_captions_of_other_pictures_are_refused_with_a_way_on(tmp_path):
    store(tmp_path, {"elsewhere/1": ("x", ""), "elsewhere/2": ("y", "")})
    with pytest.raises(DataError, match=r"0 of 49 pictures have one; 2 belong to no") as caught:
        opened(captions=[tmp_path])
    assert "sample id" in caught.value.hint


def test_a_folder_without_captions_and_an_unknown_generation_are_refused(plain, tmp_path):
    with pytest.raises(DataError, match="no captions in"):
        opened(captions=[tmp_path / "nowhere"])
    store(tmp_path, {next(iter(labels(plain))): ("x", "")})
    with pytest.raises(UsageError, match="no generation 'bnak'"):
        opened(captions=[f"{tmp_path}@bnak"])


def test_a_corrupt_part_costs_its_own_captions_only(plain, tmp_path):
    one, two = list(labels(plain))[:2]
    name = store(tmp_path, {one: ("x", "")})
    (tmp_path / name / "part-1-of-1-000009.parquet").write_bytes(b"PAR1 torn")
    journal = tmp_path / name / "journal-1-of-1.jsonl"
    with journal.open("a") as file:
        file.write(json.dumps({"sample_id": two, "caption": "y"}) + "\n")
    data = opened(captions=[tmp_path])
    assert data.stored["train"][0][:2] == [("x",), ("y",)]
    assert any("corrupt" in message for message in data.messages)


def test_captions_of_another_seed_are_of_other_built_in_pictures(plain, tmp_path):
    rows = {next(iter(labels(plain))): ("x", "")}
    store(tmp_path, rows, data={"source": "builtin", "seed": 7})
    with pytest.raises(DataError, match="of seed 7, not of seed 0") as caught:
        opened(captions=[tmp_path])
    assert "--seed 0" in caught.value.hint
    store(tmp_path, rows, data={"source": "builtin", "seed": 0})  # the same wording, both seeds
    assert opened(captions=[tmp_path]).stored["train"][0][0] == ("x",)
