"""The biology plug: its sheets, its pictures, and what is said of them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domainclip.domains.biology import DOMAIN
from domainclip.domains.biology.captions import ABSENT, MARKS, PLACES, PRESENT
from domainclip.domains.biology.drawing import POSES
from domainclip.domains.biology.scene import BACKGROUNDS
from domainclip.domains.biology.wings import SPILL, thickness
from domainclip.testing import check_domain

BUILTIN = DOMAIN.builtin
SHEETS = BUILTIN.sheets()
FRESH = {"pose": "wings spread", "sex": "male", "wear": "fresh", "background": "grey rock"}


def individual_of(sheet, rng):
    return {**sheet.traits, **BUILTIN.individual(sheet, rng)}


def draw(traits, seed, size=64):
    return BUILTIN.draw(traits, np.random.default_rng(seed), size)


def test_contract():
    assert check_domain(DOMAIN) == []


def test_labels_are_real_lineages():
    tree = DOMAIN.labels()
    assert len(tree.leaves) == len(SHEETS) == 50
    for leaf in tree.leaves:
        *_, family, genus, species = tree.key(leaf)
        assert family.endswith("idae")
        assert species.split()[0] == genus
        assert tree.name(leaf, "common")
    assert len(tree.groups("family", tree.leaves).names) == 5
    assert tree.name(tree.find("monarch")[0]) == "Danaus plexippus"
    assert tree.find("Inachis io") == tree.find("Aglais io")


def test_seen_and_unseen():
    assert Counter(sheet.seen for sheet in SHEETS) == {True: 40, False: 10}
    assert len({sheet.label[4] for sheet in SHEETS if not sheet.seen}) >= 4
    genera = Counter(sheet.label[5] for sheet in SHEETS)
    assert sum(count > 1 for count in genera.values()) >= 5


def test_two_labels_differ_in_two_traits_at_least():
    for one, other in combinations(SHEETS, 2):
        names = {name for name in one.traits if one.traits[name] != other.traits[name]}
        if "none" in (one.traits["marking colour"], other.traits["marking colour"]):
            names.discard("marking colour")  # it comes with the pattern, and is no trait more
        assert len(names) >= 2, (one.label[-1], other.label[-1], names)


def test_a_family_keeps_to_its_wing_shapes():
    families = {(sheet.traits["wing shape"], sheet.label[4]) for sheet in SHEETS}
    assert len(families) == len({shape for shape, _ in families})


def test_two_labels_look_different_at_64_pixels():
    pictures = [draw({**s.traits, **FRESH}, 5).astype(np.int16) for s in SHEETS]
    for (one, a), (other, b) in combinations(zip(SHEETS, pictures, strict=True), 2):
        changed = np.mean(np.abs(a - b).max(axis=2) > 40)
        assert changed > 0.05, (one.label[-1], other.label[-1], changed)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pose", POSES),
        ("sex", ("male", "female")),
        ("wear", ("fresh", "worn")),
        ("background", BACKGROUNDS),
    ],
)
def test_what_an_individual_is_can_be_seen(name, values):
    monarch = next(s for s in SHEETS if s.label[-1] == "Danaus plexippus")
    pictures = [draw({**monarch.traits, **FRESH, name: v}, 3).astype(np.int16) for v in values]
    for a, b in combinations(pictures, 2):
        assert np.mean(np.abs(a - b).max(axis=2) > 16) > 0.02


def test_individuals_take_every_value():
    rng = np.random.default_rng(0)
    drawn = [BUILTIN.individual(SHEETS[0], rng) for _ in range(200)]
    assert {d["pose"] for d in drawn} == set(POSES)
    assert {d["background"] for d in drawn} == set(BACKGROUNDS) == set(PLACES)
    assert {(d["sex"], d["wear"]) for d in drawn} == {
        (sex, wear) for sex in ("male", "female") for wear in ("fresh", "worn")
    }


def test_size_changes_the_resolution_and_not_the_picture():
    traits = {**SHEETS[0].traits, **FRESH, "background": "white sheet"}
    large = cv2.resize(draw(traits, 1, 144), (72, 72), interpolation=cv2.INTER_AREA)
    small = draw(traits, 1, 72)
    a, b = (cv2.blur(p, (5, 5)).astype(np.float32) for p in (large, small))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


def test_mean_colour_does_not_give_labels_away():
    seen = [sheet for sheet in SHEETS if sheet.seen]

    def mean_colours(count, seed):
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            traits = individual_of(seen[index % len(seen)], rng)
            yield BUILTIN.draw(traits, rng, 64).reshape(-1, 3).mean(axis=0)

    train, test = (np.stack(list(mean_colours(n, s))) for n, s in ((1200, 0), (800, 1)))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=1000))
    probe.fit(train, np.arange(1200) % 40)
    assert probe.score(test, np.arange(800) % 40) < 0.3


@pytest.mark.parametrize("width", [4, 7, 12, 21])
def test_lines_come_out_as_wide_as_asked(width):
    canvas = np.zeros((60, 60), np.uint8)
    cv2.line(canvas, (30, -9), (30, 69), 255, thickness(width), cv2.LINE_AA)
    assert canvas[30].sum() / 255 == pytest.approx(width, abs=1.1)
    assert thickness(0) == thickness(2 * SPILL) == 1


def test_reference_caption_is_about_this_picture():
    for index, sheet in enumerate(SHEETS):
        rng = np.random.default_rng(index)
        traits = individual_of(sheet, rng)
        reference, *others = BUILTIN.captions(traits, rng)
        for part in (traits["sex"], traits["wear"], traits["pose"], PLACES[traits["background"]]):
            assert part in reference
        for name, says in PRESENT.items():
            if traits[name] in says:
                assert says[traits[name]] in reference
        assert 12 <= len(reference.split()) <= 30
        assert 2 <= len(others) <= 4
        assert len({reference, *others}) == len(others) + 1


def test_captions_never_give_the_name_away():
    for index, sheet in enumerate(SHEETS):
        rng = np.random.default_rng(index)
        said = " ".join(
            [*BUILTIN.captions(individual_of(sheet, rng), rng), *BUILTIN.describe(sheet.traits)]
        )
        family, genus, species = sheet.label[4:]
        for word in (family, genus, *species.split()):
            assert word.lower() not in said.lower().split()


def test_a_description_says_every_trait_of_the_sheet():
    for sheet in SHEETS:
        texts, traits = BUILTIN.describe(sheet.traits), sheet.traits
        assert len(set(texts)) == len(texts) >= 3
        for text in texts:
            words = text.lower()
            for name, says in PRESENT.items():
                assert says.get(traits[name], ABSENT[name]) in words
            assert traits["wing shape"] in words
            assert traits["ground colour"] in words
            assert MARKS[traits["pattern"]].format(traits["marking colour"]) in words
            assert ("plain " + traits["wing shape"] in words) == (traits["pattern"] == "plain")


def test_a_description_leaves_the_individual_out():
    sheet = SHEETS[0]
    assert BUILTIN.describe({**sheet.traits, **FRESH}) == BUILTIN.describe(sheet.traits)


def test_names_are_cleaned_and_keep_their_capitals():
    said = DOMAIN.prompts["default"].say("Danaus_plexippus")
    assert said[0] == "Danaus plexippus"
    assert all("Danaus plexippus" in sentence for sentence in said)
