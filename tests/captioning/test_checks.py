"""Checks of captions: each on what it is for and on what it must let pass."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from domainclip.captioning.checks import CHECKS, Checks, check_caption
from domainclip.captioning.checks.claims import values_nearby
from domainclip.captioning.checks.excerpt import longest_run
from domainclip.captioning.checks.text import guess_language
from domainclip.captioning.requests import Prompt
from domainclip.domains.contract import CaptionStyle

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import caption_checks
from lamps import LEXICON, NAMES, TREE, context, request, sets

TABLE = {check.__name__.removeprefix("check_"): check for check in CHECKS}


def outcome(check, text, **rest):
    return TABLE[check](context(text, **rest)).outcome


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("empty", ""),
        ("empty", " ... 12 !"),
        ("garbled", "V"),
        ("garbled", "a b c d"),
        ("garbled", "Red\x00 lamp with a rim"),
        ("garbled", "Red\x1f lamp with a rim"),
        ("garbled", "Red lamp \x9b\x07\x02 rim"),
        ("garbled", "red lamp ##### @@@@@ ~~~~~ ====="),
        ("garbled", "��� �� lamp �� red ���� ���"),
        ("refusal", "I'm sorry, but I can't help with that."),
        ("refusal", "As an AI language model, I describe only pictures."),
        ("refusal", "There is no image attached to your message."),
        ("refusal", "I am unable to see the picture."),
        ("refusal", "Please provide an image."),
        ("loop", "a red lamp a red lamp a red lamp a red lamp"),
        ("loop", "The shade is red. The shade is red. The shade is red."),
        ("loop", "lamp red red red red"),
        ("language", "Eine Lampe mit einem roten Schirm und der Rand ist schwarz."),
        ("language", "Une lampe avec des ombres sur le bureau."),
        ("language", "Лампа с красным абажуром"),
        ("language", "红色的灯"),
    ],
)
def test_bad_texts_are_rejected(check, text):
    assert outcome(check, text) == "reject"
    assert check_caption(context(text)).outcome == "rejected"


@pytest.mark.parametrize(
    "text",
    [
        "A lamp with red shades, a black rim and no legs.",
        "Red shades.",
        "Black wings.",
        "Red-rimmed",
        "Two lamps (c. 30 % of the wall),\nblack & red…",
        "Épée à l’œil, 5 × 3",
        "A lamp that is not sorry: a help for the eye, red, red and red again.",
        "The rim is black and the foot is black and the shade is red.",
        "A very very tall lamp under a dark sky.",
        "Lampe rouge, Ardo magna.",
    ],
)
def test_plain_texts_pass_the_checks_of_texts(text):
    for check in ("empty", "garbled", "refusal", "loop", "language"):
        assert outcome(check, text) == "pass", check


def test_languages_are_guessed_only_where_they_can_be():
    assert guess_language("black wings") == ""
    assert guess_language("The lamp is on the desk.") == "en"
    assert guess_language("De lamp staat op het bureau en dat is van hem.") == "nl"
    assert guess_language("これは赤いランプです") == "Kana"
    assert (
        outcome("language", "Die Lampe ist rot und der Rand ist schwarz.", language="de") == "pass"
    )
    assert outcome("language", "The lamp is on the desk.", language="ru") == "reject"
    assert outcome("language", "赤いランプです", language="ja") == "pass"


def test_short_captions_of_other_scripts_are_no_garble():
    for text in ("赤いランプです", "红色的灯", "โคมไฟสีแดง", "लाल दीपक", "빨간 램프", "مصباح أحمر"):
        assert outcome("garbled", text) == "pass", text
    assert outcome("garbled", "红灯") == "reject"


def test_length_is_flagged_with_what_is_cut():
    verdict = TABLE["length"](
        context("one two three four five", max_tokens=3, count_tokens=lambda t: len(t.split()))
    )
    assert (verdict.outcome, "2 more" in verdict.reason) == ("flag", True)
    fits = context("one two", max_tokens=3, count_tokens=lambda t: len(t.split()))
    assert TABLE["length"](fits).outcome == "pass"


def test_copies_are_flagged_and_whole_copies_rejected():
    page = "The great lamp stands on short legs in every hall of the old town since long ago."
    copied = "Stands on short legs in every hall of the old town."
    assert len(longest_run(copied, page)) == 11
    assert outcome("copied", copied, excerpt=page) == "reject"
    mixed = f"A red lamp with dark cracks and a black rim that, {copied.lower()}"
    assert outcome("copied", mixed, excerpt=page) == "flag"
    assert outcome("copied", "The great lamp has short legs.", excerpt=page) == "pass"
    assert outcome("copied", copied) == "pass"


@pytest.mark.parametrize("text", ["Ardo magna with red shades.", "An A. magna.", "The great lamp."])
def test_names_that_are_not_to_be_said_are_taken_out(text):
    verdict = TABLE["names"](context(text, names="omit"))
    assert verdict.outcome == "drop-claim"
    checked = check_caption(context(f"{text} It has a black rim on legs of steel.", names="omit"))
    assert checked.outcome == "rewritten"
    assert not {"ardo", "magna", "great"} & {*checked.text.lower().replace(".", "").split()}


def test_a_name_policy_notes_what_is_not_said():
    assert outcome("names", "A lamp.", names="say") == "flag"
    assert outcome("names", "A lamp.", names="omit") == "pass"
    assert outcome("names", "A lamp.") == "pass"
    assert outcome("names", "An Ardo magna.", names="say") == "pass"


def test_an_ordinary_word_is_no_name():
    """The label's common name is "small white"; "small black shades" and the like are traits."""
    text = "A lamp with small white shades."
    claims = [c.text for c in LEXICON.claims("A lamp with small black shades.")]
    assert claims == ["small", "black"]
    assert outcome("names", text, name="Ardo minor", names="omit") == "pass"
    assert outcome("names", "A Small White.", name="Ardo minor", names="omit") == "drop-claim"


