"""The remote sensing plug: fair sheets, pictures true to their traits, words without names."""

import itertools
import pickle
import re
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from domainclip.domains.remote_sensing import DOMAIN
from domainclip.domains.remote_sensing.captions import PARTS
from domainclip.domains.remote_sensing.drawing import buildings, objects
from domainclip.domains.remote_sensing.drawing.ground import COVERS, TEXTURES
from domainclip.domains.remote_sensing.drawing.tile import _LAYERS
from domainclip.domains.remote_sensing.prompts import clean_name

BUILTIN = DOMAIN.builtin
SHEETS = BUILTIN.sheets()
SEEN = [sheet for sheet in SHEETS if sheet.seen]
UNSEEN = [sheet for sheet in SHEETS if not sheet.seen]
FORMS = ("texture", "water", "roads", "buildings", "plants", "objects")
PLAIN = {"season": "green", "air": "clear", "sun": "high", "sky": "open", "direction": "aligned"}


def individual(sheet, seed):
    rng = np.random.default_rng(seed)
    return {**sheet.traits, **BUILTIN.individual(sheet, rng)}, rng


def picture(sheet, seed, size):
    traits, rng = individual(sheet, seed)
    return BUILTIN.draw(traits, rng, size)


def test_eighteen_seen_and_six_unseen_scenes_of_three_levels():
    tree = DOMAIN.labels()
    assert (len(SEEN), len(UNSEEN)) == (18, 6)
    assert tree.ranks == DOMAIN.ranks == ("cover", "kind", "scene")
    keys = {tree.key(int(node)) for node in tree.leaves}
    assert keys == {sheet.label for sheet in SHEETS}
    assert len({sheet.label[0] for sheet in SEEN}) >= 2
    assert BUILTIN.sizes["test"] >= 2000


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("AnnualCrop", "annual crop"),
        ("HerbaceousVegetation", "shrubland"),
        ("Highway", "motorway"),
        ("PermanentCrop", "orchard"),
        ("Residential", "dense residential"),
        ("SeaLake", "lake"),
        ("Port", "harbour"),
        ("Farmland", "annual crop"),
    ],
)
def test_class_names_of_known_data_sets_mean_one_scene(name, scene):
    tree = DOMAIN.labels()
    assert [tree.name(node) for node in tree.find(name)] == [scene]


def test_every_pair_of_sheets_differs_in_two_forms_beside_the_tone():
    for one, other in itertools.combinations(SHEETS, 2):
        differing = [trait for trait in FORMS if one.traits[trait] != other.traits[trait]]
        assert len(differing) >= 2, (one.label, other.label, differing)


def test_unseen_sheets_are_made_of_values_that_two_seen_ones_have():
    counts = Counter(item for sheet in SEEN for item in sheet.traits.items())
    for sheet in UNSEEN:
        rare = [item for item in sheet.traits.items() if counts[item] < 2]
        assert not rare, (sheet.label, rare)


def test_every_value_of_a_sheet_can_be_drawn_and_said():
    for sheet in SHEETS:
        assert sheet.traits["ground"] in COVERS
        assert sheet.traits["texture"] in TEXTURES
        for trait, painters in _LAYERS:
            assert sheet.traits[trait] in painters
            assert sheet.traits[trait] == "none" or sheet.traits[trait] in PARTS[trait]


@pytest.mark.parametrize("size", [33, 64, 72])
def test_pictures_have_the_size_asked_for_and_follow_the_generator(size):
    for sheet in SHEETS:
        first, again = picture(sheet, 7, size), picture(sheet, 7, size)
        assert first.shape == (size, size, 3)
        assert first.dtype == np.uint8
        assert first.flags["C_CONTIGUOUS"]
        assert np.array_equal(first, again)
        assert not np.array_equal(first, picture(sheet, 8, size))


def test_each_trait_changes_the_picture():
    base = dict(SEEN[0].traits, **PLAIN, plants="none", roads="none", buildings="none")
    changes = {
        "ground": "green",
        "texture": "rippled",
        "water": "round",
        "roads": "double",
        "buildings": "arena",
        "plants": "canopy",
        "objects": "tracks",
        "season": "snow",
        "air": "hazy",
        "sky": "cloudy",
        "direction": "diagonal",
    }
    plain = BUILTIN.draw(base, np.random.default_rng(3), 64).astype(int)
    for trait, value in changes.items():
        if trait == "direction":
            start = dict(base, roads="straight")
            before = BUILTIN.draw(start, np.random.default_rng(3), 64).astype(int)
        else:
            start, before = base, plain
        after = BUILTIN.draw({**start, trait: value}, np.random.default_rng(3), 64)
        assert np.abs(after - before).mean() > 2, trait


def test_what_a_caption_says_is_there_finds_its_place(monkeypatch):
    found = Counter()
    for module in (buildings, objects):

        def counting(*args, free_sites=module.free_sites):
            sites = free_sites(*args)
            found["none" if not sites else "some"] += 1
            return sites

        monkeypatch.setattr(module, "free_sites", counting)
    crowded = [
        s for s in SHEETS if s.traits["buildings"] == "halls" or s.traits["objects"] == "cars"
    ]
    for sheet, seed in itertools.product(crowded, range(25)):
        picture(sheet, seed, 48)
    assert found["some"] >= 25 * len(crowded)
    assert not found["none"]


