"""Which text of a page is taken, and what it looks like then."""

from __future__ import annotations

import pytest

from domainclip.knowledge.sections import clean, pick_sections
from domainclip.knowledge.site import Page, split_sections

TEXT = """The monarch is a butterfly.

== Taxonomy and history of its description ==
It was described in 1758.

== Description ==
Orange wings.

=== Sexes ===
Males have a scent patch.

==== Scent patch ====
It is black.

=== Larva ===
Striped caterpillars.

== Range ==
America.

== Physical Characteristics ==
Light.
"""


def page(text: str) -> Page:
    lead, sections = split_sections(text)
    return Page(
        title="Monarch",
        asked="Monarch",
        revision="1",
        url="",
        lead=lead,
        sections=sections,
        categories=(),
        ambiguous=False,
    )


def test_a_section_comes_with_all_below_it_and_no_more():
    (first, *_) = pick_sections(page(TEXT), ["description"])
    assert first[0] == "Description"
    assert first[1].split("\n") == [
        "Orange wings.",
        "Males have a scent patch.",
        "It is black.",
        "Striped caterpillars.",
    ]


def test_wanted_words_are_in_order_of_worth_and_a_heading_that_is_one_before_one_that_has_it():
    picked = [
        heading for heading, _ in pick_sections(page(TEXT), ["characteristics", "description"])
    ]
    assert picked == [
        "Physical Characteristics",
        "Description",
        "Taxonomy and history of its description",
    ]


def test_a_sub_section_of_one_that_is_taken_is_not_taken_twice():
    picked = pick_sections(page(TEXT), ["description", "larva", "scent"])
    assert sum("Striped" in text for _, text in picked) == 1
    assert sum("It is black" in text for _, text in picked) == 1


def test_a_wanted_sub_section_is_taken_alone():
    assert pick_sections(page(TEXT), ["larva"]) == [("Larva", "Striped caterpillars.")]


def test_the_lead_stands_in_where_no_heading_is_wanted():
    assert pick_sections(page(TEXT), ["plumage"]) == [("", "The monarch is a butterfly.")]
    assert pick_sections(page("== Description ==\n\n== Range ==\nAll."), ["description"]) == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Red wings.[1][note 2] Black veins.[citation needed]", "Red wings. Black veins."),
        ("The queen ( ) is orange ( ; ).", "The queen is orange."),
        ("It spans {\\displaystyle 5} 9 cm , or more .", "It spans 9 cm, or more."),
        ("  one\u00a0two \n\n\n three ", "one two\nthree"),
        ("soft\u00adly wo\u200brd", "softly word"),
        ("wings (upper side) [sic]", "wings (upper side) [sic]"),
    ],
)
def test_leftovers_are_taken_out(raw, text):
    assert clean(raw) == text
