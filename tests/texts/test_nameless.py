"""Captions lose the names of their label, and read well without."""

import numpy as np
import pytest

from domainclip.domains.contract import PromptSet
from domainclip.domains.registry import get_domain
from domainclip.knowledge.lexicon import Lexicon
from domainclip.texts.nameless import take_names_out
from domainclip.texts.views import TextViews


def bare(caption, label="Danaus plexippus", name="biology", noun="butterfly"):
    domain = get_domain(name)
    tree = domain.labels()
    return take_names_out(
        caption, tree, tree.find(label)[0], noun, Lexicon(domain.knowledge.words())
    )


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("This Danaus plexippus has orange wings.", "This butterfly has orange wings."),
        ("Monarch on a pink flower.", "A butterfly on a pink flower."),
        ("The monarch (Danaus plexippus) is orange.", "The butterfly is orange."),
        ("An orange D. plexippus with dark veins.", "An orange butterfly with dark veins."),
        ("A male monarch butterfly.", "A male butterfly."),
        ("Photo of Danaus plexippus, wings open.", "Photo of a butterfly, wings open."),
        ("Orange wings with dark veins.", "Orange wings with dark veins."),
    ],
)
def test_a_noun_stands_for_the_name(caption, text):
    assert bare(caption) == text


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("This Danaus plexippus has orange wings.", "This one has orange wings."),
        ("A monarch with black veins.", "One with black veins."),
        ("An orange monarch.", "An orange one."),
    ],
)
def test_where_no_noun_is_known_it_is_one(caption, text):
    assert bare(caption, noun="") == text


def test_plain_words_for_what_is_seen_are_no_names():
    caption = "River banks of sand, a river between green fields."
    assert bare(caption, "river", "remote_sensing", "tile") == caption


def test_names_are_taken_out_in_their_share():
    domain = get_domain("biology")
    tree = domain.labels()
    node = tree.find("Danaus plexippus")[0]
    views = TextViews(
        tree, PromptSet(), {"common": 1.0}, [("A monarch with dark veins.",)] * 2000,
        caption_share=1.0, nameless=0.3, nouns={node: "butterfly"}, words=domain.knowledge.words(),
    )  # fmt: skip
    nodes, indices = np.full(2000, node), np.arange(2000)
    draw, again = (views.draw(nodes, indices, (0,)) for _ in range(2))
    assert draw.texts == again.texts and draw.rows.tolist() == again.rows.tolist()
    assert {*draw.texts} == {"A monarch with dark veins.", "A butterfly with dark veins."}
    taken = draw.rows == draw.texts.index("A butterfly with dark veins.")
    assert taken.mean() == pytest.approx(0.3, abs=0.04)


def test_captions_that_are_alike_without_names_are_said_once():
    tree = get_domain("biology").labels()
    node = tree.find("Danaus plexippus")[0]
    captions = [("A monarch.", "A Danaus plexippus.")]
    views = TextViews(
        tree, PromptSet(), {}, captions, caption_share=1.0, nameless=1.0, caption_draws=2
    )
    assert views.draw(np.array([node]), np.array([0]), (0,)).texts == ("One.",)
