"""Articles go by the sound that a word begins with."""

import pytest

from domainclip.knowledge.articles import find_article, with_article


@pytest.mark.parametrize(
    ("words", "article"),
    [
        ("red wing, usual shape, U-turn, one-eyed fly, once red leg, European bird, house", "a"),
        ("orange band, Oval cell, upper side, hour, honest face, umbel", "an"),
    ],
)
def test_an_article_goes_by_the_sound(words, article):
    assert {find_article(one) for one in words.split(", ")} == {article}


def test_a_phrase_gets_its_article():
    assert with_article("oval cell") == "an oval cell"
