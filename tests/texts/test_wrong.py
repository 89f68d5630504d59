"""Wrong captions: one trait, number or negation swapped, in good English and really wrong."""

import re
import time
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.contract import PromptSet
from domainclip.domains.registry import get_domain
from domainclip.knowledge.lexicon import Lexicon
from domainclip.texts.counts import find_counts, find_negations
from domainclip.texts.labels import NAME_VIEWS
from domainclip.texts.swaps import TraitSwaps, put
from domainclip.texts.views import TextViews
from domainclip.texts.wrong import WrongCaptions

BAD = re.compile(r"  | [,.]|\b(an?|the|no|one) (an?|the|no|one)\b|\ban [^aeiouh]|\ba [aeio](?!ne)")
DOMAINS = ["biology", "medical", "remote_sensing"]
READ = {
    name: (lexicon, WrongCaptions(lexicon))
    for name in DOMAINS
    for lexicon in [Lexicon(get_domain(name).knowledge.words())]
}
COUNTS = {*["no", "one", "two", "three", "four", "five", "six", "single", "few", "several", "many"]}


def built_in(name, seed=0):
    """Captions of one picture of each label, with the traits of its sheet and its node."""
    domain = get_domain(name)
    builtin, tree, rng = domain.builtin, domain.labels(), np.random.default_rng(seed)
    for sheet in builtin.sheets():
        captions = builtin.captions({**sheet.traits, **builtin.individual(sheet, rng)}, rng)
        yield captions, sheet.traits, tree.node(sheet.label)


def swapped(caption, name="biology"):
    """Every text that one swap makes of a caption."""
    lexicon = Lexicon(get_domain(name).knowledge.words())
    found = TraitSwaps(lexicon).find(caption, lexicon.claims(caption))
    return [put(caption, swap) for options in found for swap in options]


def counted(caption):
    return {put(caption, s) for options in [*find_counts(caption)] for s in options}


def negated(caption, **words):
    return {put(caption, s) for options in find_negations(caption, **words) for s in options}


@pytest.mark.parametrize(
    ("caption", "name", "some", "none"),
    [
        ("Plain orange wings.", "biology", {"Plain blue wings."}, {"Plain orange wings."}),
        ("An orange butterfly with no tails.", "biology",
         {"A white butterfly with no tails.", "An orange butterfly with long tails."}, set()),
        # a black margin is what one with spots is too
        ("Wings with a white-spotted black margin.", "biology",
         {"Wings with an orange-spotted margin."}, {"Wings with a black margin."}),
        ("Black stripes and no eyespots.", "biology",
         {"Blue stripes and no eyespots.", "Black checks and no eyespots."}, set()),
        ("A bird with green legs.", "biology",
         {"A bird with red legs."}, {"A bird with blue legs."}),
        ("A cell with a thin rim of pale blue cytoplasm.", "medical",
         {"A cell with moderate pale blue cytoplasm.",
          "A cell with a thin rim of deep blue cytoplasm."}, set()),
        ("A cell with an off-centre round nucleus.", "medical",
         {"A cell with a central round nucleus.", "A cell with an off-centre oval nucleus."},
         {"A cell with central round nucleus."}),
        ("A few houses along one straight road.", "remote_sensing",
         {"Tightly packed small houses along one straight road.",
          "A few houses along a curving road."}, {"A few houses along no roads."}),
    ],
)  # fmt: skip
def test_a_trait_is_swapped_for_another_value(caption, name, some, none):
    found = set(swapped(caption, name))
    assert some <= found and not none & found


