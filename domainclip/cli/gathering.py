"""Runs providers over labels for `domainclip knowledge fetch`, and counts what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import output
from .label_page import say_lineage

if TYPE_CHECKING:
    from domainclip.domains.contract import Domain, LabelKey
    from domainclip.domains.labels import LabelTree
    from domainclip.knowledge.records import Answer, Provider, Record, Trait
    from domainclip.knowledge.store import KnowledgeStore
    from domainclip.knowledge.tables import TableProvider

COLUMNS = (
    *("source", "found", "from an ancestor", "missing", "refused"),
    *("failed", "not asked", "known before"),
)
LISTED = 20
"""Labels of one kind that are named; the rest are counted."""


class Gathering:
    """Asks providers about labels, one after the other, and keeps a row of counts of each.

    Attributes:
        rows: One a provider, under `COLUMNS`.
        failed: Labels that could not be asked about, and why.
        stopped: Why a source could not be asked to the end; "" where each was.
    """

    def __init__(
        self,
        field: Domain,
        tree: LabelTree,
        nodes: Sequence[int],
        store: KnowledgeStore,
        *,
        shown: bool,
    ) -> None:
        from domainclip.knowledge.lookup import KnowledgeBase

        self.field, self.tree, self.nodes, self.store = field, tree, list(nodes), store
        self.lexicon = KnowledgeBase(field, tree, store).lexicon
        self.shown = shown
        self.rows: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self.stopped = ""

    def read(self, table: TableProvider) -> None:
        """Keep what a file says of the labels and their ancestors, in place of what it said."""
        said = set(table.nodes)
        for node in self._lines():
            label = self.tree.key(node)
            if node in said or self.store.status(table.name, label) == "found":
                answer = table.answer(self.tree, node)
                if self._is_kept(table.name, label, answer):
                    continue  # with the traits that a model may have found since
                records = tuple(r if r.traits else self._with_traits(r) for r in answer.records)
                self.store.put(table.name, label, replace(answer, records=records))
        self._count(table.name, set(), set(), unasked="missing")

    def ask(self, provider: Provider, *, concurrency: int, refresh: bool) -> None:
        """Ask one provider about the labels, and about ancestors where it knows nothing of one."""
        from domainclip.knowledge.fetch import fetch

        before = set() if refresh else set(self.store.labels(provider.name))
        with _progress(len(self.nodes), provider.name, self.shown) as step:
            fetched = fetch(
                provider,
                self.tree,
                self.nodes,
                self.store,
                concurrency=concurrency,
                refresh=refresh,
                progress=step,
                extract=self._extract,
            )
        failed = dict(fetched.failed)
        self.failed += [f"{say_lineage(label)}: {reason}" for label, reason in failed.items()]
        self.stopped = fetched.stopped
        self._count(provider.name, before, set(failed), unasked="not asked")

    def reread(self, urls: Sequence[str], model: str, *, key_env: str, again: bool) -> None:
        """Have a language model find the traits of the texts of all labels and their ancestors."""
        from domainclip.endpoints.chat import Endpoints
        from domainclip.knowledge.rereading import reread

        labels = [self.tree.key(node) for node in self._lines()]
        with Endpoints(urls, model, key_env=key_env) as endpoints:
            for message in endpoints.check(pictures=False):
                output.warning(message)
            with _progress(len(labels), model, self.shown) as step:
                read = reread(
                    labels,
                    self.store,
                    endpoints,
                    self.lexicon,
                    model=model,
                    again=again,
                    progress=step,
                )
        if read.by_words:
            output.warning(
                f"{output.counted(read.by_words, 'text')} read by the words of the domain, for "
                f"want of a usable answer: {read.reason}"
            )
        if self.shown:
            skipped = f"; {output.counted(read.skipped, 'label')} read before" * bool(read.skipped)
            output.note(f"{model} read {output.counted(read.by_model, 'text')}{skipped}")

    def example(self) -> str:
        """Return a label that something was found of, to show."""
        keys = (self.tree.key(node) for node in self.nodes)
        return next((key[-1] for key in keys if self.store.own(key)), "NAME")

    def _lines(self) -> list[int]:
        """Return the labels and all their ancestors, coarsest first."""
        line = self.tree.ancestors[self.nodes]
        return sorted({*line[line >= 0].tolist()})

    def _is_kept(self, source: str, label: LabelKey, answer: Answer) -> bool:
        """Return whether the store holds just this answer of a source."""
        if (source, answer.reason) not in {(a.provider, a.reason) for a in self.store.asked(label)}:
            return False
        own = {replace(r, traits=(), fetched=""): r.traits for r in self.store.own(label)}
        return all(
            bare in own and r.traits in ((), own[bare])
            for r in answer.records
            for bare in (replace(r, traits=()),)
        )

    def _count(
        self, source: str, before: set[LabelKey], failed: set[LabelKey], unasked: str
    ) -> None:
        """Add a row: each label under one heading, `unasked` where no answer is stored."""
        from domainclip.knowledge.lookup import KnowledgeBase
        from domainclip.knowledge.records import shown_name

        base = KnowledgeBase(self.field, self.tree, self.store)
        told = {s: set(self.store.labels(source, s)) for s in ("found", "missing", "refused")}
        row: dict[str, Any] = {**dict.fromkeys(COLUMNS, 0), "source": shown_name(source)}
        for node in self.nodes:
            label = self.tree.key(node)
            status = next((s for s, labels in told.items() if label in labels), unasked)
            if label in failed:
                status = "failed"
            elif label in before:
                status = "known before"
            elif status != unasked or unasked == "missing":
                records = [record for record in base.records(node) if record.source != "sheet"]
                if records and all(record.inherited for record in records):
                    status = "from an ancestor"
            row[status] += 1
        self.rows.append(row)

    def _with_traits(self, record: Record) -> Record:
        return replace(record, traits=self._extract(record))

    def _extract(self, record: Record) -> tuple[Trait, ...]:
        from domainclip.knowledge.traits import extract_traits

        return extract_traits(
            record.text, self.lexicon, source=record.source, revision=record.revision
        )


@contextmanager
def _progress(total: int, what: str, shown: bool) -> Iterator[Callable[[int], object]]:
    """Show on stderr how many labels are done; yield what is called with each step."""
    if not shown or not sys.stderr.isatty():
        yield lambda step: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=" labels", dynamic_ncols=True) as bar:
        yield bar.update
