"""Visible traits: what comes out of texts, what must not, and what the sheets say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from domainclip.domains.registry import get_domain
from domainclip.knowledge.lexicon import Lexicon
from domainclip.knowledge.traits import (
    MAX_WORDS,
    extract_traits,
    sheet_claims,
    sheet_traits,
    visible_statements,
)

SENTENCES = Path(__file__).parent / "sentences"

TEXT = """\
The hill finch (Montifringilla collina) is 14 cm long and weighs 20 g. The upperparts are dark \
brown with black streaks, the throat is bright red, and the belly is white. Its song is a clear \
whistle. Unlike the plain finch, it has no yellow crown. It nests in old trees. The long, forked \
tail is black [3] with white edges. THE LEGS ARE PINK. The legs are pink.
"""


@pytest.fixture(scope="module", params=["biology", "medical", "remote_sensing"])
def field(request):
    domain = get_domain(request.param)
    assert domain.knowledge is not None
    return domain, Lexicon(domain.knowledge.words())


def extract(text, lexicon, **settings):
    return extract_traits(text, lexicon, source="table", revision="r1", **settings)


def labelled(name: str) -> list[tuple[bool, str]]:
    lines = (SENTENCES / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [(line[0] == "+", line[2:]) for line in lines]


@pytest.fixture(scope="module")
def birds():
    return Lexicon(get_domain("biology").knowledge.words())


def test_statements_are_short_and_keep_sentence_source_and_revision(birds):
    traits = extract(TEXT, birds)
    assert [trait.text for trait in traits] == [
        "the upperparts are dark brown",
        "black streaks",
        "the throat is bright red",
        "the belly is white",
        "the long, forked tail is black",
        "white edges",
        "THE LEGS ARE PINK",
    ]
    assert {(trait.source, trait.revision) for trait in traits} == {("table", "r1")}
    assert traits[2].sentence.startswith("The upperparts are dark brown with black streaks, the")
    assert all(len(trait.text.split()) <= MAX_WORDS for trait in traits)


def test_the_richest_sentences_stay_where_there_are_too_many(birds):
    text = "The legs are pink. The eye is red, the bill black and curved, and the crown grey."
    assert [t.text for t in extract(text, birds, limit=1)] == ["the eye is red"]
    assert len(extract(TEXT, birds, limit=3)) == 3
    assert extract("", birds) == ()


def test_no_statement_is_too_long(birds):
    long = "the wing is " + " and ".join(["red"] * 30) + "."
    assert visible_statements(long, birds) == []
    assert visible_statements("The wing is red.", birds) == ["the wing is red"]


def test_visible_sentences_are_told_from_others(field):
    """Our own labelled sentences, 48 of each kind.

    At the first try, before any word was added for them: precision 1.00, 0.98 and 1.00, recall
    0.94, 0.96 and 0.98. Below 0.95 some of what is shown as visible in `knowledge show` is not.
    """
    domain, lexicon = field
    sentences = labelled(domain.name)
    visible = [wanted for wanted, text in sentences if extract(text, lexicon)]
    wanted = sum(is_visible for is_visible, _ in sentences)
    assert wanted >= 40 and len(sentences) - wanted >= 40
    assert sum(visible) / len(visible) >= 0.95
    assert sum(visible) / wanted >= 0.9


@pytest.mark.parametrize(
    "text",
    [
        "The wing is 35 mm long.",
        "The red bird is found in the red hills of Africa.",
        "It resembles the blue tit, which has a yellow belly.",
        "The name means red tail in Greek.",
        "It sings from the tops of green trees.",
        "Leaves are 5–9 cm long.",
    ],
)
def test_measures_range_names_behaviour_and_others_do_not_come_through(text, birds):
    assert extract(text, birds) == ()


def test_sheets_are_said_as_short_statements(field):
    domain, lexicon = field
    tree = domain.labels()
    for sheet in domain.builtin.sheets():
        node = tree.node(sheet.label)
        traits = sheet_traits(domain, tree, node)
        assert sheet_claims(domain, tree, node) == sheet.traits
        read = {(c.trait, c.value) for t in traits for c in lexicon.claims(t.text)}
        assert read == set(sheet.traits.items())
        assert all(len(t.text.split()) <= 8 and t.source == "sheet" for t in traits)
        assert {t.sentence for t in traits} == {domain.builtin.describe(sheet.traits)[0]}
    assert sheet_traits(domain, tree, int(tree.parent[node])) == ()
    assert sheet_claims(domain, tree, int(tree.parent[node])) == {}


def test_the_revision_follows_the_sheet():
    domain = get_domain("biology")
    tree, first, *rest = domain.labels(), *domain.builtin.sheets()
    node = tree.node(first.label)
    (old,) = {trait.revision for trait in sheet_traits(domain, tree, node)}
    changed = replace(first, traits={**first.traits, "ground colour": "blue"})
    other = replace(domain, builtin=replace(domain.builtin, sheets=lambda: (changed, *rest)))
    traits = sheet_traits(other, tree, node)
    assert "blue wings" in [trait.text for trait in traits]
    assert {trait.revision for trait in traits} != {old}
    assert sheet_traits(replace(domain, knowledge=None), tree, node) == ()