def test_what_a_caption_denies_is_not_swapped():
    lexicon = Lexicon(get_domain("biology").knowledge.words())
    text = "The wings are not orange."
    assert not TraitSwaps(lexicon).find(text, lexicon.claims(text))


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("two vacuoles", {"three vacuoles", "four vacuoles"}),
        ("a ring of 3 spots", {f"a ring of {n} spots" for n in (2, 4, 5, 6)}),
        ("with one straight road and trees",
         {f"with {n} straight roads and trees" for n in ("two", "three", "four")}),
        ("A single round patch.", {f"{n} round patches." for n in ("Two", "Three", "Four")}),
        ("six long stamens", {f"{n} long stamens" for n in ("five", "seven", "eight")}),
        ("several small boats", {"no small boats"}),
        ("a few trees", {"many trees", "no trees"}),
        ("No one; each one is 2 mm long, at 10x, from 2019, a two-lobed one, not many.", set()),
        ("two of them, two thirds of it", set()),
    ],
)  # fmt: skip
def test_numbers_and_amounts_are_swapped(caption, wrong):
    assert counted(caption) == wrong


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("a fox with pale ears", {"a fox without pale ears"}),
        ("no granules", {"granules"}),
        ("A cell without a nucleus.", {"A cell with a nucleus."}),
        ("It lacks any tails.", {"It has tails."}),
        ("The wings are not spotted.", {"The wings are spotted."}),
        ("wings with a black edge, dark veins and no tails",
         {"wings with a black edge, no dark veins and no tails",
          "wings with a black edge, dark veins and tails"}),
        ("no nucleus", set()),  # what article it takes only the words of a field tell
        ("no longer than no more", set()),
        ("walking without stopping", set()),
    ],
)  # fmt: skip
def test_negations_are_put_in_and_taken_out(caption, wrong):
    assert negated(caption) == wrong


def test_the_words_of_a_field_give_the_article():
    lexicon = Lexicon(get_domain("medical").knowledge.words())
    assert negated("no nucleus, no cytoplasm", lexicon=lexicon) == {
        "a nucleus, no cytoplasm", "no nucleus, cytoplasm",
    }  # fmt: skip


@pytest.mark.parametrize("name", DOMAINS)
def test_every_swap_of_built_in_captions_reads_as_what_it_is_to_claim(name):
    lexicon = Lexicon(get_domain(name).knowledge.words())
    swaps, seen = TraitSwaps(lexicon), 0
    for captions, traits, _ in built_in(name):
        for caption in captions[:2]:
            for options in swaps.find(caption, lexicon.claims(caption)):
                for swap in options[:2]:
                    text = put(caption, swap)
                    claims = {(c.trait, c.value) for c in lexicon.claims(text) if not c.negated}
                    assert (swap.trait, swap.value) in claims, (caption, text)
                    assert traits.get(swap.trait) != swap.value
                    seen += 1
    assert seen > 100


@pytest.mark.parametrize("name", DOMAINS)
def test_wrong_captions_are_english_and_never_right_ones(name):
    wrong = WrongCaptions(Lexicon(get_domain(name).knowledge.words()))
    for captions, traits, _ in built_in(name, seed=1):
        for caption in captions:
            found = wrong.draw(caption, 3, Random(caption), right=captions, own=traits)
            assert len(found) == len({*found}) == 3
            for text in found:
                assert text not in captions
                assert not BAD.search(text), (caption, text)
                assert text[0].isupper() and text.endswith(".")


def test_a_domain_without_words_has_numbers_and_negations():
    wrong = WrongCaptions(None)
    found = {*wrong.draw("A red bird with two white bars and no tails.", 9, Random(0))}
    assert found == {
        "A red bird with two white bars and tails.",
        "A red bird with three white bars and no tails.",
        "A red bird with four white bars and no tails.",
    }
    assert wrong.draw("A red bird.", 2, Random(0)) == []


def test_what_other_captions_say_and_what_is_known_is_not_said_as_wrong():
    wrong = WrongCaptions(Lexicon(get_domain("medical").knowledge.words()))
    caption = "a small cell"
    drawn = {t for i in range(40) for t in wrong.draw(caption, 1, Random(i))}
    assert drawn == {"a medium-sized cell", "a large cell"}
    for said in ({"right": ["A large cell with granules."]}, {"own": {"size": "large"}}):
        drawn = {t for i in range(40) for t in wrong.draw(caption, 1, Random(i), **said)}
        assert drawn == {"a medium-sized cell"}


