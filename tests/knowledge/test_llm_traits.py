"""A language model's statements count only where the text bears them out."""

from __future__ import annotations

import json

import pytest

from domainclip.domains.contract import TraitWords
from domainclip.endpoints.questions import Reply
from domainclip.knowledge.lexicon import Lexicon
from domainclip.knowledge.llm_traits import MAX_CHARS, extract_with_model, parse_statements
from domainclip.knowledge.records import Record

LEXICON = Lexicon(
    TraitWords(
        parts={"wing": ("wing", "forewing"), "leg": ("leg",)},
        qualities={"colour": ("red", "green", "black")},
        hidden=("found in",),
    )
)
TEXT = "The wings are red\n with black veins. It is found in hills. The legs are green."
RED = {"sentence": "The wings are red with black veins.", "trait": "red forewings"}
GREEN = {"sentence": "The legs are green.", "trait": "green legs"}


def record(text=TEXT, name="Rosa"):
    return Record(label=("Plantae", name), subject=("Plantae", name), source="table",
                  text=text, revision="7")  # fmt: skip


class Scripted:
    """Answers every question by one text, last question first."""

    def __init__(self, text="", **more):
        self.text, self.more, self.asked = text, more, []

    def ask_many(self, questions):
        self.asked = list(questions)
        for question in reversed(self.asked):
            yield Reply(id=question.id, text=self.text, **self.more)


def extract(text, *records, **more):
    return list(extract_with_model(records or [record()], Scripted(text, **more), LEXICON))


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps([RED, GREEN]),
        f"Here you are:\n```json\n{json.dumps([RED, GREEN], indent=1)}\n```\nDone [as asked].",
        json.dumps({"traits": [RED, GREEN], "note": "x"}),
        json.dumps([RED, GREEN])[:-1] + ', {"sentence": "The legs',
        json.dumps(RED) + "\n" + json.dumps(GREEN),
        '{"traits": [' + json.dumps(RED) + ", " + json.dumps(GREEN) + ', {"sent',
    ],
    ids=["list", "fenced", "wrapped", "cut", "lines", "wrapped and cut"],
)
def test_answers_are_read_however_they_are_wrapped(answer):
    (found,) = extract(answer)
    assert [t.text for t in found.record.traits] == ["red forewings", "green legs"]
    assert found.by_model and found.reason == ""
    trait = found.record.traits[0]
    assert (trait.sentence, trait.source, trait.revision) == (RED["sentence"], "table", "7")


@pytest.mark.parametrize(
    "statement",
    [
        {"sentence": "The wings are blue.", "trait": "red wings"},
        {"sentence": "The wings are red with black veins.", "trait": "green wings"},
        {"sentence": "The legs are green.", "trait": "slender and pretty"},
        {"sentence": "It is found in hills.", "trait": "legs found in hills"},
        {"sentence": "red", "trait": "red wings"},
        {"sentence": "The legs are green.", "trait": "green legs " * 9},
        {"sentence": "The legs are green.", "trait": " "},
    ],
    ids=["no such sentence", "other colour", "nothing to see", "hidden", "a word for a sentence",
         "too long", "empty"],
)  # fmt: skip
def test_a_statement_that_the_text_does_not_bear_out_is_dropped(statement):
    (found,) = extract(json.dumps([GREEN, statement]))
    assert [t.text for t in found.record.traits] == ["green legs"]
    assert found.by_model
    assert found.reason == "dropped 1 of 2 statements of the model"


@pytest.mark.parametrize(
    ("answer", "more", "reason"),
    [
        ("I'm sorry, I cannot help with that.", {}, "the model declined"),
        ("", {"finish_reason": "refusal"}, "the model declined"),
        ("The wings are red.", {}, "the answer holds no JSON list"),
        ('[{"sent', {}, "the answer holds no JSON list"),
        ("[1, 2]", {}, "the answer holds no JSON list"),
        ("", {"error": "no answer within 60 s"}, "no answer within 60 s"),
        (
            json.dumps([{"sentence": "The tail is red.", "trait": "red tail"}]),
            {},
            "none of 1 statements of the model is borne out by the text",
        ),
    ],
)
def test_without_a_usable_answer_the_words_find_the_traits(answer, more, reason):
    (found,) = extract(answer, **more)
    assert [t.text for t in found.record.traits] == ["the wings are red", "the legs are green"]
    assert (found.by_model, found.reason) == (False, reason)


def test_an_empty_list_is_an_answer():
    (found,) = extract("Nothing: []")
    assert found.record.traits == () and found.by_model and found.reason == ""
    assert parse_statements("[]") == []
    assert parse_statements("see [1] and {x}") is None


def test_answers_find_their_records_in_any_order():
    records = [record(name="Rosa"), record(text="The legs are green.", name="Salix")]
    asker = Scripted(json.dumps([RED, GREEN]))
    found = list(extract_with_model(records, asker, LEXICON, limit=1))
    assert [f.record.label[-1] for f in found] == ["Salix", "Rosa"]
    assert [[t.text for t in f.record.traits] for f in found] == [["green legs"], ["red forewings"]]
    assert "about Rosa" in asker.asked[0].messages[0]["content"]


def test_a_long_text_is_cut_after_a_sentence_and_braces_do_no_harm():
    asker = Scripted("[]")
    list(extract_with_model([record("A {b} sentence. " * 2000)], asker, LEXICON))
    sent = asker.asked[0].messages[0]["content"]
    assert sent.endswith("A {b} sentence.") and len(sent) < MAX_CHARS + 1000


def test_records_are_pulled_only_as_they_are_asked():
    pulled = []

    def records():
        for number in range(100):
            pulled.append(number)
            yield record()

    class Slow:
        def ask_many(self, questions):
            for question in questions:
                yield Reply(id=question.id, text="[]")

    stream = extract_with_model(records(), Slow(), LEXICON)
    next(stream)
    next(stream)
    assert len(pulled) == 2
