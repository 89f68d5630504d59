"""Prompts hold what was asked for, in words that a missing cell never reaches."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainclip.captioning.prompts import (
    find_examples,
    find_style,
    read_examples,
    show_prompt,
    style_digest,
    word_limit,
    write_prompt,
)
from domainclip.domains.contract import CaptionStyle
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError, UsageError
from domainclip.knowledge.records import Record, Trait

STYLE = CaptionStyle(
    role="You look closely",
    goal="Describe the thing",
    attend=("colour", "shape"),
    avoid=("guesses",),
    excerpt=120,
)
BLANKS = ["", "  ", "nan", "NaN", "N/A", "n/a", "NULL", "None", "<NA>", "nan."]


@pytest.fixture(scope="module")
def domain():
    return replace(get_domain("biology"), examples=lambda: {"": ("A thing.",)})


@pytest.fixture(scope="module")
def tree():
    return LabelTree.from_columns(
        {
            "kingdom": ["Plantae", "Animalia", "Animalia", "Animalia"],
            "class": ["", "Aves", "Aves", "Insecta"],
            "genus": ["Morus", "Morus", "Corvus", "Danaus"],
            "species": ["Morus alba", "Morus bassanus", "Corvus corax", "Danaus plexippus"],
        },
        common=["white mulberry", "northern gannet", "nan", "monarch"],
    )


def node(tree, name):
    return next(n for n in tree.find(name) if tree.names[n] == name)


def text_of(prompt):
    return show_prompt(prompt)


def record(tree, name, text, subject=None, source="wikipedia", traits=()):
    label = tree.key(node(tree, name))
    return Record(
        label=label, subject=subject or label, source=source, text=text, traits=tuple(traits)
    )


def test_the_picture_comes_first_and_once(domain, tree):
    prompt = write_prompt(domain, STYLE, tree, node(tree, "Corvus corax"))
    system, user = prompt.messages
    assert system["role"] == "system" and system["content"].startswith("You look closely.")
    assert [part["type"] for part in user["content"]] == ["image", "text"]


def test_parts_stand_in_order(domain, tree):
    text = text_of(
        write_prompt(
            domain,
            STYLE,
            tree,
            node(tree, "Danaus plexippus"),
            records=[record(tree, "Danaus plexippus", "Wings are orange.")],
            examples=["A red thing.", "A blue thing."],
        )
    )
    parts = ["You look closely", "Describe the thing", "colour; shape", "guesses", "- A red thing."]
    parts += ["- A blue thing.", '"Wings are orange."', "labelled Danaus plexippus", "30 words"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.count("A red thing.") == 1 and "A thing." not in text


def test_names_are_said_or_left_out(domain, tree):
    monarch = node(tree, "Danaus plexippus")
    said = text_of(write_prompt(domain, STYLE, tree, monarch))
    assert "Danaus plexippus (also called monarch, in Animalia > Insecta > Danaus)" in said
    left_out = text_of(write_prompt(domain, STYLE, tree, monarch, names="omit"))
    assert not re.search("monarch|danaus|insecta", left_out, re.I)
    assert "Do not name" in left_out and '"butterfly"' in left_out


def test_the_noun_is_offered_only_where_it_holds(domain, tree):
    raven = text_of(write_prompt(domain, STYLE, tree, node(tree, "Corvus corax"), names="omit"))
    assert "butterfly" not in raven and "Do not name" in raven


@pytest.mark.parametrize(("form", "words"), [("line", 15), ("sentence", 30), ("dense", 90)])
def test_forms_have_their_own_lengths(domain, tree, form, words):
    text = text_of(write_prompt(domain, STYLE, tree, 0, form=form))
    assert word_limit(STYLE, form) == words and f"{words} words" in text
    given_ = text_of(write_prompt(domain, STYLE, tree, 0, form=form, max_words=7))
    assert "7 words" in given_ and f"{words} words" not in given_


def test_a_dense_style_has_its_own_length():
    dense = replace(STYLE, form="dense", max_words=60)
    assert [word_limit(dense, f) for f in ("line", "sentence", "dense")] == [10, 20, 60]


def test_inherited_records_say_whom_they_are_about(domain, tree):
    records = [
        record(tree, "Danaus plexippus", "Own text."),
        record(tree, "Danaus plexippus", "Of all.", subject=("Animalia", "Insecta", "Danaus")),
        record(tree, "Danaus plexippus", "On a stem.", source="column"),
        record(tree, "Danaus plexippus", "open water", source="tags"),
        record(tree, "Danaus plexippus", "forest", source="tags"),
    ]
    monarch = node(tree, "Danaus plexippus")
    text = text_of(write_prompt(domain, STYLE, tree, monarch, records=records))
    assert '- About Danaus plexippus: "Own text."' in text
    assert "- About the genus Danaus that it belongs to, of which not all need hold" in text
    assert '- Notes kept with this picture: "On a stem. open water. forest."' in text
    hidden = text_of(write_prompt(domain, STYLE, tree, monarch, records=records, names="omit"))
    assert "the wider group" in hidden and "Danaus" not in hidden


def test_sentences_are_quoted_whole_and_visible_ones_first(domain, tree):
    seen = "Wings are orange with black veins."
    long = "It was first described by somebody in a very long sentence that goes on and on and on."
    other = "It flies south."
    trait = Trait(text="orange wings", sentence=seen, source="wikipedia")
    known = record(tree, "Danaus plexippus", f"{long} {other} {seen}", traits=[trait])
    style = replace(STYLE, excerpt=len(seen) + len(other) + 1)
    monarch = node(tree, "Danaus plexippus")
    prompt = write_prompt(domain, style, tree, monarch, records=[known])
    text = text_of(prompt)
    assert f'"{other} {seen}"' in text and "described" not in text
    assert prompt.excerpt == f"{other} {seen}"  # what a caption may not copy: just what is shown
    short = replace(STYLE, excerpt=len(seen))
    text = text_of(write_prompt(domain, short, tree, monarch, records=[known]))
    assert f'"{seen}"' in text and other not in text
    nothing = replace(STYLE, excerpt=0)
    prompt = write_prompt(domain, nothing, tree, monarch, records=[known])
    assert "reference" not in text_of(prompt) and prompt.excerpt == ""


@given(chars=st.integers(0, 200), texts=st.lists(st.text(alphabet="ab .!", max_size=60)))
def test_the_excerpt_is_never_longer_than_the_style_allows(chars, texts):
    domain, tree = get_domain("biology"), get_domain("biology").labels()
    leaf = int(tree.leaves[0])
    key = tree.key(leaf)
    records = [
        Record(label=key, subject=key[: -(i % 3) or None], source="page", text=text)
        for i, text in enumerate(texts)
    ]
    style = replace(STYLE, excerpt=chars)
    prompt = write_prompt(domain, style, tree, leaf, records=records, examples=())
    text = text_of(prompt)
    quoted = [line.split(': "', 1)[1][:-1] for line in text.split("\n") if line[:7] == "- About"]
    assert sum(map(len, quoted)) <= chars and prompt.excerpt == "\n".join(quoted)
    assert all(quoted)


@pytest.mark.parametrize("blank", BLANKS)
def test_missing_values_reach_no_prompt(domain, tree, blank):
    user_file = {"Aves": [blank, None], "Corvus": blank, "Animalia": None, "": ["Fine.", blank]}
    raven = node(tree, "Corvus corax")
    examples = find_examples(domain, tree, raven, user_file)
    assert examples == ("Fine.",)
    style = replace(STYLE, attend=("colour", blank), avoid=(blank,))
    records = [
        record(tree, "Corvus corax", blank),
        record(tree, "Corvus corax", f"Black bird. {blank}"),
        record(tree, "Corvus corax", blank, subject=("Animalia", "Aves", "Corvus")),
        record(tree, "Corvus corax", blank, source="column"),
    ]
    traits = [Trait(text=blank, sentence=blank, source="table")]
    prompt = write_prompt(
        domain, style, tree, raven, records=records, traits=traits, examples=(blank, *examples)
    )
    text = text_of(prompt)
    assert not re.search(r"\bnan\b|n/a|\bnull\b|<na>|\bnone\b", text, re.I)
    assert '""' not in text and "- \n" not in text and ": ." not in text
    assert "Black bird." in text and "Leave out:" not in text


def test_no_examples_leave_no_empty_heading(domain, tree):
    text = text_of(write_prompt(domain, STYLE, tree, 0, examples=()))
    assert "captions of other pictures" not in text and "\n\n\n" not in text


def test_examples_go_up_the_tree(domain, tree):
    table = {"Aves": ("bird",), "Animalia": ("animal",), "": ("any",), "Corvus corax": ("raven",)}
    found = {
        name: find_examples(domain, tree, node(tree, name), table)
        for name in ("Corvus corax", "Corvus", "Danaus plexippus", "Morus alba")
    }
    assert found == {
        "Corvus corax": ("raven",),
        "Corvus": ("bird",),
        "Danaus plexippus": ("animal",),
        "Morus alba": ("any",),
    }
    assert find_examples(domain, tree, 0, {}) == ()


def test_an_ambiguous_name_needs_its_lineage(domain, tree):
    plant, bird = (node(tree, n) for n in ("Morus alba", "Morus bassanus"))
    bare = {"Morus": ("which?",), "": ("any",)}
    assert find_examples(domain, tree, plant, bare) == ("any",)
    assert find_examples(domain, tree, bird, bare) == ("any",)
    full = bare | {"plantae > morus": ("mulberry",), "Aves > Morus": ("gannet",)}
    assert find_examples(domain, tree, plant, full) == ("mulberry",)
    assert find_examples(domain, tree, bird, full) == ("gannet",)


def test_common_names_find_examples_too(domain, tree):
    monarch = node(tree, "Danaus plexippus")
    assert find_examples(domain, tree, monarch, {"MONARCH": "one"}) == ("one",)


def test_the_digest_is_that_of_the_messages(domain, tree):
    one, other = (write_prompt(domain, STYLE, tree, n) for n in (0, 1))
    again = write_prompt(domain, STYLE, tree, 0)
    assert one == again and one.digest != other.digest
    assert json.loads(json.dumps(one.messages)) == list(one.messages)


@pytest.mark.parametrize(
    "change",
    [
        {"form": "line"},
        {"names": "omit"},
        {"max_words": 9},
        {"examples": {"Nowhere": ["Something else."]}},
        {"style": replace(STYLE, role="You guess")},
        {"style": replace(STYLE, excerpt=99)},
        {"style": replace(STYLE, avoid=())},
    ],
)
def test_any_change_of_wording_is_another_digest(domain, change):
    style = change.pop("style", STYLE)
    assert style_digest(domain, style, **change) != style_digest(domain, STYLE)


def test_the_digest_of_wording_depends_on_no_label_and_no_blank(domain):
    table = {"": ["A thing."], "Aves": ["nan", None]}
    assert style_digest(domain, STYLE, examples=table) == style_digest(domain, STYLE)
    assert style_digest(domain, STYLE) == style_digest(domain, STYLE, form="sentence")


def test_show_prompt_prints_what_is_sent(domain, tree):
    prompt = write_prompt(domain, STYLE, tree, 0)
    shown = show_prompt(prompt)
    for message in prompt.messages:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
        assert all(text in shown for text in texts)
    assert shown.count("<picture>") == 1
    rendered = show_prompt(prompt, lambda messages: f"<s>{len(messages)}</s>")
    assert rendered == "<s>2</s>"


def test_an_unknown_style_is_refused_with_a_way_on(domain):
    with pytest.raises(UsageError) as refused:
        find_style(domain, "musem")
    assert "museum" in refused.value.hint
    with pytest.raises(UsageError, match="no caption style"):
        find_style(replace(domain, styles={}))


def test_example_files_are_read_and_bad_ones_refused(tmp_path):
    file = tmp_path / "examples.yaml"
    file.write_text('Aves: [A bird., "nan"]\nInsecta:\n"": N/A\nFungi: A cap.\n')
    assert read_examples(file) == {"aves": ("A bird.",), "fungi": ("A cap.",)}
    for bad in ("- just\n- a list\n", "Aves: {x: y}", "Aves: [unclosed"):
        file.write_text(bad)
        with pytest.raises(DataError, match="examples"):
            read_examples(file)
    with pytest.raises(DataError):
        read_examples(tmp_path / "missing.yaml")