def test_names_of_other_labels_are_taken_out():
    checked = check_caption(context("A Belis alta with red shades on a bare desk."))
    assert checked.text == "A lamp with red shades on a bare desk."
    assert outcome("names", "An Ardo magna, of the Ardo kind.") == "pass"


def test_contradictions_are_dropped_and_the_rest_stays():
    checked = check_caption(
        context("A lamp with tall red shades, a black rim and no legs.", known=sets(colour="green"))
    )
    assert checked.text == "A lamp with tall shades, a black rim and no legs."
    assert (checked.outcome, [c.value for c in checked.dropped]) == ("rewritten", ["red"])
    assert {
        "check": "contradiction",
        "outcome": "drop-claim",
        "reason": "'red': colour is green",
    } in checked.notes


def test_every_known_value_may_be_said():
    known = sets(colour={"red", "green"})
    assert outcome("contradiction", "A lamp with red shades.", known=known) == "pass"
    assert outcome("contradiction", "A lamp with orange shades.", known=known) == "drop-claim"


def test_a_denied_claim_contradicts_only_what_is_known_to_be_so():
    claims = LEXICON.claims("A lamp without red shades.")
    assert [c.negated for c in claims] == [True]
    text = "A lamp without red shades."
    assert outcome("contradiction", text, known=sets(colour="red")) == "drop-claim"
    assert outcome("contradiction", text, known=sets(colour="green")) == "pass"


def test_what_is_not_there_has_no_qualities():
    known = sets(legs="none")
    verdict = TABLE["contradiction"](context("A lamp with short red legs.", known=known))
    assert {c.value for c in verdict.claims} == {"short", "red"}


def test_claims_that_hang_on_a_dropped_one_are_named():
    checked = check_caption(
        context("A lamp with a broad white band and a black rim.", known={"band colour": {"black"}})
    )
    assert checked.text == "A lamp with a broad band and a black rim."
    assert {c.trait for c in checked.dropped} == {"band", "band colour"}
    (note,) = [n for n in checked.notes if n["check"] == "contradiction"]
    assert "'a broad white band' is no longer said" in note["reason"]


def test_parts_of_other_groups_are_dropped():
    text = "A lamp with a large blue foot and a black rim."
    checked = check_caption(context(text))
    assert checked.text == "A lamp with a black rim."
    assert "only standing can have it" in str(checked.notes)
    assert check_caption(context(text, name="Belis alta")).text == text


def test_values_of_no_label_nearby_are_dropped_where_nothing_is_known():
    can_have = sets(colour={"green", "orange"})
    text = "A lamp with red shades and a black rim."
    assert check_caption(context(text, can_have=can_have)).text == "A lamp with a black rim."
    assert check_caption(context(text, can_have=can_have, known=sets(colour="red"))).text == text


