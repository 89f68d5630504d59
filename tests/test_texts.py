"""Text views: how labels are said, and what is drawn in training."""

import numpy as np
import pytest

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.texts import NAME_VIEWS, TextViews, say_label

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
