"""Built-in pictures: balanced, seeded, drawn once."""

import cv2
import data_fakes as fakes
import numpy as np
import pytest

from domainclip.data.builtin import SPLITS, load_builtin, plug_digest, sample_builtin
from domainclip.data.datamodule import open_data
from domainclip.domains.registry import get_domain, list_domains
from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe


def test_a_sample_depends_on_its_arguments_alone():
    domain = fakes.make_domain()
    one = sample_builtin(domain, "train", 4, size=16, seed=7)
    same = sample_builtin(domain, "train", 4, size=16, seed=7)
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.id, one.traits, one.captions) == (same.id, same.traits, same.captions)
    assert one.id == "train/000004"
    assert one.label == fakes.sheets()[1].label
    others = [
        sample_builtin(domain, "train", 4, size=16, seed=8),
        sample_builtin(domain, "train", 7, size=16, seed=7),
        sample_builtin(domain, "val", 4, size=16, seed=7),
    ]
    for other in others:
        assert other.label == one.label
        assert not np.array_equal(other.image, one.image)


def test_what_is_said_of_a_picture_does_not_depend_on_its_size():
    domain = fakes.make_domain()
    for index in range(20):
        small = sample_builtin(domain, "test", index, size=8, seed=0)
        large = sample_builtin(domain, "test", index, size=40, seed=0)
        assert small.captions == large.captions
        assert small.traits == large.traits


def test_splits_draw_from_their_labels_evenly():
    domain = fakes.make_domain()
    drawn = {split: load_builtin(domain, split, size=8, seed=0) for split in SPLITS}
    assert {s: len(d) for s, d in drawn.items()} == dict(domain.builtin.sizes)
    counts = {label: drawn["train"].labels.count(label) for label in drawn["train"].labels}
    assert counts == {sheet.label: 10 for sheet in fakes.sheets() if sheet.seen}
    assert set(drawn["test_unseen"].labels) == {fakes.sheets()[3].label}
    assert {t["side"] for t in drawn["train"].traits} == {"left", "right"}


def test_drawn_in_processes_and_alone_is_the_same():
    domain = fakes.make_domain()
    drawn = load_builtin(domain, "train", size=12, seed=3, count=300)
    for index in (0, 1, 150, 299):
        sample = sample_builtin(domain, "train", index, size=12, seed=3)
        np.testing.assert_array_equal(drawn.pictures.pixels[index], sample.image)
        assert drawn.captions[index] == sample.captions
        assert drawn.traits[index] == sample.traits
        assert drawn.ids[index] == sample.id


def test_drawn_once(monkeypatch):
    domain = fakes.make_domain()
    load_builtin(domain, "val", size=8, seed=0)
    calls = []
    monkeypatch.setattr("domainclip.data.builtin._sample", lambda *a: calls.append(a))
    again = load_builtin(domain, "val", size=8, seed=0)
    assert not calls
    assert len(again) == 6


@pytest.mark.parametrize("change", [{"size": 9}, {"seed": 1}, {"count": 3}, {"shifted": True}])
def test_other_settings_are_another_cache(change):
    domain = fakes.make_domain()
    settings = {"size": 8, "seed": 0, "count": 6}
    one = load_builtin(domain, "val", **settings)
    assert (
        load_builtin(domain, "val", **{**settings, **change}).pictures.folder != one.pictures.folder
    )


def test_the_digest_of_a_plug_follows_its_code_and_data(tmp_path, monkeypatch):
    plug = tmp_path / "digested_plug"
    (plug / "data").mkdir(parents=True)
    (plug / "__init__.py").write_text("")
    (plug / "drawing.py").write_text("def draw(traits, rng, size): ...\n")
    (plug / "data" / "traits.csv").write_text("a,b\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from digested_plug.drawing import draw

    builtin = fakes.make_domain().builtin
    object.__setattr__(builtin, "draw", draw)
    first = plug_digest(builtin)
    assert plug_digest(builtin) == first
    (plug / "data" / "traits.csv").write_text("a,c\n")
    second = plug_digest(builtin)
    assert second != first
    (plug / "__init__.py").write_text("# changed\n")
    assert plug_digest(builtin) != second


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match="no split 'tets'") as caught:
        load_builtin(fakes.make_domain(), "tets", size=8, seed=0)
    assert caught.value.hint == "did you mean 'test'?"


@pytest.mark.parametrize("split", SPLITS)
def test_a_shifted_picture_shows_the_same_in_another_light(split):
    domain = fakes.make_domain()
    both = [sample_builtin(domain, split, 3, size=32, seed=1, shifted=s) for s in (False, True)]
    assert (both[0].traits, both[0].captions) == (both[1].traits, both[1].captions)
    assert both[1].image.shape == (32, 32, 3) and both[1].image.dtype == np.uint8
    again = sample_builtin(domain, split, 3, size=32, seed=1, shifted=True)
    np.testing.assert_array_equal(again.image, both[1].image)
    difference = np.abs(both[0].image.astype(int) - both[1].image).mean()
    assert 5 < difference < 120
    loaded = load_builtin(domain, split, size=32, seed=1, shifted=True)
    np.testing.assert_array_equal(loaded.pictures.pixels[3], both[1].image)


@pytest.mark.parametrize("name", [one.name for one in list_domains()])
def test_the_shift_leaves_what_a_picture_shows(name):
    """Layouts still correlate, once blurred: shifted pictures stay sortable by a person."""
    domain = get_domain(name)
    found = []
    for index in range(12):
        pair = [
            sample_builtin(domain, "test", index, size=48, seed=0, shifted=s).image
            for s in (False, True)
        ]
        grey = [cv2.GaussianBlur(one.mean(axis=2), (0, 0), 3)[8:-8, 8:-8] for one in pair]
        found.append(np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1])
    assert 0.25 < np.median(found) < 0.95


def test_only_built_in_pictures_are_shifted():
    recipe = Recipe(domain="fake", data={"source": "somewhere", "builtin": "shifted"})
    with pytest.raises(UsageError, match="shifted is for built-in pictures"):
        open_data(recipe, fakes.make_domain(), 16)
    recipe = Recipe(domain="fake", data={"builtin": "shifted", "workers": 0})
    shifted, plain = (
        open_data(one, fakes.make_domain(), 16) for one in (recipe, Recipe(domain="fake"))
    )
    assert [key for key in plain.parts if plain.parts[key] != shifted.parts[key]] == ["pictures"]
    for split in SPLITS:
        assert (shifted.splits[split].read([0]) != plain.splits[split].read([0])).any()
