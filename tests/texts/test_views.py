"""Text views: how labels are said, and what is drawn in training."""

import numpy as np
import pytest

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.texts.labels import NAME_VIEWS, say_label
from domainclip.texts.parts import caption_parts
from domainclip.texts.views import TextViews

RANKS = ("order", "genus", "species")


@pytest.fixture
def tree() -> LabelTree:
    return LabelTree.from_columns(
        {
            "order": ["Lepidoptera", "Lepidoptera", "Coleoptera"],
            "genus": ["Danaus", "Danaus", ""],
            "species": ["Danaus plexippus", "Danaus chrysippus", "Carabus auratus"],
        },
        RANKS,
        common=["monarch", "", "golden ground beetle"],
    )


def node(tree: LabelTree, name: str) -> int:
    (found,) = tree.find(name)
    return found


def test_five_views_of_a_label(tree):
    views = say_label(tree, node(tree, "Danaus plexippus"))
    assert views == {
        "formal": "Danaus plexippus",
        "common": "monarch",
        "path": "Lepidoptera Danaus plexippus",
        "formal_common": "Danaus plexippus with common name monarch",
        "path_common": "Lepidoptera Danaus plexippus with common name monarch",
    }


def test_a_label_without_a_common_name_has_two_views_and_a_missing_rank_is_not_said(tree):
    assert set(say_label(tree, node(tree, "Danaus chrysippus"))) == {"formal", "path"}
    assert say_label(tree, node(tree, "Carabus auratus"))["path"] == "Coleoptera Carabus auratus"


def draw(views: TextViews, nodes: list[int], seed=(0, 0)):
    return views.draw(np.array(nodes), np.arange(len(nodes)), seed)


def test_equal_seeds_give_equal_texts_and_steps_differ(tree):
    nodes = [node(tree, "Danaus plexippus")] * 64
    views = TextViews(tree, PromptSet(), dict.fromkeys(NAME_VIEWS, 1.0))
    one, again, other = draw(views, nodes), draw(views, nodes), draw(views, nodes, (0, 1))
    assert one.texts == again.texts and np.array_equal(one.rows, again.rows)
    assert [one.texts[i] for i in one.rows] != [other.texts[i] for i in other.rows]


def test_only_views_with_weight_are_drawn_in_its_proportion(tree):
    views = TextViews(tree, PromptSet(), {"formal": 3.0, "common": 1.0}, template_share=0.0)
    drawn = draw(views, [node(tree, "Danaus plexippus")] * 4000)
    share = np.mean([drawn.texts[i] == "Danaus plexippus" for i in drawn.rows])
    assert set(drawn.texts) == {"Danaus plexippus", "monarch"}
    assert share == pytest.approx(0.75, abs=0.03)


def test_captions_belong_to_their_own_picture_and_are_marked(tree):
    nodes = [node(tree, "Danaus plexippus")] * 3
    captions = [("a",), (), ("b", "c")]
    views = TextViews(tree, PromptSet(), {"common": 1.0}, captions, caption_share=1.0)
    drawn = draw(views, nodes)
    said = [drawn.texts[i] for i in drawn.rows]
    assert said[0] == "a" and said[1] == "monarch" and said[2] in {"b", "c"}
    assert drawn.is_caption.tolist() == [True, False, True]


def test_each_different_text_is_given_once(tree):
    views = TextViews(tree, PromptSet(), {"common": 1.0}, template_share=0.0)
    drawn = draw(views, [node(tree, "monarch")] * 10 + [node(tree, "golden ground beetle")] * 5)
    assert len(drawn.texts) == 2
    assert np.bincount(drawn.rows).tolist() == [10, 5]


def test_templates_and_cleaning_are_those_of_the_prompt_set(tree):
    prompts = PromptSet(templates=("a photo of {}.",), clean=str.upper)
    views = TextViews(tree, prompts, {"common": 1.0}, template_share=1.0)
    assert draw(views, [node(tree, "monarch")]).texts == ("a photo of MONARCH.",)


def test_parts_are_sentences_and_clauses_of_three_words_at_least():
    caption = "A fresh male with rounded orange wings, a white-spotted black margin and dark veins."
    assert caption_parts(caption) == (
        "A fresh male", "rounded orange wings", "a white-spotted black margin and dark veins",
    )  # fmt: skip
    assert caption_parts("Its wings are wide. Each has one red spot.") == (
        "Its wings are wide.", "Each has one red spot.",
    )  # fmt: skip
    assert caption_parts("a bird") == ("a bird",)
    assert caption_parts("") == ("",)


