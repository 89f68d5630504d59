"""Claims are read out of text at their exact places, and traits are said so that they are read."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainclip.domains.contract import TraitWords
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.knowledge.lexicon import Claim, Lexicon

DOMAINS = ("biology", "medical", "remote_sensing")
WORDS = TraitWords(
    phrases={
        "ground": {"red": ("red wings", "red moth"), "blue": ("blue wings",)},
        "shape": {"round": ("round wings",), "long": ("long narrow wings",)},
        "wear": {"worn": ("worn moth",)},
        "marks": {
            "banded": ("a broad {mark colour} band", "banded wings"),
            "none": ("no marks",),
        },
        "mark colour": {"white": ("white marks",), "pale blue": (), "none": ("no marks",)},
        "margin": {"spotted": ("a white-spotted black margin",), "black": ("a black margin",)},
        "tails": {"long": ("long tails",), "none": ("no tails",)},
        "rim": {"thin": ("a thin rim of felt",), "wide": ("wide felt",)},
        "felt": {"pink": ("pink felt",), "grey": ("grey felt",)},
        "eyes": {"one": ("an eyespot on each wing",)},
    },
    parts={
        "wing": ("wing", "wings"),
        "tail": ("tail",),
        "felt": ("felt",),
        "leg": ("leg",),
        "cap": ("cap",),
        "wing tip": ("wing tip",),
        "margin": ("margin",),
        "band": ("band",),
    },
    qualities={
        "colour": ("red", "green", "black", "white", "pale", "pale green", "yellow", "brown"),
        "shape": ("round", "hooked"),
    },
    hidden=("range", "found in", "sings"),
)
LEXICON = Lexicon(WORDS)


def read(text: str) -> list[tuple[str, str, str]]:
    return [(c.trait, c.value, c.text) for c in LEXICON.claims(text) if not c.negated]


def denied(text: str) -> list[tuple[str, str]]:
    return [(c.trait, c.value) for c in LEXICON.claims(text) if c.negated]


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("A red wing", [("ground", "red", "A red wing")]),
        ("Red wings!", [("ground", "red", "Red wings")]),
        ("red, round wings", [("ground", "red", "red"), ("shape", "round", "round")]),
        ("red and blue wings", [("ground", "red", "red"), ("ground", "blue", "blue")]),
        ("red-and-blue wings", [("ground", "red", "red"), ("ground", "blue", "blue")]),
        ("long narrow red wings",
         [("shape", "long", "long narrow"), ("ground", "red", "red")]),
        ("the wings are red", [("ground", "red", "the wings are red")]),
        ("wings that are round and mostly red",
         [("shape", "round", "round"), ("ground", "red", "mostly red")]),
        ("a very red wing", [("ground", "red", "a very red wing")]),
        ("a white-spotted black margin", [("margin", "spotted", "a white-spotted black margin")]),
        ("white spotted black margins", [("margin", "spotted", "white spotted black margins")]),
        ("a broad white band", [("marks", "banded", "a broad white band"),
                                ("mark colour", "white", "white")]),
        ("a broad pale blue band", [("marks", "banded", "a broad pale blue band"),
                                    ("mark colour", "pale blue", "pale blue")]),
        ("a thin rim of pink felt",
         [("rim", "thin", "thin rim of"), ("felt", "pink", "pink")]),
        ("an eyespot on each red wing",
         [("eyes", "one", "eyespot on each"), ("ground", "red", "red")]),
        ("green legs", [("leg colour", "green", "green legs")]),
        ("pale green legs", [("leg colour", "pale green", "pale green legs")]),
        ("yellow-brown legs", [("leg colour", "yellow-brown", "yellow-brown legs")]),
        ("bell-shaped caps", [("cap shape", "bell-shaped", "bell-shaped caps")]),
        ("green wings", [("wing colour", "green", "green wings")]),
        ("its legs are white and its caps hooked",
         [("leg colour", "white", "legs are white")]),
        ("a worn red moth", [("wear", "worn", "worn"), ("ground", "red", "red")]),
        ("This red moth flies", [("ground", "red", "red")]),
        ("red wing tips", [("wing tip colour", "red", "red wing tips")]),
        ("yellow-red wings", [("wing colour", "yellow-red", "yellow-red wings")]),
        ("it is red", []),
        ("red legs, wings", [("leg colour", "red", "red legs")]),
        ("", []),
    ],
)  # fmt: skip
def test_claims(text, claims):
    assert read(text) == claims


@pytest.mark.parametrize(
    ("text", "claims", "negated"),
    [
        ("no tails", [("tails", "none", "no tails")], []),
        ("without any tails", [("tails", "none", "without any tails")], []),
        ("it lacks tails", [("tails", "none", "lacks tails")], []),
        ("tails are absent", [("tails", "none", "tails are absent")], []),
        ("no marks or tails", [("marks", "none", "no marks"), ("mark colour", "none", "no marks"),
                               ("tails", "none", "tails")], []),
        ("no marks, red wings", [("marks", "none", "no marks"), ("mark colour", "none", "no marks"),
                                 ("ground", "red", "red wings")], []),
        ("no long tails", [], [("tails", "long")]),
        ("it does not have long tails or red wings", [], [("tails", "long"), ("ground", "red")]),
        ("wings are not red", [], [("ground", "red")]),
        ("not long tails but red wings", [("ground", "red", "red wings")], [("tails", "long")]),
        ("no tails in a red moth", [("tails", "none", "no tails"), ("ground", "red", "red")], []),
        ("without green legs, red wings", [("ground", "red", "red wings")],
         [("leg colour", "green")]),
    ],
)  # fmt: skip
def test_negation(text, claims, negated):
    found = LEXICON.claims(text)
    assert [(c.trait, c.value, c.text) for c in found if not c.negated] == claims
    assert denied(text) == negated


def test_a_claim_knows_its_noun_phrase():
    text = "It has a round, red wing and no tails."
    round_, red, tails = LEXICON.claims(text)
    phrase = (text.index("a round"), text.index(" and"))
    assert round_.phrase == red.phrase == phrase
    assert tails.phrase == (tails.start, tails.end)
    assert text[slice(*phrase)] == "a round, red wing"


VOCABULARY = sorted(
    {w for values in WORDS.phrases.values() for ways in values.values() for t in ways
     for w in t.replace("{mark colour}", "white").split()}
    | {"no", "are", "and", ",", ".", "-", "legs", "green", "or", "not", "that", "The", "is"}
)  # fmt: skip


@given(st.lists(st.sampled_from(VOCABULARY), max_size=14), st.sampled_from([" ", "-", "  "]))
def test_places_are_exact_and_order_is_that_of_the_text(words, space):
    text = space.join(words)
    claims = LEXICON.claims(text)
    for claim in claims:
        assert text[claim.start : claim.end] == claim.text.strip() != ""
        assert 0 <= claim.phrase[0] <= claim.start < claim.end <= claim.phrase[1] <= len(text)
    starts = [claim.phrase for claim in claims]
    assert starts == sorted(starts)
    assert claims == Lexicon(WORDS).claims(text)


def test_other_spellings_and_numbers_are_read_alike():
    words = TraitWords(phrases={"x": {"grey": ("a grey centre",)}})
    for text in ("gray centers", "A GREY CENTRE", "the grey center"):
        assert [c.value for c in Lexicon(words).claims(text)] == ["grey"]


def test_parts_are_named_but_not_what_is_rested_on():
    assert LEXICON.parts("Wings and a green wing tip without legs") == {"wing", "wing tip", "leg"}
    assert [m.negated for m in LEXICON.mentions("no legs, one cap")] == [True, False]
    assert LEXICON.parts("it rests on a cap, tail up") == {"tail"}
    (mention,) = LEXICON.mentions("Two Caps")
    assert mention == Claim("cap", "caps", 4, 8, "Caps", False, (4, 8))


def test_parts_of_other_groups_are_foreign():
    lexicon = Lexicon(get_domain("biology").knowledge.words())
    beetle = ("Animalia", "Arthropoda", "insecta", "Coleoptera", "", "Carabus")
    assert {"petal", "beak", "bark"} <= lexicon.foreign_parts(beetle).keys()
    assert not {"wing", "elytra", "antenna", "eye"} & lexicon.foreign_parts(beetle).keys()
    assert lexicon.foreign_parts(beetle)["beak"][0] == "Aves"
    assert "petal" not in lexicon.foreign_parts(("Viridiplantae", "Rosa"))
    assert lexicon.foreign_parts(("Rosa",)) == {}
    tree = LabelTree.from_columns({"group": ["Aves", "x"], "name": ["Parus", "Rosa"]})
    assert "beak" in lexicon.foreign_parts(("x", "Rosa"), tree)
    assert "petal" not in lexicon.foreign_parts(("x", "Rosa"), tree)
    for bare in (("Rosa",), ("", "Rosa")):  # of which it is not known what they are
        assert lexicon.foreign_parts(bare, tree) == {}
    assert LEXICON.foreign_parts(beetle) == {}


def test_say_fills_places_and_says_each_trait_once():
    said = LEXICON.say(
        {"ground": "red", "marks": "banded", "mark colour": "white", "tails": "none", "new": "x"}
    )
    assert said == {"ground": "red wings", "marks": "a broad white band", "tails": "no tails"}
    assert LEXICON.say({"marks": "banded", "mark colour": "none"}) == {
        "marks": "banded wings", "mark colour": "no marks",
    }  # fmt: skip
    assert LEXICON.say({"marks": "banded"}) == {"marks": "banded wings"}


def test_a_place_for_no_trait_is_refused():
    with pytest.raises(ValueError, match="has a place for 'nothing'"):
        Lexicon(TraitWords(phrases={"a": {"b": ("{nothing} legs",)}}))


def test_visual_sentences_score_above_hidden_ones():
    assert LEXICON.is_visual("The legs are green and the wings red.") > 0
    assert LEXICON.is_visual("It is found in the whole range.") < 0
    assert LEXICON.is_visual("Its green legs are 2 cm long and found in its range.") <= 0
    assert LEXICON.is_visual("Nothing of the kind.") == 0


def test_a_field_without_words_reads_nothing():
    assert Lexicon(TraitWords()).claims("red wings") == ()
    assert Lexicon(TraitWords()).say({"a": "b"}) == {}


def individuals(domain, count):
    """Traits of seeded individuals of every sheet."""
    for sheet in domain.builtin.sheets():
        for seed in range(count):
            rng = np.random.default_rng(seed)
            yield sheet, {**sheet.traits, **domain.builtin.individual(sheet, rng)}, rng


@pytest.fixture(scope="module", params=DOMAINS)
def field(request):
    domain = get_domain(request.param)
    assert domain.knowledge is not None
    return domain, Lexicon(domain.knowledge.words())


def test_claims_read_from_captions_are_true(field):
    """The captions say nothing false, so a false claim is a fault of the reading: none is borne."""
    domain, lexicon = field
    total, false = 0, []
    for _, traits, rng in individuals(domain, 8):
        for caption in domain.builtin.captions(traits, rng):
            for claim in lexicon.claims(caption):
                total += 1
                if claim.negated or traits.get(claim.trait) != claim.value:
                    false.append((claim, caption))
    assert total > 2000
    assert not false


def test_every_trait_that_a_description_says_is_read(field):
    """All but the values that no description ever says, of which there is one at most."""
    domain, lexicon = field
    said = {
        (trait, value)
        for sheet in domain.builtin.sheets()
        for text in domain.builtin.describe(sheet.traits)
        for trait, value in sheet.traits.items()
        if any((c.trait, c.value) == (trait, value) for c in lexicon.claims(text))
    }
    every = {item for sheet in domain.builtin.sheets() for item in sheet.traits.items()}
    assert every - said <= {("objects", "none")}
    for sheet in domain.builtin.sheets():
        for text in domain.builtin.describe(sheet.traits):
            found = {(c.trait, c.value) for c in lexicon.claims(text)}
            assert found == set(sheet.traits.items()) - {("objects", "none")}, text


def test_most_of_a_reference_caption_is_read(field):
    """A caption's own traits of the individual are read too: sex and wear, stain, season."""
    domain, lexicon = field
    always = {
        "biology": {"sex", "wear", "pose", "background", "tails"},
        "medical": {"area", "stain", "size", "outline", "cytoplasm"},
        "remote_sensing": {"season", "ground", "texture"},
    }[domain.name]
    for _, traits, rng in individuals(domain, 2):
        caption = domain.builtin.captions(traits, rng)[0]
        assert always <= {claim.trait for claim in lexicon.claims(caption)}, caption