def test_values_of_sister_labels_come_first():
    wrong = WrongCaptions(Lexicon(get_domain("medical").knowledge.words()))
    likely = {"size": {"large"}}
    drawn = [wrong.draw("a small cell", 2, Random(i), likely=likely) for i in range(20)]
    assert {d[0] for d in drawn} == {"a large cell"}
    assert {d[1] for d in drawn} == {"a medium-sized cell"}


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("an no two with out wing s, . -12\n"), max_size=60))
def test_any_text_can_be_read(text):
    wrong = WrongCaptions(None)
    for found in wrong.draw(text, 3, Random(0)):
        assert found != text


def views_of(name, **settings):
    domain = get_domain(name)
    rows = [*built_in(name), *built_in(name, 1), *built_in(name, 2)]
    captions = [captions for captions, _, _ in rows]
    nodes = np.array([node for _, _, node in rows])
    views = TextViews(
        domain.labels(), PromptSet(), dict.fromkeys(NAME_VIEWS, 1.0), captions,
        caption_share=1.0, words=domain.knowledge.words(),
        traits={node: traits for _, traits, node in rows}, **settings,
    )  # fmt: skip
    return views, nodes, captions


@pytest.mark.parametrize("name", DOMAINS)
def test_negatives_are_tied_to_their_draws(name):
    views, nodes, captions = views_of(name, negatives=2, both=True, caption_draws=2)
    indices = np.arange(len(nodes))
    draw, again = (views.draw(nodes, indices, (3,)) for _ in range(2))
    assert draw.texts == again.texts and draw.wrong.tolist() == again.wrong.tolist()
    plain = views_of(name, both=True, caption_draws=2)[0].draw(nodes, indices, (3,))
    assert plain.rows.tolist() == draw.rows.tolist() and not len(plain.wrong)
    assert draw.texts[: len(plain.texts)] == plain.texts
    assert np.bincount(draw.wrong[:, 1], minlength=len(draw.rows)).tolist() == [
        2 * caption for caption in draw.is_caption
    ]
    assert draw.text_is_caption[draw.wrong[:, 0]].all()
    assert len(draw.text_is_caption) == len(draw.texts)
    for text, row in draw.wrong:
        assert draw.texts[text] not in captions[indices[draw.pictures[row]]]


@pytest.mark.slow
def test_drawing_negatives_is_quick_once_captions_are_read():
    views, nodes, _ = views_of("biology", negatives=1)
    rng = np.random.default_rng(0)
    times = []
    for step in range(60):
        indices = rng.integers(0, len(nodes), 128)
        began = time.perf_counter()
        views.draw(nodes[indices], indices, (0, step))
        times.append(time.perf_counter() - began)
    assert min(times) < 0.010


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(DOMAINS), seed=st.integers(0, 10**6), label=st.integers(0, 10**6))
def test_a_wrong_caption_claims_something_else_or_counts_otherwise(name, seed, label):
    builtin = get_domain(name).builtin
    sheets, rng = builtin.sheets(), np.random.default_rng(seed)
    sheet = sheets[label % len(sheets)]
    captions = builtin.captions({**sheet.traits, **builtin.individual(sheet, rng)}, rng)
    lexicon, wrong = READ[name]
    for caption in captions:
        for text in wrong.draw(caption, 2, Random(seed), right=captions, own=sheet.traits):
            before, after = ({(c.trait, c.value, c.negated) for c in lexicon.claims(t)}
                             for t in (caption, text))  # fmt: skip
            true = {(trait, value, False) for trait, value in sheet.traits.items()}
            assert not (after - before) & true, (caption, text)
            changed = {*text.lower().split()} ^ {*caption.lower().split()}
            assert before != after or changed & COUNTS, (caption, text)