@pytest.mark.parametrize("name", ["biology", "medical", "remote_sensing"])
def test_parts_of_built_in_captions_are_stretches_of_them(name):
    builtin = get_domain(name).builtin
    for sheet in builtin.sheets():
        rng = np.random.default_rng(0)
        traits = {**sheet.traits, **builtin.individual(sheet, rng)}
        for caption in builtin.captions(traits, rng):
            parts = caption_parts(caption)
            assert len(set(parts)) == len(parts) >= 1
            for part in parts:
                assert part in caption and len(part.split()) >= 3
                assert part == caption or len(part) < len(caption)
            said = " ".join(parts).replace(".", "").split()
            joints = {"and", "with", "showing", "has"}
            missing = {w.strip(",.") for w in caption.split()} - {w.strip(",") for w in said}
            assert missing <= joints, (caption, parts)


def said(views: TextViews, tree: LabelTree, n: int, index: int = 0) -> list[str]:
    nodes, indices = np.full(n, node(tree, "monarch")), np.full(n, index)
    drawn = views.draw(nodes, indices, (0, 0))
    return [drawn.texts[i] for i in drawn.rows]


def test_parts_are_drawn_in_their_share_and_stay_captions(tree):
    caption = "large orange wings, many white dots"
    views = TextViews(tree, PromptSet(), {}, [(caption,)], caption_share=1.0, part_share=0.25)
    texts = said(views, tree, 4000)
    share = np.mean([text != caption for text in texts])
    assert share == pytest.approx(0.25, abs=0.03)
    assert set(texts) == {caption, "large orange wings", "many white dots"}
    assert texts.count("many white dots") == pytest.approx(500, abs=90)
    assert views.draw(np.array([node(tree, "monarch")]), np.array([0]), (1,)).is_caption.all()


def test_originals_are_mixed_with_stored_captions_in_a_ratio(tree):
    own, stored = [("own",), (), ("only own",)], [[("one",), ("one",), ()], [("two",), (), ()]]
    views = TextViews(
        tree, PromptSet(), {}, own, stored=stored, caption_share=1.0, original_share=0.4
    )
    both = said(views, tree, 6000)
    counts = {text: both.count(text) / 6000 for text in set(both)}
    assert counts == pytest.approx({"own": 0.4, "one": 0.3, "two": 0.3}, abs=0.03)
    assert set(said(views, tree, 50, index=1)) == {"one"}
    assert set(said(views, tree, 50, index=2)) == {"only own"}


@pytest.mark.parametrize(("share", "text"), [(0.0, "one"), (1.0, "own")])
def test_the_ends_of_the_ratio_are_exact(tree, share, text):
    views = TextViews(
        tree, PromptSet(), {}, [("own",)], stored=[[("one",)]],
        caption_share=1.0, original_share=share,
    )  # fmt: skip
    assert set(said(views, tree, 500)) == {text}


def test_new_settings_at_rest_leave_the_draws_as_they_were(tree):
    captions = [("a, with many long words", "b"), ()]
    plain = TextViews(tree, PromptSet(), {"common": 1.0}, captions)
    mixed = TextViews(
        tree, PromptSet(), {"common": 1.0}, captions, stored=[[(), ()]], original_share=0.1
    )
    nodes, indices = np.full(64, node(tree, "monarch")), np.arange(64) % 2
    assert plain.draw(nodes, indices, (3,)).texts == mixed.draw(nodes, indices, (3,)).texts


def test_both_says_every_picture_by_a_name_and_some_by_a_caption_beside_it(tree):
    nodes = [node(tree, "monarch"), node(tree, "Danaus chrysippus")] * 40
    captions = [("orange wings",) if i % 2 else () for i in range(80)]
    views = TextViews(
        tree, PromptSet(), {"formal": 1.0}, captions,
        caption_share=1.0, template_share=0.0, both=True,
    )  # fmt: skip
    drawn = draw(views, nodes)
    named, told = drawn.pictures[~drawn.is_caption], drawn.pictures[drawn.is_caption]
    assert named.tolist() == list(range(80))
    assert told.tolist() == list(range(1, 80, 2))
    assert {drawn.texts[row] for row in drawn.rows[drawn.is_caption]} == {"orange wings"}


def test_both_draws_the_same_captions_and_names_as_one_of_them(tree):
    nodes = [node(tree, "monarch")] * 60
    captions = [(f"caption {i}",) for i in range(60)]
    one, two = (
        draw(TextViews(tree, PromptSet(), {"common": 1.0}, captions, both=both), nodes)
        for both in (False, True)
    )
    said = {(p, two.texts[row]) for p, row in zip(two.pictures, two.rows, strict=True)}
    assert {(p, one.texts[row]) for p, row in zip(one.pictures, one.rows, strict=True)} <= said
    assert len(two.rows) == 60 + int(one.is_caption.sum())
