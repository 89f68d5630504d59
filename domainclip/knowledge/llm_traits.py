"""Visible traits found by a language model, each tied to a sentence that is really in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from domainclip.endpoints.questions import Messages, Question, Reply

from .lexicon import Lexicon
from .records import Record, Trait
from .sentences import split_sentences
from .tokens import read_tokens
from .traits import MAX_WORDS, extract_traits

MAX_CHARS = 8000
"""Characters of a text that are sent, in whole sentences; the rest is left to the words."""
MAX_TOKENS = 1500
SHORTEST = 12
"""Characters that a quoted sentence must have: less is found in any text."""
_OPENS = re.compile(r"[\[{]")
_SPACE = re.compile(r"\s+")
_DECLINED = re.compile(
    r"\b(?:i'?m sorry|i am sorry|i can(?:no|')t|i cannot|i am unable|i'?m unable|as an ai)\b", re.I
)
_TASK = (
    "Read the text below, which is about {subject}. List what it says can be seen on a picture of "
    "it: colours, patterns, shapes, textures and parts. Leave out behaviour, places, dates, "
    "measures, names, uses, sounds, and what it says of anything else.\n"
    'Answer with a JSON list alone. Each item is {{"sentence": the sentence of the text, copied '
    'word for word, "trait": what is seen, at most {words} words, in the words of the sentence}}. '
    "Answer [] if nothing can be seen.\n\nText:\n{text}"
)


class Asker(Protocol):
    """Whatever answers questions: `domainclip.endpoints.chat.Endpoints`, or a fake."""

    def ask_many(self, questions: Iterable[Question]) -> Iterator[Reply]:
        """Yield a reply to each question, in any order."""
        ...


@dataclass(frozen=True)
class Extracted:
    """A record with the traits that were found in it."""

    record: Record
    by_model: bool
    """False where the words of the field had to do."""
    reason: str = ""
    """Why the model's answer was not used, or how many of its statements were dropped."""


def extract_with_model(
    records: Iterable[Record], asker: Asker, lexicon: Lexicon, *, limit: int = 12
) -> Iterator[Extracted]:
    """Ask a language model for the visible traits of each record.

    A statement is dropped if its sentence is not in the text (white space aside), if a quality that
    it names is not in that sentence, or if it has no word of what can be seen. Without a usable
    answer the words of the field find the traits, and the reason is said.

    Args:
        records: Pulled as they can be asked about.
        asker: The endpoints.
        lexicon: The words of the field.
        limit: Statements a record, at most.

    Yields:
        The records with their traits, as answers come.
    """
    waiting: dict[str, Record] = {}

    def questions() -> Iterator[Question]:
        for number, record in enumerate(records):
            waiting[str(number)] = record
            yield Question(
                id=str(number), messages=_messages(record), max_tokens=MAX_TOKENS, temperature=0.0
            )

    for reply in asker.ask_many(questions()):
        record = waiting.pop(reply.id)
        yield _read_reply(record, reply, lexicon, limit)


def parse_statements(text: str) -> list[tuple[str, str]] | None:
    """Read the (sentence, trait) pairs of an answer.

    Words around the JSON, code fences and a list that breaks off half-way are borne: every whole
    item counts.

    Returns:
        The pairs, empty for an empty list; None if there is no list at all.
    """
    decoder = json.JSONDecoder()
    pairs: list[tuple[str, str]] = []
    at, lists = 0, False
    while (match := _OPENS.search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, match.start())
        except ValueError:
            at = match.end()
            continue
        items = list(_items(value))
        pairs += items
        lists = lists or bool(items) or value == []
    return pairs if lists else None


def _items(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the pairs in a JSON value, however it wraps them."""
    if isinstance(value, Mapping):
        sentence, trait = value.get("sentence"), value.get("trait")
        if isinstance(sentence, str) and isinstance(trait, str):
            yield sentence, trait
        else:
            for part in value.values():
                yield from _items(part)
    elif isinstance(value, list):
        for part in value:
            yield from _items(part)


def _read_reply(record: Record, reply: Reply, lexicon: Lexicon, limit: int) -> Extracted:
    if reply.error:
        return _by_words(record, lexicon, limit, reply.error)
    pairs = parse_statements(reply.text)
    if pairs is None:
        declined = _DECLINED.search(reply.text) or reply.finish_reason == "refusal"
        what = "the model declined" if declined else "the answer holds no JSON list"
        return _by_words(record, lexicon, limit, what)
    kept = _checked(pairs, record, lexicon)
    if pairs and not kept:
        why = f"none of {len(pairs)} statements of the model is borne out by the text"
        return _by_words(record, lexicon, limit, why)
    dropped = len(pairs) - len(kept)
    reason = f"dropped {dropped} of {len(pairs)} statements of the model" if dropped else ""
    return Extracted(replace(record, traits=tuple(kept[:limit])), True, reason)


def _by_words(record: Record, lexicon: Lexicon, limit: int, reason: str) -> Extracted:
    traits = extract_traits(
        record.text, lexicon, source=record.source, revision=record.revision, limit=limit
    )
    return Extracted(replace(record, traits=traits), False, reason)


def _checked(pairs: list[tuple[str, str]], record: Record, lexicon: Lexicon) -> list[Trait]:
    """Keep the statements that their sentence bears out and that can be seen."""
    whole = _SPACE.sub("", record.text)
    kept: dict[str, Trait] = {}
    for sentence, said in pairs:
        sentence = " ".join(sentence.split())
        said = " ".join(said.split()).rstrip(".")
        bare = _SPACE.sub("", sentence)
        if len(bare) < SHORTEST or bare not in whole or not 0 < len(said.split()) <= MAX_WORDS:
            continue
        if not lexicon.parts(said) and not lexicon.claims(said):
            continue
        if lexicon.is_visual(said) < 0 or not _borne_out(said, sentence, lexicon):
            continue
        trait = Trait(text=said, sentence=sentence, source=record.source, revision=record.revision)
        kept.setdefault(said.casefold(), trait)
    return list(kept.values())


def _borne_out(said: str, sentence: str, lexicon: Lexicon) -> bool:
    """Return whether each quality in a statement stands in its sentence; parts may be reworded."""
    there = set(read_tokens(sentence).words)
    for claim in lexicon.claims(said):
        parts = {word for m in lexicon.mentions(claim.text) for word in read_tokens(m.text).words}
        if not set(read_tokens(claim.text).words) - parts <= there:
            return False
    return True


def _messages(record: Record) -> Messages:
    text = ""
    for sentence in split_sentences(record.text):
        if len(text) + len(sentence) >= MAX_CHARS:
            break
        text += f"{sentence} "
    subject = next((name for name in reversed(record.subject) if name), "something")
    task = _TASK.format(
        subject=subject, words=MAX_WORDS, text=text.strip() or record.text[:MAX_CHARS]
    )
    return ({"role": "user", "content": task},)
