"""The bank says what is known of a label and no more, in as many ways as there are seeds."""

from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from domainclip.captioning.bank import BATCH, BankCaptioner
from domainclip.captioning.requests import Request
from domainclip.captioning.statements import join_statements, read_statement
from domainclip.data.images import UnreadableImage
from domainclip.domains.contract import CaptionStyle, TraitWords
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.knowledge.counting import add_article
from domainclip.knowledge.lexicon import Lexicon
from domainclip.knowledge.records import Record, Trait
from domainclip.knowledge.traits import sheet_traits
from domainclip.model.clip import DomainClip, Preprocess

BUNDLED = ("biology", "medical", "remote_sensing")
COLOURS = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}
PARTS = ["a red rim", "green legs", "blue spots"]


class ColourClip(DomainClip):
    """Sees the mean colour of a picture and reads the colour words of a text."""

    def __init__(self, weight=0.0):
        nn.Module.__init__(self)
        self.preprocess = Preprocess(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.heads = nn.ModuleDict({"names": nn.Identity(), "captions": nn.Identity()})
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.texts, self.batches, self.heads_used = [], [], set()

    def tokenize(self, texts, head="names"):
        self.texts += texts
        found = [[COLOURS[w] for w in t.lower().strip(".").split() if w in COLOURS] for t in texts]
        return torch.tensor(np.array([np.sum(f, 0) if f else (0.1,) * 3 for f in found])).float()

    def encode_text(self, tokens, normalize=True):
        return functional.normalize(tokens, dim=-1)

    def encode_image(self, pixels, head="names", normalize=True):
        self.batches.append(len(pixels))
        self.heads_used.add(head)
        return functional.normalize(pixels.mean((2, 3)), dim=-1)


@pytest.fixture(scope="module")
def domain():
    """A field of lamps: built on another one, with its own labels, noun and words."""
    tree = LabelTree.from_columns(
        {"kind": ["hanging", "standing"], "lamp": ["Ardo", "Belis"]}, common=["tall lamp", None]
    )
    good = get_domain("medical")
    sheets = tuple(
        replace(good.builtin.sheets()[0], label=tree.key(int(leaf))) for leaf in tree.leaves
    )
    builtin = replace(good.builtin, sheets=lambda: sheets)
    return replace(good, name="lamps", noun="lamp", labels=lambda: tree, builtin=builtin)


WORDS = TraitWords(
    phrases={
        "rim": {"red": ("a red rim", "a red border", "red rim"), "blue": ("a blue rim",)},
        "legs": {"green": ("green legs",), "none": ("no legs", "legless")},
        "spots": {"blue": ("blue spots",)},
        "height": {"tall": ("tall lamp",)},
        "foot": {"round": ("a round foot",), "square": ("a square foot",)},
        "foot size": {"large": ("a large foot",)},
    },
    qualities={"colour": ("red", "green", "blue"), "size": ("large", "small")},
)


def make(domain, model=None, **rest):
    return BankCaptioner(model, Lexicon(WORDS), domain=domain, tree=domain.labels(), **rest)


def ask(domain, texts, seed=0, name="Ardo", picture=None, id="a"):
    node = domain.labels().find(name)[0]
    traits = tuple(Trait(text=text, sentence=text, source="table") for text in texts)
    label = domain.labels().key(node)
    return Request(id, node, label, picture or (lambda: None), seed, traits=traits)


def texts(bank, domain, statements, n=200, **rest):
    written = list(bank.write(ask(domain, statements, seed, **rest) for seed in range(n)))
    assert not [w.error for w in written if w.error]
    return [w.text for w in written]


# joining


@pytest.mark.parametrize(
    ("text", "said", "kind"),
    [
        ("a black rim", "a black rim", "part"),
        ("Black rim.", "black rim", "part"),
        ("has a black rim", "a black rim", "part"),
        ("It has green legs", "green legs", "part"),
        ("lacks a foot", "no foot", "part"),
        ("without any legs", "no legs", "part"),
        ("a tall lamp", "tall lamp", "look"),
        ("large round lamp", "large round lamp", "look"),
        ("the foot is green", "a green foot", "part"),
        ("its legs are long, thin", "long, thin legs", "part"),
        ("the foot of it is green", "the foot of it is green", "clause"),
        ("the legs are absent", "the legs are absent", "clause"),
        ("the foot and rim are green", "the foot and rim are green", "clause"),
        ("spots that are blue", "spots that are blue", "part"),
        ("the rim of the lamp", "the rim of the lamp", "part"),
    ],
)
def test_statements_are_sorted_by_how_they_enter_a_sentence(text, said, kind):
    statement = read_statement(text, "desk lamp")
    assert (statement.text, statement.kind) == (said, kind)


@pytest.mark.parametrize("scrap", ["", " . ", "are green", "and green", "of the rim", "a rim with"])
def test_scraps_are_left_out(scrap):
    assert read_statement(scrap, "lamp") is None


@pytest.mark.parametrize(
    ("rest", "caption"),
    [
        ({}, "A lamp with a red rim, green legs and no spots."),
        ({"frame": "has"}, "This lamp has a red rim, green legs and no spots."),
        ({"frame": "showing"}, "A lamp showing a red rim, green legs and no spots."),
        ({"frame": "list"}, "A red rim, green legs and no spots."),
        ({"noun": ""}, "A red rim, green legs and no spots."),
        ({"form": "line", "frame": "has"}, "A lamp with a red rim, green legs and no spots"),
        ({"name": "Ardo"}, "Ardo, a lamp with a red rim, green legs and no spots."),
        (
            {"name": "Ardo", "frame": "has"},
            "Ardo: this lamp has a red rim, green legs and no spots.",
        ),
        ({"name": "Ardo", "noun": ""}, "Ardo with a red rim, green legs and no spots."),
        ({"name": "Ardo", "frame": "list"}, "Ardo: a red rim, green legs and no spots."),
    ],
)  # fmt: skip
def test_frames_names_and_forms(rest, caption):
    parts = [read_statement(t, "lamp") for t in ("a red rim", "green legs", "no spots")]
    assert join_statements(parts, **{"noun": "lamp", **rest}) == caption


def joined(*said, **rest):
    return join_statements([read_statement(t, "lamp") for t in said], noun="lamp", **rest)


def test_adjectives_of_one_noun_are_said_once():
    places = {"large": -1, "red": 1}
    assert joined("tall lamp", "round lamp", "a rim") == "A tall round lamp with a rim."
    assert joined("a red rim", "an oval rim", places=places) == "A lamp with an oval red rim."
    assert joined("red shades", "no red shades") == "A lamp with red shades and no red shades."
    assert joined("an oval rim", "a large rim", places=places) == "A lamp with a large oval rim."
    assert (
        joined("a red rim", "an oval rim", merge=False) == "A lamp with a red rim and an oval rim."
    )
    assert joined("old lamp") == "An old lamp."


def test_clauses_stand_by_themselves():
    assert joined("a rim", "foot and cord are red") == "A lamp with a rim; foot and cord are red."
    assert joined("foot and cord are red", form="line") == "Foot and cord are red"
    dense = joined(
        "a rim", "foot and cord are red", "legs", "spots", "no tail", "hooks", form="dense"
    )
    assert (
        dense == "A lamp with a rim, legs, spots and no tail. It has hooks. Foot and cord are red."
    )


# drawing


def test_one_seed_is_one_caption_and_many_seeds_are_many(domain):
    statements = [*PARTS, "tall lamp", "a round foot"]
    bank = make(domain)
    first, again = (texts(bank, domain, statements) for _ in range(2))
    assert first == again
    assert len(set(first)) > 100
    assert first == texts(make(domain), domain, statements)


def test_captions_differ_in_length_order_and_wording(domain):
    written = list(make(domain).write(ask(domain, PARTS, seed) for seed in range(300)))
    assert {len(w.details["statements"]) for w in written} == {2, 3}
    assert {tuple(w.details["statements"]) for w in written} >= {
        ("a red rim", "green legs"),
        ("green legs", "a red rim"),
    }
    said = Counter(way for w in written for way in ("red rim", "red border") if way in w.text)
    assert 0 < said["red border"] < said["red rim"]
    starts = Counter(w.text.split()[0] for w in written)
    assert starts["A"] and starts["This"] and starts["Green"]


def test_a_wording_without_its_article_is_not_used(domain):
    assert not any(" with red rim" in text for text in texts(make(domain), domain, PARTS))
    assert not any("legless" in t for t in texts(make(domain), domain, ["no legs", "a red rim"]))


def test_a_single_statement_is_a_caption(domain):
    assert set(texts(make(domain), domain, ["a round foot"])) == {
        "A lamp with a round foot.", "This lamp has a round foot.", "A round foot.",
        "A lamp showing a round foot.",
    }  # fmt: skip


def test_statements_that_contradict_each_other_never_meet(domain):
    said = texts(make(domain), domain, ["a round foot", "a square foot", "a red rim", "a blue rim"])
    assert any("round" in t for t in said) and any("square" in t for t in said)
    assert not any("round" in t and "square" in t for t in said)
    assert not any("red" in t and "blue" in t for t in said)


def test_what_is_said_twice_is_said_once(domain):
    said = texts(make(domain), domain, ["a red rim", "A red rim", "a red border", "green legs"])
    assert not any(t.lower().count("red") > 1 for t in said)


@pytest.mark.parametrize("blank", ["", "nan", "N/A"])
def test_nothing_known_is_said_and_no_caption_is_made_up(domain, blank):
    (written,) = make(domain).write([ask(domain, [blank], name="Belis")])
    assert (written.text, written.error) == ("", "nothing is known of standing > Belis")


def test_what_a_group_is_known_for_is_said_only_of_labels_without_more(domain):
    request = ask(domain, ["a red rim", "green legs"])
    of_group = Record(
        label=request.label, subject=("hanging",), source="page", text="", traits=request.traits
    )
    own = Trait(text="blue spots", sentence="", source="table")
    (written,) = make(domain).write([replace(request, records=(of_group,))])
    assert written.details["about"] == "hanging" and "red rim" in written.details["statements"][0]
    both = replace(request, records=(of_group,), traits=(*request.traits, own))
    (written,) = make(domain).write([both])
    assert written.details == {"statements": ["blue spots"]}


def test_length_and_form_are_kept(domain):
    statements = [*PARTS, "tall lamp", "a round foot"]
    for limit in (4, 8):
        said = texts(make(domain, max_words=limit), domain, statements)
        assert max(len(t.split()) for t in said) <= limit
    assert not any(t.endswith(".") for t in texts(make(domain, form="line"), domain, statements))
    (written,) = make(domain, max_words=1).write([ask(domain, statements)])
    assert "longer than 1 words" in written.error


def test_a_style_decides_where_nothing_else_does(domain):
    style = CaptionStyle(role="", goal="", attend=(), names="say", max_words=12)
    bank = make(domain, style=style)
    assert bank.settings == {
        "choice": "seeded choice", "form": "sentence", "names": "say", "max_words": 12,
    }  # fmt: skip
    assert make(domain, style=style, form="line").settings["max_words"] == 6
    assert make(domain, style=style, names="omit", max_words=9).settings["max_words"] == 9


def test_names_are_said_or_left_out(domain):
    said = texts(make(domain, names="say"), domain, PARTS)
    assert all("Ardo" in t or "Tall lamp" in t for t in said)
    assert {"Ardo" in t for t in said} == {True, False}
    assert not any("Ardo" in t for t in texts(make(domain), domain, PARTS))
    given = ["a rim like that of Ardo", "a red rim"]
    assert not any("Ardo" in t for t in texts(make(domain), domain, given))
    # words of what is seen are no name, even where a label is called so
    assert any("all lamp" in t for t in texts(make(domain), domain, ["tall lamp", "a red rim"]))


def test_the_noun_is_said_only_where_it_holds():
    domain = get_domain("biology")
    tree = LabelTree.from_columns(
        {
            "class": ["Insecta", "Insecta", "Aves"],
            "order": ["Lepidoptera", "Lepidoptera", "Corvida"],
            "family": ["Nymphalidae", "Sphingidae", "Corvidae"],
        }
    )
    bank = BankCaptioner(None, Lexicon(domain.knowledge.words()), domain=domain, tree=tree)
    traits = tuple(Trait(text=t, sentence=t, source="x") for t in ("a black margin", "dark veins"))

    def said(name):
        node = tree.find(name)[0]
        requests = (Request("a", node, tree.key(node), lambda: None, s, traits=traits)
                    for s in range(50))  # fmt: skip
        return " ".join(w.text for w in bank.write(requests)).lower()

    assert "butterfly" in said("Nymphalidae")
    assert "butterfly" not in said("Sphingidae") and "butterfly" not in said("Corvidae")


def test_without_a_model_no_picture_is_read_and_requests_are_taken_one_by_one(domain):
    def refuse():
        raise AssertionError("a picture was read")

    taken = []

    def endless():
        for i in count():
            taken.append(i)
            yield ask(domain, PARTS, i, picture=refuse)

    stream = make(domain).write(endless())
    next(stream), next(stream)
    assert taken == [0, 1]


# the truth


@pytest.mark.parametrize("names", ["omit", "say"])
@pytest.mark.parametrize("form", ["line", "sentence", "dense"])
@pytest.mark.parametrize("domain_name", BUNDLED)
def test_captions_claim_nothing_that_the_sheet_does_not_say(domain_name, form, names):
    domain = get_domain(domain_name)
    tree, lexicon = domain.labels(), Lexicon(domain.knowledge.words())
    bank = BankCaptioner(None, lexicon, domain=domain, tree=tree, form=form, names=names)
    told = Counter()
    for sheet in domain.builtin.sheets():
        node = tree.node(sheet.label)
        traits = sheet_traits(domain, tree, node)
        requests = [
            Request("a", node, sheet.label, lambda: None, seed, traits=traits) for seed in range(12)
        ]
        for written in bank.write(requests):
            assert not written.error
            text = written.text
            if names == "say":  # a name may say what it likes
                said = sorted(tree.all_names(node), key=len, reverse=True)
                name = next(n for n in said if text.lower().startswith(n.lower()))
                text = text[len(name) :].strip(",: ")
            claims = lexicon.claims(text)
            told[len(claims)] += 1
            for claim in claims:
                assert not claim.negated, text
                assert sheet.traits.get(claim.trait) == claim.value, (text, claim)
    assert told[0] == 0 and len(told) >= (2 if form == "line" else 4)


@pytest.mark.parametrize("domain_name", BUNDLED)
def test_every_trait_of_a_sheet_is_said_sooner_or_later(domain_name):
    domain = get_domain(domain_name)
    tree, lexicon = domain.labels(), Lexicon(domain.knowledge.words())
    bank = BankCaptioner(None, lexicon, domain=domain, tree=tree)
    for sheet in domain.builtin.sheets()[::5]:
        node = tree.node(sheet.label)
        traits = sheet_traits(domain, tree, node)
        requests = (
            Request("a", node, sheet.label, lambda: None, seed, traits=traits) for seed in range(60)
        )
        said = {(c.trait, c.value) for w in bank.write(requests) for c in lexicon.claims(w.text)}
        known = {(c.trait, c.value) for t in traits for c in lexicon.claims(t.text)}
        assert said == known


# a model chooses


def plain(*colour):
    return Image.new("RGB", (20, 12), tuple(int(255 * c) for c in colour))


@pytest.mark.parametrize(("colour", "part"), [*zip(COLOURS.values(), PARTS, strict=True)])
def test_a_model_picks_what_fits_the_picture(domain, colour, part):
    statements = [*PARTS, "a round foot", "tall lamp"]
    requests = [
        ask(domain, statements, seed, picture=lambda: plain(*colour), id=str(seed))
        for seed in range(40)
    ]
    model = ColourClip()
    written = list(make(domain, model).write(requests))
    assert all(part in w.details["statements"] for w in written)
    assert model.heads_used == {"captions"}
    best = written[0].details
    assert max(zip(best["scores"], best["statements"], strict=True))[1] == part
    assert {len(w.details["statements"]) for w in written} == {2, 3, 4, 5}
    assert [w.id for w in written] == [r.id for r in requests]


def test_pictures_go_in_batches_and_texts_are_encoded_once(domain):
    model = ColourClip()
    requests = [
        ask(domain, PARTS, i, picture=lambda: plain(1, 0, 0), id=str(i)) for i in range(BATCH + 3)
    ]
    taken = []
    stream = make(domain, model).write(taken.append(r) or r for r in requests)
    next(stream)
    assert len(taken) == BATCH
    assert len(list(stream)) == BATCH + 2
    assert model.batches == [BATCH, 3]
    assert len(model.texts) == len(set(model.texts)) == len(PARTS)


def test_an_unreadable_picture_is_told_and_the_rest_is_captioned(domain):
    def broken():
        raise UnreadableImage("x.jpg", "the file is truncated")

    requests = [
        ask(domain, PARTS, 0, picture=p, id=str(i))
        for i, p in enumerate([lambda: plain(1, 0, 0), broken, lambda: plain(0, 1, 0)])
    ]
    written = list(make(domain, ColourClip()).write(requests))
    assert [bool(w.text) for w in written] == [True, False, True]
    assert written[1].error == "the file is truncated"
    alone = list(make(domain, ColourClip()).write(requests[1:2]))
    assert alone[0].error == "the file is truncated"


def test_settings_and_rows_say_who_chose(domain):
    seeded, one, other = make(domain), make(domain, ColourClip()), make(domain, ColourClip(1.0))
    assert (seeded.name, seeded.model, seeded.revision) == ("bank", "seeded choice", "")
    assert one.revision and one.revision != other.revision
    assert one.revision in one.settings["choice"] and one.settings != seeded.settings
    (written,) = one.write([ask(domain, PARTS, picture=lambda: plain(1, 0, 0))])
    assert (written.model, written.revision) == (one.model, one.revision)


# texts of people


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dark body", "a dark body"),
        ("orange, thin antenna", "an orange, thin antenna"),
        ("black head and thorax", "a black head and thorax"),
        ("blue wing with white spots", "a blue wing with white spots"),
        ("dark wings", "dark wings"),
        ("black antennae", "black antennae"),
        ("blue wings and dark body", "blue wings and dark body"),
        ("red elytra", "red elytra"),
        ("grey fur", "grey fur"),
        ("its dark body", "its dark body"),
        ("one dark spot", "one dark spot"),
        ("2 dark bodies", "2 dark bodies"),
        ("body dark above", "body dark above"),
        ("dark", "dark"),
        ("", ""),
    ],
)
def test_a_part_in_the_singular_gets_its_article(text, said):
    assert add_article(text, Lexicon(get_domain("biology").knowledge.words())) == said


