"""Text is cut into sentences and statements where a reader would cut it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainclip.knowledge.sentences import sentence_spans, split_sentences, split_statements


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there.", ["One here.", "Two there."]),
        ("It is 2.5 cm long. It flies.", ["It is 2.5 cm long.", "It flies."]),
        ("Seen by A. Smith in May. Rare.", ["Seen by A. Smith in May.", "Rare."]),
        ("Pale (cf. Fig. 2) below. Dark above!", ["Pale (cf. Fig. 2) below.", "Dark above!"]),
        ("Spots, e.g. Red ones, fade. Why?", ["Spots, e.g. Red ones, fade.", "Why?"]),
        ("Var. Alba is white.", ["Var. Alba is white."]),
        ('He wrote "red." Then blue.', ['He wrote "red."', "Then blue."]),
        ("a line\nanother line. And\tmore", ["a line", "another line.", "And more"]),
        ("about ca. 20 of them. ok", ["about ca. 20 of them. ok"]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


@given(st.text(alphabet="aB .,!\n\t(1)é", max_size=60))
def test_no_word_is_lost_between_sentences(text):
    assert " ".join(split_sentences(text)).split() == text.split()
    for span in sentence_spans(text):
        assert text[span.start : span.end].split() == span.text.split()


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        (
            "A fresh female with plain orange wings, a black margin and short tails, wings "
            "half open on a white sheet.",
            ["A fresh female", "plain orange wings", "a black margin", "short tails",
             "wings half open on a white sheet"],
        ),
        ("A bird with black and white wings.", ["A bird", "black and white wings"]),
        ("It has a large, round head.", ["It", "a large, round head"]),
        ("Rows of trees and a road grid; no water", ["Rows of trees", "a road grid", "no water"]),
        ("It does not have tails.", ["It does not have tails"]),
        ("Dark above, but pale below", ["Dark above", "pale below"]),
        ("Rounded, spotted wings", ["Rounded, spotted wings"]),
        ("First one. Second, two words here", ["First one", "Second", "two words here"]),
        ("", []),
    ],
)  # fmt: skip
def test_statements(text, statements):
    assert [span.text for span in split_statements(text)] == statements


@given(st.text(alphabet="ab ,.;\nand with", max_size=60))
def test_statements_are_stretches_of_the_text_in_order(text):
    spans = split_statements(text)
    assert all(text[span.start : span.end] == span.text != "" for span in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))
