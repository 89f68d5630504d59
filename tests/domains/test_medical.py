"""The medical plug: its trait sheets, its drawn cells and what is said of them."""

import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domainclip.domains.medical import DOMAIN
from domainclip.testing import check_domain

SHEETS = DOMAIN.builtin.sheets()
SEEN = [sheet for sheet in SHEETS if sheet.seen]
TREE = DOMAIN.labels()
PLAIN_WORDS = {"cell", "blood", "red", "white", "large", "small", "oval", "giant"}
"""Words of names that say no more than a trait does."""


def sample(sheet, seed, size=64):
    rng = np.random.default_rng(seed)
    traits = {**sheet.traits, **DOMAIN.builtin.individual(sheet, rng)}
    return traits, DOMAIN.builtin.draw(traits, rng, size)


def names(sheet):
    node = TREE.node(sheet.label)
    return [TREE.name(node), TREE.name(node, "common"), *TREE.synonyms(node)]


def test_contract():
    assert check_domain(DOMAIN) == []


def test_fifteen_seen_and_five_unseen_leaves():
    assert len(SEEN) == 15 and len(SHEETS) == 20
    assert {sheet.label for sheet in SHEETS} == {TREE.key(int(n)) for n in TREE.leaves}
    assert {sheet.label[0] for sheet in SEEN} == {"leukocyte", "erythrocyte", "thrombocyte"}
    assert all(all(names(sheet)[:2]) for sheet in SHEETS)


def test_no_name_is_two_labels():
    counts = Counter(name.lower() for sheet in SHEETS for name in dict.fromkeys(names(sheet)))
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_pair_differs_in_two_traits():
    for one, other in combinations(SHEETS, 2):
        keys = one.traits.keys() | other.traits.keys()
        different = [k for k in keys if one.traits.get(k) != other.traits.get(k)]
        assert len(different) >= 2, (one.label, other.label)


def test_unseen_values_occur_in_two_seen_labels():
    counts = Counter(item for sheet in SEEN for item in sheet.traits.items())
    for sheet in SHEETS:
        if not sheet.seen:
            assert [item for item in sheet.traits.items() if counts[item] < 2] == []


@settings(max_examples=40, deadline=None)
@given(sheet=st.sampled_from(SHEETS), seed=st.integers(0, 2**32), size=st.integers(32, 160))
def test_picture_is_of_its_size_and_its_seed_alone(sheet, seed, size):
    _, first = sample(sheet, seed, size)
    assert first.shape == (size, size, 3) and first.dtype == np.uint8
    assert np.array_equal(first, sample(sheet, seed, size)[1])
    assert not np.array_equal(first, sample(sheet, seed + 1, size)[1])


def test_mean_colour_does_not_tell_the_type():
    colours, codes = [], []
    for i in range(2500):
        code = i % len(SEEN)
        colours.append(sample(SEEN[code], [11, i])[1].reshape(-1, 3).mean(axis=0))
        codes.append(code)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(colours[:1500], codes[:1500])
    assert probe.score(colours[1500:], codes[1500:]) < 0.3


def test_purple_is_where_the_sheet_says():
    """Purple, where green is darkest, is in nuclei and purple granules and nowhere else."""
    for sheet in SHEETS:
        traits = {
            **sheet.traits,
            "area": "thin",
            "stain": "deep",
            "focus": "sharp",
            "overlap": "none",
            "vacuoles": "none",
        }
        rng = np.random.default_rng(3)
        share = []
        for _ in range(10):
            picture = DOMAIN.builtin.draw(traits, rng, 64).astype(int)[16:48, 16:48]
            red, green, blue = np.moveaxis(picture, -1, 0)
            purple = (green < 0.8 * blue) & (green < 0.8 * red)
            share.append(purple.mean())
        has_purple = sheet.traits["nucleus"] != "none" or "purple" in sheet.traits["granules"]
        assert (np.mean(share) > 0.05) == has_purple, sheet.label


@settings(max_examples=100, deadline=None)
@given(sheet=st.sampled_from(SHEETS), seed=st.integers(0, 2**32))
def test_captions_are_sentences_about_the_picture_without_the_name(sheet, seed):
    rng = np.random.default_rng(seed)
    traits = {**sheet.traits, **DOMAIN.builtin.individual(sheet, rng)}
    reference, *shorter = DOMAIN.builtin.captions(traits, rng)
    assert 15 <= len(reference.split()) <= 25, reference
    assert traits["size"] in reference and traits["outline"] in reference
    assert traits["area"] in reference and traits["stain"] in reference
    assert (traits["vacuoles"] != "none") == ("vacuoles" in reference)
    assert 2 <= len(shorter) <= 4 and len({reference, *shorter}) == len(shorter) + 1
    words = {w for name in names(sheet) for w in re.findall(r"[\w-]+", name.lower())}
    for text in (reference, *shorter, *DOMAIN.builtin.describe(sheet.traits)):
        assert text[0].isupper() and text.endswith(".") and "  " not in text and "{" not in text
        assert not re.search(r"\b[Aa] [aeiou]", text), text
        assert not (words - PLAIN_WORDS) & set(re.findall(r"[\w-]+", text.lower())), text


def test_descriptions_say_every_trait():
    for sheet in SHEETS:
        texts = DOMAIN.builtin.describe(sheet.traits)
        assert 3 <= len(texts) <= 6
        for text in texts:
            for trait in ("size", "outline", "nucleus position", "cytoplasm"):
                assert sheet.traits.get(trait, "") in text
            for trait in ("nucleus", "granules"):
                value = sheet.traits[trait]
                said = f"no {trait}" if value == "none" else value
                assert said.lower() in text.lower(), (trait, text)


def test_a_caption_follows_the_individual():
    sheet = next(s for s in SHEETS if s.label[-1] == "blood monocyte")
    plain = {"area": "thin", "stain": "pale", "focus": "sharp", "overlap": "none"}
    traits = {**sheet.traits, **plain, "vacuoles": "two"}
    assert DOMAIN.builtin.captions(traits, np.random.default_rng(0))[0] == (
        "A large irregular cell with a central kidney-shaped nucleus and wide grey-blue cytoplasm "
        "with two vacuoles, in a thin, pale-stained area."
    )


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("Band_Neutrophil", "band neutrophil"), ("NRBC", "NRBC"), ("PMN  count", "PMN count")],
)
def test_names_are_cleaned_but_acronyms_kept(name, cleaned):
    assert DOMAIN.prompts["default"].say(name)[0] == cleaned


def test_augmentation_never_mirrors():
    """What is bright at the left and at the top stays there, whatever is drawn."""
    picture = np.zeros((72, 72, 3), np.uint8)
    picture[:, :36] = 150
    picture[:36] += 60
    transform = DOMAIN.augment(64)
    out = np.stack([transform(image=picture)["image"] for _ in range(40)]).astype(float)
    assert out.shape == (40, 64, 64, 3)
    assert (out[:, :, :24].mean((1, 2, 3)) > out[:, :, 40:].mean((1, 2, 3)) + 50).all()
    assert (out[:, :24].mean((1, 2, 3)) > out[:, 40:].mean((1, 2, 3)) + 10).all()
    assert len({o.tobytes() for o in out}) > 20


def test_import_is_light():
    code = (
        "import sys, domainclip.domains.medical; "
        "print({'torch', 'albumentations', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
