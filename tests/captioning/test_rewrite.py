"""Taking claims out of captions: the claim goes, all others stay, and the rest still reads."""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.captioning.rewrite import drop_claims
from domainclip.domains.registry import get_domain
from domainclip.knowledge.lexicon import Claim, Lexicon
from domainclip.knowledge.mentions import replace_names

sys.path.insert(0, str(Path(__file__).parent))
from lamps import LEXICON

BROKEN = re.compile(
    r"  |^\s|\s$| [,.;:]|,[,.;:]|,\s*(?:and|or)\s*,|\b(?:with|and|or|a|an|the|of|in|has)[,.;:]"
    r"|\b(?:with|and|or) (?:and|or|with)\b|\ba [aeio]|\ban [^aeiouh]|^(?:and|or|with|,)\b"
    r"|^[a-z]|\(\)|\b(a|an|the) (?:a|an|the)\b"
)


def said(text, lexicon=LEXICON):
    return Counter((c.trait, c.value, c.negated) for c in lexicon.claims(text))


def without(text, *gone, lexicon=LEXICON, noun="one"):
    claims = lexicon.claims(text)
    drop = [c for c in claims if c.value in gone]
    assert drop, f"{text!r} claims no {gone}: {[c.value for c in claims]}"
    return drop_claims(text, drop, keep=[c for c in claims if c not in drop], noun=noun)


@pytest.mark.parametrize(
    ("text", "gone", "rest"),
    [
        ("A lamp with tall red shades, no legs.", ["red"], "A lamp with tall shades, no legs."),
        ("A lamp with red shades and no legs.", ["red"], "A lamp with no legs."),
        ("A lamp with tall shades, a black rim and short legs.", ["short"],
         "A lamp with tall shades and a black rim."),
        ("A lamp with tall shades, a black rim and short legs.", ["black"],
         "A lamp with tall shades and short legs."),
        ("A lamp with tall shades, a black rim, dark cracks and short legs.", ["tall", "short"],
         "A lamp with a black rim and dark cracks."),
        ("A lamp with a black rim and short legs, on a bare desk.", ["black", "short"],
         "A lamp, on a bare desk."),
        ("The shades are red, with a black rim.", ["red"], "A black rim."),
        ("A tall red shade.", ["tall"], "A red shade."),
        ("It has tall orange shades.", ["tall"], "It has orange shades."),
        ("It has a tall orange shade.", ["tall"], "It has an orange shade."),
        ("A lamp (with a black rim) on a bare desk.", ["black"], "A lamp on a bare desk."),
        ("A lamp with red and green shades.", ["green"], "A lamp with red shades."),
        ("A lamp with red and green shades.", ["red"], "A lamp with green shades."),
        ("A lamp with a broad black band and short legs.", ["broad"], "A lamp with short legs."),
        ("Tall red shades, a black rim and no legs.", ["none"], "Tall red shades and a black rim."),
        ("A lamp. The shades are red. It has a black rim.", ["red"], "A lamp. It has a black rim."),
        ("Red shades.", ["red"], ""),
        ("A lamp with red shades; short legs.", ["short"], "A lamp with red shades."),
    ],
)  # fmt: skip
def test_a_claim_goes_and_the_rest_reads(text, gone, rest):
    assert without(text, *gone) == rest


def test_the_noun_stands_in_for_a_lost_subject():
    text = "A worn lamp with a black rim."
    assert without(text, "worn", noun="lamp") == "A lamp with a black rim."
    assert without(text, "worn") == "A black rim."


def test_nothing_dropped_is_nothing_touched():
    text = "Odd ,spacing  with (brackets ) and and ..."
    assert drop_claims(text, []) == text


@given(st.text(max_size=80), st.data())
def test_any_words_can_go_from_any_text(text, data):
    """It ends, breaks no word and adds none, whatever the text and the place."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    claim = Claim("t", "v", start, end, text[start:end], phrase=(start, end))
    rest = drop_claims(text, [claim])
    allowed = Counter(re.findall(r"\w+", text.lower())) + Counter({"a": 5, "an": 5, "and": 1})
    assert not Counter(re.findall(r"\w+", rest.lower())) - allowed


@pytest.mark.parametrize("name", ["biology", "medical", "remote_sensing"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.2, 0.5, 0.8]))
def test_captions_of_the_fields_keep_all_other_claims(name, seed, share):
    domain, lexicon = fields(name)
    rng = np.random.default_rng(seed)
    sheets = domain.builtin.sheets()
    sheet = sheets[int(rng.integers(len(sheets)))]
    traits = {**sheet.traits, **domain.builtin.individual(sheet, rng)}
    for text in domain.builtin.captions(traits, rng):
        text = text.replace("..", ".")
        claims = lexicon.claims(text)
        # claims that share words ("yellow" of "yellow spots") can only go together
        drop = {c for c in claims if rng.random() < share}
        drop |= {c for c in claims for d in drop if c.start < d.end and d.start < c.end}
        keep = [c for c in claims if c not in drop]
        rest = drop_claims(text, drop, keep=keep, noun=domain.noun)
        left = said(rest, lexicon)
        assert left == Counter((c.trait, c.value, c.negated) for c in keep), (text, rest)
        assert not BROKEN.search(rest), (text, rest)
        assert bool(rest) or not keep


_FIELDS = {}


def fields(name):
    if name not in _FIELDS:
        domain = get_domain(name)
        _FIELDS[name] = domain, Lexicon(domain.knowledge.words())
    return _FIELDS[name]


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("A Ardo magna with red shades.", "Ardo magna", "A lamp with red shades."),
        ("Ardo magna with red shades.", "Ardo magna", "A lamp with red shades."),
        ("The great lamp (Ardo magna) is red.", "Ardo magna", "The great lamp is red."),
        ("An Ardo magna lamp on a desk.", "Ardo magna", "A lamp on a desk."),
        ("This is Ardo magna.", "Ardo magna", "This is a lamp."),
    ],
)
def test_names_make_way_for_the_noun(text, name, rest):
    start = text.index(name)
    claim = Claim("name", name, start, start + len(name), name)
    assert replace_names(text, [claim], "lamp") == rest