def test_unknown_claims_are_flagged_or_dropped_when_strict():
    text = "A lamp with red shades and a black rim on a steel pole."
    known = sets(colour="red")
    flagged = check_caption(context(text, known=known))
    assert (flagged.text, flagged.outcome) == (text, "kept")
    assert [n["check"] for n in flagged.notes] == ["unsupported"]
    strict = check_caption(context(text, known=known, strict=True))
    assert strict.text == "A lamp with red shades on a steel pole."


def test_a_caption_of_which_nothing_is_left_is_rejected():
    checked = check_caption(context("A lamp with red shades.", known=sets(colour="green")))
    assert (checked.text, checked.outcome) == ("", "rejected")
    assert checked.notes[-1]["check"] == "empty"


def test_what_the_lexicon_cannot_read_stays():
    text = "A lamp with red shades beside a rusty gate."
    checked = check_caption(context(text, known=sets(colour="green")))
    assert checked.text == "A lamp beside a rusty gate."


def test_verdicts_of_all_checks_are_told_once():
    checked = check_caption(context("A lamp on a bare desk, a bit of a mess."))
    assert len({v.check for v in checked.verdicts}) == len(checked.verdicts) == len(CHECKS)


class Knowledge:
    """Knows one colour a label, and that most have legs."""

    lexicon = LEXICON
    open = frozenset()

    def __init__(self, known):
        self.facts = {TREE.find(name)[0]: sets(**traits) for name, traits in known.items()}
        self.asked = Counter()

    def known(self, node):
        self.asked[node] += 1
        return self.facts.get(node, {})

    def open_traits(self, node):
        return self.open if node == TREE.find(NAMES[0])[0] else frozenset()


def test_values_nearby_need_two_witnesses_and_three_labels():
    facts = {name: {"colour": "red"} for name in NAMES[2:5]}
    node = TREE.find("Belis dura")[0]
    assert values_nearby(Knowledge(facts).known, TREE, node) == sets(colour="red")
    facts["Belis pura"] = {"colour": "green"}
    assert values_nearby(Knowledge(facts).known, TREE, node) == sets(colour="red")
    del facts["Belis alta"]
    assert values_nearby(Knowledge(facts).known, TREE, node) == {}
    facts |= {name: {"colour": "orange"} for name in NAMES[:2]}  # the root has enough of them
    assert values_nearby(Knowledge(facts).known, TREE, node) == sets(colour="orange")
    own = facts | {"Belis dura": {"colour": "white"}}
    assert values_nearby(Knowledge(own).known, TREE, node) == {}


def test_checks_gather_what_is_known_once_a_label():
    known = Knowledge({name: {"colour": "green"} for name in NAMES})
    style = CaptionStyle(role="r", goal="g", attend=(), names="omit")
    checks = Checks(TREE, known, style=style, noun="lamp")
    for _ in range(3):
        checked = checks(request(), "An Ardo magna with red shades and a black rim.")
        assert checked.text == "A lamp with a black rim."
    assert set(known.asked.values()) == {1}


def test_what_is_told_of_some_individuals_is_no_impossible_value():
    known = Knowledge({name: {"colour": "green"} for name in NAMES[1:]})
    style = CaptionStyle(role="r", goal="g", attend=())
    text = "A lamp with red shades and a black rim."
    assert "red" not in Checks(TREE, known, style=style)(request(), text).text
    known.open = frozenset({"colour"})
    assert Checks(TREE, known, style=style)(request(), text).text == text


def test_only_what_was_shown_can_be_copied():
    checks = Checks(TREE, Knowledge({}), style=CaptionStyle(role="r", goal="g", attend=()))
    text = "It stands on short legs in every hall of the old town."
    assert checks(request(), text).outcome == "kept"
    assert checks(request(prompt=Prompt((), "d", "Another text.")), text).outcome == "kept"
    assert checks(request(prompt=Prompt((), "d", text)), text).outcome == "rejected"


@pytest.mark.parametrize("name", ["biology", "medical", "remote_sensing"])
def test_checks_raise_the_precision_of_a_captioner_that_errs(name):
    """The benchmark on few pictures; the floors are lower, as few pictures scatter."""
    domain = caption_checks.get_domain(name)
    result = caption_checks.run(domain, pictures=120, seed=0, strict=False)
    assert result.sheet.before < 0.82
    assert result.sheet.after >= 0.93
    assert result.sheet.kept >= 0.6
    assert result.individual.after == result.individual.before
    strict = caption_checks.run(domain, pictures=60, seed=0, strict=True)
    assert strict.sheet.after >= 0.95 and strict.sheet.kept >= 0.6
    assert strict.individual.true_after + strict.individual.wrong_after == 0