@pytest.mark.parametrize(
    ("statements", "caption"),
    [
        (["shiny blue wings", "blue wings"], "A moth with shiny blue wings."),
        (["blue wings", "shiny blue wings"], "A moth with shiny blue wings."),
        (["shiny blue wings", "blue striped wings"], "A moth with shiny blue striped wings."),
        (["a round rim", "a round red rim"], "A moth with a round red rim."),
    ],
)
def test_words_are_not_repeated_when_statements_are_joined(statements, caption):
    said = [read_statement(text, "moth") for text in statements]
    assert join_statements(said, noun="moth") == caption


def test_statements_that_say_less_of_the_same_are_not_said_beside_it(domain):
    words = get_domain("biology").knowledge.words()
    bank = BankCaptioner(None, Lexicon(words), domain=domain, tree=domain.labels())
    said = texts(bank, domain, ["blue wings", "shiny blue wings", "dark body"])
    assert all(text.lower().count("blue") <= 1 for text in said)
    assert any("shiny blue wings" in text for text in said)
    assert any("a dark body" in text.lower() for text in said)
    assert not any("has dark" in text or "with dark" in text for text in said)


def test_what_holds_for_some_individuals_is_not_said(domain):
    bank = BankCaptioner(
        None, Lexicon(replace(WORDS, some=("female",))), domain=domain, tree=domain.labels()
    )
    sentences = {"a red rim": "A red rim.", "green legs": "green legs in the female",
                 "blue spots": "It may have blue spots."}  # fmt: skip
    told = tuple(Trait(text=t, sentence=s, source="table") for t, s in sentences.items())
    asked = [replace(ask(domain, [], seed), traits=told) for seed in range(40)]
    assert all("green" not in w.text and "blue" not in w.text for w in bank.write(asked))
    (only,) = bank.write([replace(asked[0], traits=told[1:])])
    assert "holds for some individuals only" in only.error
    own = tuple(replace(trait, source="column") for trait in told)  # of this very picture
    said = " ".join(w.text for w in bank.write(replace(one, traits=own) for one in asked))
    assert "green legs" in said and "blue spots" in said
