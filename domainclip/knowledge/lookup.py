"""What is known of each label of a tree: stored records, those of ancestors, shipped sheets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from domainclip import paths
from domainclip.domains.contract import Domain, LabelKey, TraitSheet, TraitWords
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import fold

from .records import SHEET, Record, Trait
from .store import KnowledgeStore

if TYPE_CHECKING:
    from .lexicon import Lexicon

KEPT = 4096
"""Labels whose records stay in memory."""
LICENCE = "MIT"
"""Of the sheets that ship with a domain."""


def store_path(domain: Domain) -> Path:
    """Return the file that a domain's knowledge is kept in unless another is named."""
    return paths.cache_dir("knowledge") / f"{domain.name}.sqlite"


def open_knowledge(domain: Domain, tree: LabelTree, path: Path | None = None) -> KnowledgeBase:
    """Open what is known of the labels of a tree, for reading.

    Args:
        domain: Brings the shipped sheets and the words of what can be seen.
        tree: The labels that are asked for, the user's own or the domain's.
        path: The store; None for the domain's own. One that does not exist is empty.
    """
    return KnowledgeBase(domain, tree, KnowledgeStore(path or store_path(domain), readonly=True))


class KnowledgeBase:
    """What is known of the labels of one tree, read when asked for and kept for the next time.

    A label has its own stored records. Where none of them says anything it has its shipped sheet
    and the records of its nearest ancestor with any. A label whose lineage is not stored takes the
    records of the one stored label of its name whose lineage does not contradict its own, so that a
    list of names alone finds what was stored with full lineages.

    Attributes:
        store: Where records are read from.
        messages: What a person should know, one line each.
    """

    def __init__(self, domain: Domain, tree: LabelTree, store: KnowledgeStore) -> None:
        self.domain, self.tree, self.store = domain, tree, store
        self.messages = store.messages
        self._records = lru_cache(KEPT)(self._find_records)
        self._own = lru_cache(KEPT)(self._find_own)

    def records(self, node: int) -> tuple[Record, ...]:
        """Return what is stored of a label, else its sheet and what is stored of an ancestor."""
        return self._records(int(node))

    def idle_sheet(self, node: int) -> tuple[Record, ...]:
        """Return a label's shipped sheet where it stands back, as texts about the label are stored.

        The sheet is schematic: beside other texts it would contradict them.
        """
        used = any(record.source == SHEET for record in self.records(node))
        return () if used else self._sheet(int(node))

    def traits(self, node: int) -> tuple[Trait, ...]:
        """Return the visible statements of all records of a label, each text once."""
        return _different(self.records(node))

    def known(self, node: int) -> dict[str, frozenset[str]]:
        """Return trait -> values that the label's own traits state.

        Those of ancestors are left out: what holds for a group need not hold for each label in it.
        So are the traits of which there is no single truth, see `open_traits`.
        """
        values: dict[str, set[str]] = {}
        for trait in self._own_traits(node):
            for claim in self.lexicon.claims(trait.text):
                if not claim.negated:
                    values.setdefault(claim.trait, set()).add(claim.value)
        without = self.open_traits(node)
        return {trait: frozenset(told) for trait, told in values.items() if trait not in without}

    def open_traits(self, node: int) -> frozenset[str]:
        """Return the traits of which something is said that holds for some individuals only."""
        from .traits import holds_for_some

        lexicon = self.lexicon
        limited = (t for t in self._own_traits(node) if holds_for_some(t, lexicon))
        return frozenset(claim.trait for t in limited for claim in lexicon.claims(t.text))

    def _own_traits(self, node: int) -> tuple[Trait, ...]:
        return _different(record for record in self.records(node) if not record.inherited)

    def revision(self, node: int) -> str:
        """Return a digest of everything that is known of a label; "" where that is nothing."""
        records = self.records(node)
        if not records:
            return ""
        told = [
            [r.subject, r.source, r.title, r.section, r.revision, r.text]
            + [[t.text, t.sentence, t.revision] for t in r.traits]
            for r in records
        ]
        return _digest(json.dumps(told))

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words of the domain for what can be seen."""
        from .lexicon import Lexicon

        rules = self.domain.knowledge
        return Lexicon(rules.words() if rules else TraitWords())

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_records(self, node: int) -> tuple[Record, ...]:
        label = self.tree.key(node)
        near = node
        stored: tuple[Record, ...] = ()
        while near >= 0 and not stored:
            stored = self._own(near)
            near = int(self.tree.parent[near])
        if not stored:  # the tree has too few ranks to climb; the stored lineage may have more
            lineage = self._only(label, self.store.named(label[-1])) or ()
            for end in range(len(lineage) - 1, 0, -1):
                stored = stored or (self.store.own(lineage[:end]) if lineage[end - 1] else ())
        records = tuple(replace(record, label=label) for record in stored)
        told = any((r.text or r.traits) and not r.inherited for r in records)
        return records if told else (*self._sheet(node), *records)

    def _find_own(self, node: int) -> tuple[Record, ...]:
        """Return the stored records of one label, as the tree names it."""
        label = self.tree.key(node)
        records = self.store.own(label)
        other = None if records else self._only(label, self.store.named(label[-1]))
        if other is None or other == label:
            return records
        return tuple(
            replace(record, label=label, subject=record.subject if record.inherited else label)
            for record in self.store.own(other)
        )

    def _sheet(self, node: int) -> tuple[Record, ...]:
        label = self.tree.key(node)
        sheets = {sheet.label: sheet for sheet in self._sheets.get(fold(label[-1]), ())}
        sheet = sheets.get(label)
        if sheet is None:
            other = self._only(label, sheets)
            if other is None:
                return ()
            sheet = sheets[other]
        from .traits import sheet_traits

        own = self._domain_tree
        traits = sheet_traits(self.domain, own, own.node(sheet.label))
        ways = self.domain.builtin.describe(sheet.traits)
        text = ways[0] if ways else ". ".join(trait.text for trait in traits)
        record = Record(
            label=label,
            subject=label,
            source=SHEET,
            text=text,
            title=f"trait sheet of the domain {self.domain.name}",
            revision=next((trait.revision for trait in traits), _digest(text)),
            licence=LICENCE,
            traits=traits,
        )
        return (record,)

    def _only(self, label: LabelKey, others: Iterable[LabelKey]) -> LabelKey | None:
        """Return the one label whose lineage does not contradict this one, if it is the only one.

        One name that the domain knows of several labels says nothing without its lineage.
        """
        fits = [other for other in others if agree(label, other)]
        if len(fits) != 1:
            return None
        if 1 in (sum(map(bool, label)), sum(map(bool, fits[0]))):
            tree = self._domain_tree
            same = [n for n in tree.find(label[-1]) if fold(tree.names[n]) == fold(label[-1])]
            if len(same) > 1:
                return None
        return fits[0]

    @cached_property
    def _domain_tree(self) -> LabelTree:
        return self.domain.labels()

    @cached_property
    def _sheets(self) -> Mapping[str, list[TraitSheet]]:
        found: dict[str, list[TraitSheet]] = {}
        for sheet in self.domain.builtin.sheets():
            found.setdefault(fold(sheet.label[-1]), []).append(sheet)
        return found


def agree(one: LabelKey, other: LabelKey) -> bool:
    """Return whether all names of the shorter lineage stand in the longer one."""
    names, others = ({fold(name) for name in key if name} for key in (one, other))
    return names <= others or others <= names


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _different(records: Iterable[Record]) -> tuple[Trait, ...]:
    found: dict[str, Trait] = {}
    for record in records:
        for trait in record.traits:
            found.setdefault(trait.text.casefold(), trait)
    return tuple(found.values())