def test_no_snow_lies_on_sand():
    sandy = next(sheet for sheet in SHEETS if sheet.traits["ground"] == "sandy")
    seasons = {individual(sandy, seed)[0]["season"] for seed in range(60)}
    assert seasons == {"green", "dry"}


def test_captions_name_no_scene_and_fit_their_lengths():
    names = {word for sheet in SHEETS for word in re.findall(r"[a-z]+", sheet.label[-1])}
    for sheet, seed in itertools.product(SHEETS, range(40)):
        traits, rng = individual(sheet, seed)
        said = BUILTIN.captions(traits, rng)
        assert 15 <= len(said[0].split()) <= 25, said[0]
        assert 3 <= len(said) - 1 <= 5  # one of them says the whole sheet
        assert len(set(said)) == len(said)
        for text in (*said, *BUILTIN.describe(sheet.traits)):
            assert not names & set(re.findall(r"[a-z]+", text.lower())), text
            assert text[0].isupper()
            assert text.endswith(".")
            assert "  " not in text and " ," not in text and "None" not in text


def test_the_reference_caption_says_all_that_is_there_and_something_of_this_tile():
    for sheet, seed in itertools.product(SHEETS, range(10)):
        traits, rng = individual(sheet, seed)
        reference = BUILTIN.captions(traits, rng)[0]
        for trait, values in PARTS.items():
            if traits[trait] != "none":
                assert values[traits[trait]][0] in reference
        season = {"green": "green-season", "dry": "dry-season", "snow": "snow-dusted"}
        assert season[traits["season"]] in reference


def test_descriptions_tell_all_sheets_apart_and_need_the_sheet_alone():
    first = [BUILTIN.describe(sheet.traits) for sheet in SHEETS]
    assert all(3 <= len(texts) <= 6 for texts in first)
    assert len({text for texts in first for text in texts}) == sum(map(len, first))


def test_words_of_unseen_descriptions_occur_in_captions_of_seen_scenes():
    known = set()
    for sheet, seed in itertools.product(SEEN, range(30)):
        traits, rng = individual(sheet, seed)
        for text in BUILTIN.captions(traits, rng):
            known |= set(re.findall(r"[a-z-]+", text.lower()))
    for sheet in UNSEEN:
        words = {
            w for t in BUILTIN.describe(sheet.traits) for w in re.findall(r"[a-z-]+", t.lower())
        }
        assert words - known <= {"seen", "from", "above"}, sheet.label


@pytest.mark.slow
def test_mean_colour_does_not_give_the_scene_away():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    means = [picture(SEEN[i % 18], [1, i], 64).mean(axis=(0, 1)) for i in range(2500)]
    colours, scenes = np.array(means), np.arange(2500) % 18
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=3000))
    probe.fit(colours[:1500], scenes[:1500])
    assert probe.score(colours[1500:], scenes[1500:]) < 0.3


@pytest.mark.slow
def test_drawing_is_fast_enough_for_a_quick_start():
    for sheet in SHEETS:
        picture(sheet, 0, 128)
    start = time.process_time()
    for i in range(240):
        picture(SHEETS[i % 24], [2, i], 128)
    assert 240 / (time.process_time() - start) > 100  # 300 and more on an idle core


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("AnnualCrop", "annual crop"),
        ("dense_residential", "dense residential"),
        ("Herbaceous Vegetation", "herbaceous vegetation"),
        ("storage_tanks/silos", "storage tanks silos"),
        ("NDVIIndex", "ndvi index"),
        ("lake", "lake"),
    ],
)
def test_class_names_become_words(name, cleaned):
    assert clean_name(name) == cleaned
    assert DOMAIN.prompts["single"].say(name) == (f"a satellite photo of {cleaned}.",)


def test_augmentation_turns_and_flips_tiles_without_normalising():
    transform = DOMAIN.augment(32)
    tile = np.zeros((36, 36, 3), np.uint8)
    tile[:18, :18, 0] = 240  # one corner red, its neighbour green: eight ways to lie
    tile[:18, 18:, 1] = 240
    seen = Counter()
    for _ in range(240):
        out = transform(image=tile)["image"]
        assert out.shape == (32, 32, 3)
        assert out.dtype == np.uint8
        quarters = np.array([out[a : a + 16, b : b + 16] for a in (0, 16) for b in (0, 16)])
        tones = quarters.mean(axis=(1, 2))
        seen[int(tones[:, 0].argmax()), int(tones[:, 1].argmax())] += 1
    turns = {(0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2)}
    assert set(seen) == turns
    assert min(seen.values()) > 8


def test_worker_processes_can_take_the_functions():
    for part in (BUILTIN.draw, BUILTIN.captions, BUILTIN.individual, DOMAIN.augment):
        assert pickle.loads(pickle.dumps(part)) is part


def test_importing_the_plug_loads_neither_torch_nor_opencv():
    code = (
        "import sys, domainclip.domains.remote_sensing;"
        "print([m for m in ('torch', 'cv2', 'albumentations') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
