"""What a captioner is told of each picture: what is known of it and of its label, the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from PIL import Image

from domainclip.data.samples import Samples
from domainclip.domains.contract import CaptionStyle, Sample
from domainclip.errors import UsageError, suggest
from domainclip.knowledge.lookup import KnowledgeBase
from domainclip.knowledge.records import Record, Trait
from domainclip.knowledge.samples import SOURCES, column_records, tag_records

from .prompts import Form, find_examples, style_digest, write_prompt
from .requests import Prompt, Request

KEPT = 4096
"""Labels whose prompt stays in memory."""


class Briefs:
    """Makes requests of samples.

    Args:
        samples: The samples.
        knowledge: What is known of their labels.
        style: Whom to ask and for what; None where no language model is asked.
        form: One line, a sentence, or several; None for the style's.
        max_words: Longest caption; None for what the form has.
        text_columns: Columns of the samples that say something about the picture.
        tag_columns: Columns that hold tags, which the domain's rules put into words.
        seed: Seed of the whole run.
    """

    def __init__(
        self,
        samples: Samples,
        knowledge: KnowledgeBase,
        *,
        style: CaptionStyle | None = None,
        form: Form | None = None,
        max_words: int | None = None,
        text_columns: Sequence[str] = (),
        tag_columns: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self.samples, self.knowledge, self.style = samples, knowledge, style
        self.form, self.max_words, self.seed = form, max_words, seed
        self.text_columns, self.tag_columns = tuple(text_columns), tuple(tag_columns)
        self._prompt_of = lru_cache(KEPT)(lambda node: self._write_prompt(node, (), ()))
        self._examples = lru_cache(KEPT)(
            lambda node: find_examples(samples.domain, samples.tree, node)
        )

    @property
    def made_of(self) -> dict[str, Any]:
        """What is asked, in words, and the digest of its wording."""
        asked: dict[str, Any] = {"domain": self.samples.domain.name, "seed": self.seed}
        if self.style is not None:
            asked["form"] = self.form or self.style.form
            asked["names"] = self.style.names
            asked["prompt"] = style_digest(
                self.samples.domain, self.style, form=self.form, max_words=self.max_words
            )
        for name in ("max_words", "text_columns", "tag_columns"):
            if value := getattr(self, name):
                asked[name] = value
        return asked

    def request(
        self, i: int, picture: Callable[[], Image.Image] | None = None, attempt: int = 0
    ) -> Request:
        """Return what is asked about sample i.

        Args:
            i: Number of the sample.
            picture: Reads its picture; None to read it from the samples.
            attempt: How often it has been asked before; each time draws anew.
        """
        samples = self.samples
        node = int(samples.nodes[i])
        own = self._own_records(samples.facts(i)) if self._has_columns else ()
        traits = tuple(trait for record in own for trait in record.traits)
        prompt = None
        if self.style is not None:
            prompt = self._write_prompt(node, own, traits) if own else self._prompt_of(node)
        return Request(
            id=samples.ids[i],
            node=node,
            label=samples.tree.key(node),
            picture=picture or (lambda: samples.picture(i)[0]),
            seed=draw_seed(self.seed, samples.ids[i], attempt),
            records=(*own, *self.knowledge.records(node)),
            traits=_different(*traits, *self.knowledge.traits(node)),
            prompt=prompt,
        )

    def revision(self, request: Request) -> str:
        """Return a digest of the knowledge that a request holds; "" where that is nothing."""
        revision = self.knowledge.revision(request.node)
        own = [r.revision for r in request.records if r.source in SOURCES]
        if not own:
            return revision
        return hashlib.sha256("|".join([revision, *own]).encode()).hexdigest()[:16]

    def say_changed(self, before: Mapping[str, Collection[str]]) -> str:
        """Say of which labels other things are known now than when captions were written.

        Where pictures have notes of their own this cannot be told by label, and nothing is said.

        Args:
            before: Label, "a > b > c" -> the revisions then.
        """
        if self._has_columns:
            return ""
        tree, revision = self.samples.tree, self.knowledge.revision
        nodes = {" > ".join(tree.path(node)): node for node in set(self.samples.nodes.tolist())}
        there = sorted(before.keys() & nodes.keys())
        changed = [label for label in there if {*before[label]} != {revision(nodes[label])}]
        if not changed:
            return ""
        return (
            f"what is known of {changed[0]} has changed (labels: {len(changed)}): their "
            "captions from before are kept as they are; another --out writes all anew"
        )

    @property
    def _has_columns(self) -> bool:
        return bool(self.text_columns or self.tag_columns)

    def _own_records(self, sample: Sample) -> tuple[Record, ...]:
        """Return what the sample's own columns say."""
        from domainclip.knowledge.traits import extract_traits

        records = []
        for record in column_records(sample.label, sample.metadata, self.text_columns):
            found = extract_traits(
                record.text,
                self.knowledge.lexicon,
                source=record.source,
                revision=record.revision,
            )
            records.append(replace(record, traits=tuple(found)))
        rules = self.samples.domain.knowledge
        tags = {c: sample.metadata[c] for c in self.tag_columns if c in sample.metadata}
        if tags and rules is not None:
            records += tag_records(sample.label, tags, rules.tags)
        return tuple(records)

    def _write_prompt(
        self, node: int, records: Sequence[Record], traits: Sequence[Trait]
    ) -> Prompt:
        assert self.style is not None
        return write_prompt(
            self.samples.domain,
            self.style,
            self.samples.tree,
            node,
            records=(*records, *self.knowledge.records(node)),
            traits=_different(*traits, *self.knowledge.traits(node)),
            examples=self._examples(node),
            form=self.form,
            max_words=self.max_words,
        )


def draw_seed(seed: int, sample_id: str, attempt: int = 0) -> int:
    """Return the seed of one picture's draws, of 31 bits."""
    said = f"{seed}/{attempt}/{sample_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(said, digest_size=4).digest()) >> 1


def check_columns(samples: Samples, columns: Mapping[str, Sequence[str]]) -> None:
    """Refuse columns that the data does not have.

    Args:
        samples: The samples.
        columns: Option -> the columns it names.

    Raises:
        UsageError: If there is no such column.
    """
    there = samples.columns
    for option, names in columns.items():
        for name in names:
            if name not in there:
                has = f"it has {', '.join(there)}" if there else "it has no columns"
                raise UsageError(
                    f"{option}: {samples.source} has no column {name!r}; {has}",
                    suggest(name, there),
                )


def _different(*traits: Trait) -> tuple[Trait, ...]:
    found: dict[str, Trait] = {}
    for trait in traits:
        found.setdefault(trait.text.casefold(), trait)
    return tuple(found.values())
