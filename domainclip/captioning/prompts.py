"""What is asked of a language model about one picture: a domain's style, filled in for a label.

The order of the parts (role, goal, what to look at, examples of the label's group, a reference
excerpt, the name, the length) is that of BioCAP (arXiv:2510.20095).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from domainclip.domains.contract import COMMON, CaptionStyle, Domain
from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError, suggest
from domainclip.knowledge.nouns import find_noun
from domainclip.knowledge.records import Record, Trait
from domainclip.knowledge.sentences import split_sentences

from .examples import BETWEEN, Examples, clean_examples, find_examples, is_blank, read_examples
from .requests import Prompt

__all__ = [
    "find_examples",
    "find_style",
    "read_examples",
    "show_prompt",
    "style_digest",
    "word_limit",
    "write_prompt",
]

Form: TypeAlias = Literal["line", "sentence", "dense"]
Names: TypeAlias = Literal["say", "omit"]

OWN_SOURCES = frozenset({"column", "tags"})
"""Sources of records about one picture rather than about its label."""

_PURPOSE = "Your captions teach a model to see, so every word has to be checkable in the picture."
_UNSEEN = "Say nothing of what is hidden, blurred or cut off."
_MANNER = "The manner, shown by captions of other pictures; nothing in them is about this one:"
_REFERENCE = (
    "For reference only: take from the following the proper terms for what you see. Do not repeat "
    "its wording, and add nothing that this picture does not show."
)
_MISSING = re.compile(r"(?<![\w/])(?:nan|NaN|NAN|[nN]/[aA]|<NA>)(?![\w/])[.;,]?")
"""What tables write for missing values, inside a longer text."""
_FORMS: Mapping[str, str] = {
    "line": "Answer with one line of at most {words} words, a noun phrase without a full stop",
    "sentence": "Answer with one sentence of at most {words} words",
    "dense": "Answer with two to four plain sentences, {words} words at most in all, on all that "
    "can be seen",
}
_ORDER = "Begin with what best tells it from its like. Give the caption alone, in English."
_LENGTHS = {"line": 0.5, "sentence": 1.0, "dense": 3.0}


def find_style(domain: Domain, role: str = "default") -> CaptionStyle:
    """Return a caption style of a domain by its role.

    Raises:
        UsageError: If the domain has no such style.
    """
    if role in domain.styles:
        return domain.styles[role]
    if not domain.styles:
        raise UsageError(
            f"the domain {domain.name} has no caption style",
            "write captions with the bank, or give the domain a style named 'default'",
        )
    raise UsageError(
        f"the domain {domain.name} has no caption style {role!r}",
        suggest(role, domain.styles) or f"there are {', '.join(domain.styles)}",
    )


def word_limit(style: CaptionStyle, form: str) -> int:
    """Return the words that a caption of a form may have: half for a line, three times if dense."""
    return max(1, round(style.max_words * _LENGTHS[form] / _LENGTHS[style.form]))


def write_prompt(
    domain: Domain,
    style: CaptionStyle,
    tree: LabelTree,
    node: int,
    *,
    records: Sequence[Record] = (),
    traits: Sequence[Trait] = (),
    examples: Sequence[str] | None = None,
    form: Form | None = None,
    names: Names | None = None,
    max_words: int | None = None,
) -> Prompt:
    """Write what is asked about a picture of one label.

    Nothing that is missing reaches the text, however a table writes it ("nan", "N/A").

    Args:
        domain: Brings the noun, and the examples where none are given.
        style: Who is asked, and for what.
        tree: The label tree of the data.
        node: The label of the picture.
        records: What is known of the label and of the picture itself; whole sentences of it are
            quoted, `style.excerpt` characters at most, those that a trait was read from first.
        traits: Visible statements; those that no record states are quoted as they are.
        examples: Example captions; None for those of the label's group.
        form: What to write; None for the style's.
        names: Whether the label's name is said; None as in the style.
        max_words: Longest caption; None for `word_limit`.
    """
    form, names = form or style.form, names or style.names
    words = word_limit(style, form) if max_words is None else max_words
    shown = find_examples(domain, tree, node) if examples is None else examples
    shown = [" ".join(e.split()) for e in shown if not is_blank(e)]
    attend, avoid = ([t for t in items if not is_blank(t)] for items in (style.attend, style.avoid))
    parts = [_sentence(style.goal)]
    if attend:
        parts.append(f"Look at, the most telling first: {'; '.join(attend)}.")
    parts.append(" ".join([*([f"Leave out: {'; '.join(avoid)}."] if avoid else []), _UNSEEN]))
    if shown:
        parts.append("\n".join([_MANNER, *(f"- {example}" for example in shown)]))
    quotes = _references(style, tree, node, names, records, traits)
    if quotes:
        parts.append("\n".join([_REFERENCE, *(f'- {about}: "{said}"' for about, said in quotes)]))
    parts.append(_name_policy(domain, tree, node, names))
    parts.append(f"{_FORMS[form].format(words=words)}. {_ORDER}")
    text = "\n\n".join(part for part in parts if part)
    excerpt = "\n".join(said for _, said in quotes)
    return _prompt(f"{_sentence(style.role)} {_PURPOSE}", text, excerpt)


def style_digest(
    domain: Domain,
    style: CaptionStyle,
    *,
    form: Form | None = None,
    names: Names | None = None,
    max_words: int | None = None,
    examples: Examples | None = None,
) -> str:
    """Return a digest of all wording that does not depend on the label.

    It covers the template, the style, the form, the name policy, the length and the whole table of
    examples: a change of any is a new generation of captions.
    """
    tree = LabelTree.from_columns({"group": ["Group"], "kind": ["Kind"]}, common=["plain"])
    kind, group = ("Group", "Kind"), ("Group",)
    records = [
        Record(label=kind, subject=subject, source=source, text="Text.")
        for subject, source in ((kind, "page"), (group, "page"), (kind, "column"))
    ]
    prompt = write_prompt(
        domain,
        style,
        tree,
        tree.node(kind),
        records=records,
        examples=("Example.",),
        form=form,
        names=names,
        max_words=max_words,
    )
    table = clean_examples(domain.examples() if examples is None else examples)
    told = [prompt.digest, style.excerpt, sorted(table.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def show_prompt(
    prompt: Prompt, chat_template: Callable[[Sequence[Mapping[str, Any]]], str] | None = None
) -> str:
    """Return a prompt as people read it: exactly what is sent, the picture as `<picture>`.

    Args:
        prompt: The prompt.
        chat_template: Renders messages as the model does; its text is then returned as it is.
    """
    if chat_template is not None:
        return chat_template(prompt.messages)
    blocks = []
    for message in prompt.messages:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [_shown(part) for part in content]
        blocks.append("\n".join([f"[{message['role']}]", *texts]))
    return "\n\n".join(blocks)


def _prompt(system: str, user: str, excerpt: str) -> Prompt:
    content: list[dict[str, str]] = [{"type": "text", "text": user}]
    said: list[Mapping[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": content},
    ]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    said[1] = {"role": "user", "content": [{"type": "image"}, *content]}
    return Prompt(messages=tuple(said), digest=digest, excerpt=excerpt)


def _shown(part: Mapping[str, Any]) -> str:
    return "<picture>" if part["type"] == "image" else str(part["text"])


def _references(
    style: CaptionStyle,
    tree: LabelTree,
    node: int,
    names: str,
    records: Sequence[Record],
    traits: Sequence[Trait],
) -> list[tuple[str, str]]:
    """Return the quoted knowledge, each part below the line that says whom it is about."""
    label = tree.key(node)
    texts: dict[tuple[str, ...] | None, list[Record]] = {None: [], label: []}
    for record in records:
        about = None if record.source in OWN_SOURCES else record.subject
        texts.setdefault(about, []).append(record)
    stated = {trait.text for record in records for trait in record.traits}
    extra = [t.text for t in traits if t.text not in stated and not is_blank(t.text)]
    room = style.excerpt
    parts = []
    for about, several in texts.items():
        quoted = _quote(several, extra if about == label else [], room)
        if quoted:
            room -= len(quoted)
            parts.append((_heading(tree, node, about, names), quoted))
    return parts


def _heading(tree: LabelTree, node: int, about: tuple[str, ...] | None, names: str) -> str:
    """Return the line above a quotation, which says whom it is about."""
    if about is None:
        return "Notes kept with this picture"
    if about == tree.key(node):
        return (
            f"About {_own_name(tree, node)}" if names == "say" else "About what the picture shows"
        )
    above = [name for name in about if not is_blank(name)]
    rank = tree.ranks[len(about) - 1] if len(about) <= len(tree.ranks) else "group"
    whom = f"the {rank} {above[-1]}" if names == "say" and above else "the wider group"
    return f"About {whom} that it belongs to, of which not all need hold here"


def _quote(records: Sequence[Record], statements: Sequence[str], room: int) -> str:
    """Return whole sentences of the texts and the statements, as many as there is room for."""
    told: dict[str, bool] = {}
    for record in records:
        for sentence in split_sentences(_MISSING.sub(" ", record.text)):
            if not is_blank(sentence):
                seen = any(t.sentence and t.sentence in sentence for t in record.traits)
                said = _sentence(sentence)  # tags have no full stop
                told[said] = told.get(said, False) or seen
    told |= {_sentence(statement): True for statement in statements}
    picked: set[str] = set()
    for sentence in sorted(told, key=lambda s: not told[s]):  # stable: else as they stand
        length = len(sentence) + bool(picked)
        if length <= room:
            picked.add(sentence)
            room -= length
    return " ".join(sentence for sentence in told if sentence in picked)


def _name_policy(domain: Domain, tree: LabelTree, node: int, names: str) -> str:
    """Return what is said of the label's name, and what is asked about it."""
    if names == "omit":
        noun = find_noun(domain, tree, node)
        plain = f'"{noun}" or a word as plain' if noun else "a plain word"
        return (
            "Do not name what it is, neither its kind nor any group of it, even where a reference "
            f"does: {plain} will do."
        )
    own = _own_name(tree, node)
    if not own:
        return ""
    common = tree.name(node, COMMON)
    above = BETWEEN.join(name for name in tree.path(node)[:-1] if not is_blank(name))
    facts = [f"also called {common}"] if not is_blank(common) and common != own else []
    facts += [f"in {above}"] if above else []
    known = f"{own} ({', '.join(facts)})" if facts else own
    which = "one of these names" if len(facts) > bool(above) else "this name"
    return (
        f"The picture is labelled {known}. Work in {which} once, as part of the description, even "
        "where example captions name nothing."
    )


def _own_name(tree: LabelTree, node: int) -> str:
    """Return the formal name, or the nearest name above that is one; "" where there is none."""
    return next((name for name in reversed(tree.path(node)) if not is_blank(name)), "")


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."
