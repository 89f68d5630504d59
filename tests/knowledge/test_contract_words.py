"""The contract suite finds what is wrong with a domain's words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domainclip.domains.contract import TraitWords, WikiRules
from domainclip.domains.registry import get_domain
from domainclip.testing import _check_knowledge, check_domain

GOOD = get_domain("medical")
WORDS = GOOD.knowledge.words()


def problems(**parts):
    words = replace(WORDS, **parts)
    return list(
        _check_knowledge(replace(GOOD, knowledge=replace(GOOD.knowledge, words=lambda: words)))
    )


def phrases(trait, **values):
    return {**WORDS.phrases, trait: {**WORDS.phrases[trait], **values}}


def test_good_words_pass():
    assert problems() == []
    assert list(_check_knowledge(replace(GOOD, knowledge=None))) == []


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"parts": {**WORDS.parts, "cap": ("Cap",)}}, "words.parts['cap'] are not all lower case"),
        ({"hidden": ("",)}, "words.hidden are not all lower case"),
        ({"some": ("Male",)}, "words.some are not all lower case"),
        ({"uncounted": ("Fur",)}, "words.uncounted are not all lower case"),
        (
            {"phrases": phrases("size", small=("Small cell",))},
            "phrases['size']['small'] are not all lower",
        ),
        ({"only": {"beak": ("x",)}}, "words.only has parts that words.parts lacks: ['beak']"),
        ({"phrases": phrases("size", small=())}, "size 'small' cannot be said and read back: None"),
        ({"phrases": phrases("size", small=("large cell",))}, "is read as size 'small'"),
    ],
)
def test_a_planted_fault_is_told(parts, told):
    found = problems(**parts)
    assert any(told in problem for problem in found), found


def test_a_place_for_no_trait_is_told():
    words = replace(WORDS, phrases=phrases("size", small=("{height} cell",)))
    knowledge = replace(GOOD.knowledge, words=lambda: words, wiki=WikiRules(sections=()))
    found = check_domain(replace(GOOD, knowledge=knowledge))
    assert any("has a place for 'height', which is no trait" in p for p in found), found
    assert "knowledge: wiki.sections is empty" in found
    assert any(p.startswith("functions: knowledge.words cannot be sent") for p in found), found


def test_words_are_read_from_a_file(tmp_path):
    path = tmp_path / "words.yaml"
    text = "phrases: {a: {b: [one c]}}\nparts: {c: [c]}\nhidden: [d]\nsome: [e]\nuncounted: [c]\n"
    path.write_text(text, encoding="utf-8")
    assert TraitWords.read(path) == TraitWords(
        phrases={"a": {"b": ("one c",)}},
        parts={"c": ("c",)},
        hidden=("d",),
        some=("e",),
        uncounted=("c",),
    )