def test_everything_that_can_be_said_is_read_back(field):
    _, lexicon = field
    for trait, values in lexicon.words.phrases.items():
        for value, ways in values.items():
            for way in ways:
                if "{" not in way:
                    read_back = {(c.trait, c.value) for c in lexicon.claims(f"It shows {way}.")}
                    assert (trait, value) in read_back, way


def test_no_word_is_in_two_parts_or_two_kinds(field):
    _, lexicon = field
    for lists in (lexicon.words.parts, lexicon.words.qualities):
        words = [word for said in lists.values() for word in said]
        assert len(words) == len(set(words))
        assert len(words) >= 200


def test_reading_is_fast(field):
    """Measured: 25,000 captions a second; a tenth of that leaves room for a busy machine."""
    domain, lexicon = field
    captions = [c for _, t, rng in individuals(domain, 2) for c in domain.builtin.captions(t, rng)]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for caption in captions:
            lexicon.claims(caption)
        seconds.append(time.perf_counter() - start)
    assert len(captions) / min(seconds) > 2500


@pytest.mark.parametrize(
    ("text", "limited"),
    [
        ("Yellow wings in the Males.", True),
        ("Wings in winter plumage are grey.", True),
        ("Its wings may be green.", True),
        ("Sometimes it has red legs.", True),
        ("It has red legs and a mayor's hat.", False),
        ("It is found in winters of war.", False),
    ],
)
def test_sentences_about_some_individuals_are_told(text, limited):
    lexicon = Lexicon(TraitWords(some=("male", "winter plumage")))
    assert lexicon.is_limited(text) is limited
