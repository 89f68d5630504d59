"""Asks a provider about labels, many at a time, and keeps each answer as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from domainclip.domains.contract import LabelKey
from domainclip.domains.labels import LabelTree
from domainclip.errors import DomainclipError

from .records import Answer, Provider, Record, Trait
from .store import KnowledgeStore

LOST = 3
"""Labels in a row that cannot be asked about, after which a source counts as lost."""


@dataclass
class Fetched:
    """What came of it."""

    asked: int = 0
    """Labels and ancestors that the provider was asked about."""
    skipped: int = 0
    """Labels that had an answer before."""
    failed: list[tuple[LabelKey, str]] = field(default_factory=list)
    """Labels that could not be asked about, and why; the next run asks again."""
    stopped: str = ""
    """Why the work ended early; "" where it did not."""
    left: int = 0
    """Labels that were not come to."""


def fetch(
    provider: Provider,
    tree: LabelTree,
    nodes: Sequence[int],
    store: KnowledgeStore,
    *,
    concurrency: int = 8,
    refresh: bool = False,
    extract: Callable[[Record], tuple[Trait, ...]] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Fetched:
    """Ask about labels, and about the ancestors of those that nothing is known of.

    Each answer is kept at once, so that work that was stopped goes on where it was. A label that
    cannot be asked about is not kept as missing.

    Args:
        provider: The source.
        tree: The label tree.
        nodes: The labels.
        store: Where answers are kept.
        concurrency: Labels that are asked about at a time.
        refresh: Ask again about labels that have an answer.
        extract: Finds the traits of a record that has none.
        progress: Called with 1 for each label that is done.

    Raises:
        KeyboardInterrupt: After Ctrl-C; what was answered is kept.
    """
    work = _Work(provider, tree, store, refresh, extract)
    _run(work.run([int(node) for node in nodes], max(1, concurrency), progress))
    return work.fetched


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, in a thread of its own where a loop runs already, as in notebooks."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    async def begin() -> None:
        task = asyncio.current_task()
        assert task is not None
        started.set_result((asyncio.get_running_loop(), task))
        await work

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, begin())
        try:
            done.result()
        except KeyboardInterrupt:  # leaving the pool would wait for all that is left to ask
            loop, task = started.result()
            loop.call_soon_threadsafe(task.cancel)
            raise


class _Work:
    """One run: what was asked already, and what came of it."""

    def __init__(
        self,
        provider: Provider,
        tree: LabelTree,
        store: KnowledgeStore,
        refresh: bool,
        extract: Callable[[Record], tuple[Trait, ...]] | None,
    ) -> None:
        self.provider, self.tree, self.store = provider, tree, store
        self.refresh, self.extract = refresh, extract
        self.fetched = Fetched()
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._failures = 0

    async def run(
        self, nodes: Sequence[int], concurrency: int, progress: Callable[[int], object] | None
    ) -> None:
        waiting = iter(nodes)
        self.fetched.left = len(nodes)

        async def work() -> None:
            for node in waiting:
                if self.fetched.stopped:
                    return
                await self._climb(node)
                self.fetched.left -= 1
                if progress is not None:
                    progress(1)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(nodes))):
                    group.create_task(work())
        except ExceptionGroup as several:  # errors of ours; one tells what is wrong
            raise several.exceptions[0] from None
        finally:
            close = getattr(self.provider, "close", None)
            if close is not None:
                await close()

    async def _climb(self, node: int) -> None:
        """Ask about a label, and then upwards until something is known."""
        label = node
        while node >= 0 and not self.fetched.stopped:
            if node not in self._asked:
                self._asked[node] = asyncio.ensure_future(self._ask(node, node == label))
            try:
                if await self._asked[node]:
                    return
            except DomainclipError as error:
                self._fail(label, error)
                return
            node = int(self.tree.parent[node])

    async def _ask(self, node: int, is_label: bool) -> bool:
        """Ask about one node unless that was done; return whether something is known of it."""
        key = self.tree.key(node)
        known = None if self.refresh else self.store.status(self.provider.name, key)
        if known is not None:
            self.fetched.skipped += is_label
            return known == "found"
        answer = await self.provider.ask(self.tree, node)
        self._failures = 0
        self.fetched.asked += 1
        self.store.put(self.provider.name, key, self._with_traits(answer))
        return answer.status == "found"

    def _with_traits(self, answer: Answer) -> Answer:
        if self.extract is None:
            return answer
        records = tuple(
            record if record.traits else replace(record, traits=self.extract(record))
            for record in answer.records
        )
        return replace(answer, records=records)

    def _fail(self, label: int, error: DomainclipError) -> None:
        self.fetched.failed.append((self.tree.key(label), error.message))
        self._failures += 1
        if self._failures >= LOST:
            self.fetched.stopped = error.message
