"""What is drawn for a batch beyond one text a picture, and that old draws stay as they were."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.texts.labels import NAME_VIEWS
from domainclip.texts.views import Draw, TextViews

TREE = LabelTree.from_columns(
    {"genus": ["Danaus", "Danaus"], "species": ["Danaus plexippus", "Danaus chrysippus"]},
    ("genus", "species"),
    common=["monarch", ""],
)
(MONARCH,), (TIGER,) = TREE.find("monarch"), TREE.find("Danaus chrysippus")


def views(*args, **settings) -> TextViews:
    return TextViews(TREE, PromptSet(), dict.fromkeys(NAME_VIEWS, 1.0), *args, **settings)


def said(draw: Draw, picture: int) -> list[str]:
    return [draw.texts[row] for row in draw.rows[draw.pictures == picture]]


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({}, "d63a4bd9da35770f"),
        ({"both": True, "part_share": 0.5}, "0ebe531eae5a5b03"),
        ({"caption_share": 0.9, "original_share": 0.2, "template_share": 0}, "4cd3cb04ccbfe58c"),
    ],
)
def test_draws_are_those_of_the_first_version(settings, digest):
    """Digests were written down before there were batch draws, several captions or negatives."""
    domain = get_domain("biology")
    tree = domain.labels()
    own = [() if i % 3 == 0 else (f"own {i}, with many long words", f"other {i}")
           for i in range(300)]  # fmt: skip
    stored = [
        [() if i % 5 == 0 else (f"stored {i}",) for i in range(300)],
        [(f"more {i}, and dark short wings",) for i in range(300)],
    ]
    leaves = np.array([tree.node(sheet.label) for sheet in domain.builtin.sheets()])
    weights = dict.fromkeys(NAME_VIEWS, 1.0)
    of = TextViews(tree, domain.prompts["default"], weights, own, stored=stored, **settings)
    sha = hashlib.sha256()
    for step in range(5):
        rng = np.random.default_rng(step)
        d = of.draw(rng.choice(leaves, 64), rng.integers(0, 300, 64), (7, 1, step))
        drawn = (d.texts, d.rows.tolist(), d.is_caption.tolist(), d.pictures.tolist())
        sha.update(repr(drawn).encode())
    assert sha.hexdigest()[:16] == digest


def test_a_text_that_is_both_name_and_caption_stands_twice():
    of = TextViews(
        TREE, PromptSet(), {"common": 1}, [("monarch",), ()], caption_share=1, template_share=0
    )
    draw = of.draw(np.array([MONARCH, MONARCH]), np.arange(2), (0,))
    assert draw.texts == ("monarch", "monarch")
    assert draw.text_is_caption.tolist() == draw.is_caption.tolist() == [True, False]


def test_a_batch_draw_says_all_by_captions_or_by_one_view():
    captions = [(f"caption {i}",) for i in range(40)]
    of = views(captions, draw="batch", caption_share=0.3, template_share=0)
    told, ways = 0, set()
    for step in range(400):
        draw = of.draw(np.full(20, MONARCH), np.arange(20), (0, step))
        assert len(set(draw.is_caption.tolist())) == 1
        if draw.is_caption[0]:
            told += 1
        else:
            (text,) = draw.texts
            ways.add(text)
    assert told / 400 == pytest.approx(0.3, abs=0.07)
    assert ways == {
        "monarch", "Danaus plexippus", "Danaus plexippus with common name monarch",
    }  # fmt: skip  # the path leaves out a genus that the name says again


@pytest.mark.parametrize("draw", ["sample", "batch"])
@pytest.mark.parametrize(
    ("view", "common", "without"),
    [
        ("common", "monarch", "Danaus chrysippus"),
        ("formal_common", "Danaus plexippus with common name monarch", "Danaus chrysippus"),
        ("path_common", "Nymphalidae Danaus plexippus with common name monarch",
         "Nymphalidae Danaus chrysippus"),
    ],
)  # fmt: skip
def test_without_a_common_name_the_view_without_one_stands_in(view, common, without, draw):
    families = LabelTree.from_columns(
        {"family": ["Nymphalidae"] * 2, "species": ["Danaus plexippus", "Danaus chrysippus"],
         "common_name": ["monarch", ""]}
    )  # fmt: skip
    of = TextViews(families, PromptSet(), {view: 1.0}, draw=draw, template_share=0)
    nodes = [families.find(name)[0] for name in ("Danaus plexippus", "Danaus chrysippus")]
    for step in range(10):
        drawn = of.draw(np.array(nodes), np.arange(2), (0, step))
        assert said(drawn, 0) == [common] and said(drawn, 1) == [without]


def test_views_of_batches_come_by_their_weights():
    of = TextViews(TREE, PromptSet(), {"formal": 3, "common": 1}, draw="batch", template_share=0)
    texts = [of.draw(np.array([MONARCH]), np.array([0]), (0, i)).texts[0] for i in range(1000)]
    assert texts.count("Danaus plexippus") / 1000 == pytest.approx(0.75, abs=0.05)


@settings(max_examples=50, deadline=None)
@given(
    captions=st.lists(
        st.lists(st.sampled_from(["aa bb cc", "dd ee, ff gg hh", "ii"]), max_size=3), max_size=4
    ),
    k=st.integers(1, 4),
    parts=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
    both=st.booleans(),
)
def test_several_captions_are_different_and_the_pictures_own(captions, k, parts, seed, both):
    of = views(captions, caption_draws=k, part_share=parts, caption_share=1, both=both)
    nodes, indices = np.full(len(captions), MONARCH), np.arange(len(captions))
    draw, again = (of.draw(nodes, indices, (seed,)) for _ in range(2))
    assert draw.texts == again.texts and draw.rows.tolist() == again.rows.tolist()
    for i, own in enumerate(captions):
        told = [draw.texts[r] for r in draw.rows[(draw.pictures == i) & draw.is_caption]]
        pool = {p for c in own for p in of._parts_of(c)} if parts else set()
        pool |= set(own) if parts < 1 else set()
        assert len(set(told)) == len(told) == min(k, len(pool))
        assert set(told) <= pool
        assert len(draw.rows[(draw.pictures == i) & ~draw.is_caption]) == (both or not own)


def test_further_captions_keep_the_ratio_of_their_sources():
    own, stored = [("own 1", "own 2")], [[("stored 1", "stored 2")]]
    of = views(own, stored=stored, caption_draws=2, caption_share=1, original_share=1.0)
    draw = of.draw(np.full(50, MONARCH), np.zeros(50, dtype=np.int64), (0,))
    assert set(draw.texts) == {"own 1", "own 2"} and len(draw.rows) == 100
    of = views(own, stored=stored, caption_draws=2, caption_share=1, original_share=0.8)
    draw = of.draw(np.full(4000, MONARCH), np.zeros(4000, dtype=np.int64), (0,))
    pairs = [{text[:3] for text in said(draw, i)} for i in range(4000)]
    # 0.4 + 0.4 first, then 0.4 of the remaining 0.6
    assert np.mean([pair == {"own"} for pair in pairs]) == pytest.approx(0.8 * 0.4 / 0.6, abs=0.03)


def test_replayed_pictures_are_said_by_their_captions_as_names():
    captions, replay = [("own",), ()], [("a red bus",), ("a dog", "a puppy")]
    of = views(captions, replay=replay, caption_share=1.0, both=True)
    draw = of.draw(np.array([MONARCH, -1, -2]), np.array([0, 2, 3]), (0,))
    assert said(draw, 1) == ["a red bus"] and said(draw, 2)[0] in replay[1]
    assert draw.is_caption[draw.pictures > 0].tolist() == [False, False]
    assert len(said(draw, 0)) == 2
