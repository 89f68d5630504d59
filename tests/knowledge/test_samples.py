"""Texts and tags of a sample's own columns."""

import math

import pytest

from domainclip.domains.contract import TagRule
from domainclip.domains.registry import get_domain
from domainclip.knowledge.samples import column_records, tag_records

LABEL = ("a", "b")
RULES = (
    TagRule(key="natural", value="water", say="open water"),
    TagRule(key="natural", say="natural ground of {value}"),
    TagRule(key="surface", say="{value} {key}"),
    TagRule(key="country", say="in {value}", visible=False),
)


def said(metadata, rules=RULES):
    return [record.text for record in tag_records(LABEL, metadata, rules)]


def test_a_column_of_text_becomes_a_record_that_says_where_it_is_from():
    metadata = {"report": "  Dense\nchromatin. ", "note": "nan", "age": 4}
    records = column_records(LABEL, metadata, ["note", "report", "absent"])
    (record,) = records
    assert (record.source, record.title, record.text) == ("column", "report", "Dense chromatin.")
    assert record.label == record.subject == LABEL and not record.inherited
    assert record.revision and record.traits == ()
    (other,) = column_records(LABEL, {"report": "Pale chromatin."}, ["report"])
    assert other.revision != record.revision


@pytest.mark.parametrize("cell", [None, math.nan, "", "  ", [], "None"])
def test_an_empty_cell_says_nothing(cell):
    assert column_records(LABEL, {"report": cell}, ["report"]) == ()


def test_a_list_of_captions_is_one_text():
    (record,) = column_records(LABEL, {"captions": ["One.", None, "Two."]}, ["captions"])
    assert record.text == "One. Two."


def test_a_rule_with_a_value_comes_before_one_for_any():
    assert said({"natural": "water"}) == ["open water"]
    assert said({"natural": "bare_rock"}) == ["natural ground of bare rock"]
    assert said({"natural": "no"}) == [] == said({"other": "water"})


@pytest.mark.parametrize(
    "metadata",
    [
        {"Natural": "Water", "surface": "sand; wet_grass"},
        {"tags": {"natural": "water", "surface": ["sand", "wet_grass"]}},
        {"tags": '{"natural": "water", "surface": "sand;wet_grass"}'},
        {"osm": "natural=water; surface=sand|surface=wet_grass"},
        {"osm": ["natural=water", "surface=sand", "surface=wet_grass"]},
    ],
)
def test_tags_are_read_in_every_form(metadata):
    assert said(metadata) == ["open water", "sand surface", "wet grass surface"]


def test_text_with_an_equals_sign_is_no_tag():
    assert said({"note": "we saw natural=water there, and it rained"}) == []


def test_only_what_can_be_seen_is_a_trait():
    seen, context = tag_records(LABEL, {"natural": "water", "country": "Peru"}, RULES)
    (trait,) = seen.traits
    assert (trait.text, trait.source, trait.revision) == ("open water", "tags", seen.revision)
    assert (context.text, context.traits) == ("in Peru", ())


def test_numbers_are_written_plainly():
    rules = (TagRule(key="lanes", say="{value} lanes"),)
    assert said({"lanes": 4.0}, rules) == ["4 lanes"]
    assert said({"lanes": math.nan}, rules) == []


def test_the_same_words_are_said_once():
    rules = (TagRule(key="a", say="a river"), TagRule(key="b", say="a river"))
    assert said({"a": "x", "b": "y"}, rules) == ["a river"]


def _rules(name):
    import importlib

    return importlib.import_module(f"domainclip.domains.{name}.tags").TAGS


@pytest.mark.parametrize(
    ("name", "metadata", "seen", "context"),
    [
        (
            "remote_sensing",
            {
                "tags": "natural=water;water=reservoir;highway=motorway;crop=maize",
                "sensor": "Sentinel-2",
                "month": 7,
                "country": "Peru",
            },
            {"open water", "a reservoir", "a motorway", "fields of maize"},
            {"recorded by Sentinel-2", "taken in July", "in Peru"},
        ),
        (
            "medical",
            {"stain": "Giemsa", "magnification": "100x", "sex": "F", "age": 61.0},
            set(),
            {"stained with Giemsa", "magnification 100x", "female patient", "age 61"},
        ),
        (
            "biology",
            {"lifeStage": "Larva", "sex": "male", "month": "07", "country": "Peru"},
            set(),
            {"a larva", "male", "seen in July", "found in Peru"},
        ),
    ],
)
def test_the_rules_of_a_domain_say_its_tags(name, metadata, seen, context):
    get_domain(name)
    records = tag_records(LABEL, metadata, _rules(name))
    assert {r.text for r in records if r.traits} == seen
    assert {r.text for r in records if not r.traits} == context


@pytest.mark.parametrize("name", ["biology", "medical", "remote_sensing"])
def test_no_rule_is_there_twice_or_says_a_brace(name):
    rules = _rules(name)
    keys = [(rule.key.lower(), rule.value.lower()) for rule in rules]
    assert len(set(keys)) == len(keys)
    for rule in rules:
        text = rule.say.replace("{key}", "").replace("{value}", "")
        assert text.strip() == " ".join(text.split()) or "{" in rule.say
        assert "{" not in text and (rule.value != "*" or "{value}" in rule.say)
