"""Labels are asked about once, with their ancestors, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from domainclip.domains.labels import LabelTree
from domainclip.errors import DomainclipError
from domainclip.knowledge.fetch import LOST, fetch
from domainclip.knowledge.records import Answer, Record, Trait
from domainclip.knowledge.store import KnowledgeStore

TREE = LabelTree.from_columns(
    {
        "family": ["F"] * 5 + ["G"],
        "genus": ["Fa", "Fa", "Fa", "Fb", "Fb", "Ga"],
        "species": ["Fa a", "Fa b", "Fa c", "Fb a", "Fb b", "Ga a"],
    }
)
LEAVES = TREE.leaves.tolist()
KNOWN = {"Fa a", "Fa", "G"}


class Source:
    """Knows some names, counts what it is asked, and may fail."""

    name = "source"

    def __init__(self, known=KNOWN, fails=()):
        self.known, self.fails = set(known), set(fails)
        self.asked, self.open, self.most, self.closed = [], 0, 0, 0

    async def ask(self, tree, node):
        name = tree.names[node]
        self.asked.append(name)
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.002)
        self.open -= 1
        if name in self.fails or "all" in self.fails:
            raise DomainclipError("the site is lost", "try later")
        if name not in self.known:
            return Answer("missing", reason="no page")
        key = tree.key(node)
        return Answer(
            "found", (Record(label=key, subject=key, source=self.name, text=f"{name} is red."),)
        )

    async def close(self):
        self.closed += 1


@pytest.fixture
def store(tmp_path):
    with KnowledgeStore(tmp_path / "a.sqlite") as store:
        yield store


def status(store):
    return {name: store.status("source", TREE.key(n)) for n, name in enumerate(TREE.names)}


def test_ancestors_are_asked_about_only_where_the_label_has_nothing(store):
    source = Source()
    fetched = fetch(source, TREE, LEAVES, store)
    assert sorted(source.asked) == sorted(
        [*(TREE.names[n] for n in LEAVES), "Fa", "Fb", "F", "Ga", "G"]
    )
    assert status(store) == {
        "Fa a": "found", "Fa": "found", "G": "found",
        "Fa b": "missing", "Fa c": "missing", "Fb a": "missing", "Fb b": "missing",
        "Ga a": "missing", "Fb": "missing", "F": "missing", "Ga": "missing",
    }  # fmt: skip
    assert fetched.asked == len(source.asked) and not fetched.failed and not fetched.left
    assert source.closed == 1


def test_a_second_run_asks_nothing_and_says_what_it_skipped(store):
    fetch(Source(), TREE, LEAVES, store)
    again = Source()
    fetched = fetch(again, TREE, LEAVES, store)
    assert again.asked == [] and fetched.skipped == len(LEAVES) and fetched.asked == 0


def test_refresh_asks_again(store):
    fetch(Source(known=()), TREE, LEAVES, store)
    fetch(Source(), TREE, LEAVES, store, refresh=True)
    assert status(store)["Fa a"] == "found"


def test_a_label_without_an_answer_of_its_own_still_gets_its_ancestor_on_the_second_run(store):
    fetch(Source(fails={"Fb"}), TREE, [LEAVES[3]], store)
    assert status(store)["Fb a"] == "missing" and status(store)["Fb"] is None
    source = Source(known={"Fb"})
    fetch(source, TREE, [LEAVES[3]], store)
    assert source.asked == ["Fb"] and status(store)["Fb"] == "found"


def test_a_failure_is_not_kept_as_missing_and_the_rest_goes_on(store):
    fetched = fetch(Source(fails={"Fa b"}), TREE, LEAVES, store, concurrency=1)
    assert status(store)["Fa b"] is None and status(store)["Ga a"] == "missing"
    assert fetched.failed == [(TREE.key(LEAVES[1]), "the site is lost")]
    assert not fetched.stopped


def test_a_lost_source_is_left_alone_and_what_is_left_is_told(store):
    source = Source(fails={"all"})
    fetched = fetch(source, TREE, LEAVES, store, concurrency=1)
    assert len(source.asked) == LOST and fetched.stopped == "the site is lost"
    assert fetched.left == len(LEAVES) - LOST and len(fetched.failed) == LOST
    assert store.labels() == []
    fetched = fetch(Source(), TREE, LEAVES, store)
    assert not fetched.stopped and status(store)["Fa a"] == "found"


def test_failures_here_and_there_do_not_stop_the_work(store):
    fails = {"Fa b", "Fa c", "Fb b"}
    fetched = fetch(Source(fails=fails), TREE, LEAVES, store, concurrency=1)
    assert len(fetched.failed) == 3 and not fetched.stopped


def test_no_more_labels_at_a_time_than_told_and_none_twice(store):
    source = Source(known=())
    fetch(source, TREE, [*LEAVES, *LEAVES], store, concurrency=2)
    assert source.most == 2 and len(source.asked) == len(set(source.asked))


def test_traits_are_found_in_records_that_have_none(store):
    def extract(record):
        return (Trait(text="red", sentence=record.text, source=record.source),)

    fetch(Source(), TREE, LEAVES, store, extract=extract)
    (record,) = store.own(TREE.key(LEAVES[0]))
    assert [trait.sentence for trait in record.traits] == ["Fa a is red."]


def test_progress_counts_labels(store):
    steps = []
    fetch(Source(), TREE, LEAVES, store, progress=steps.append)
    assert sum(steps) == len(LEAVES)


def test_it_works_where_a_loop_runs_already_as_in_a_notebook(store):
    async def cell():
        return fetch(Source(), TREE, LEAVES, store)

    assert asyncio.run(cell()).asked > 0


def test_an_error_of_our_own_is_not_a_lost_source(store):
    def extract(record):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch(Source(), TREE, LEAVES, store, extract=extract)


SLOW = """
    import asyncio, sys
    from domainclip.domains.labels import LabelTree
    from domainclip.knowledge.fetch import fetch
    from domainclip.knowledge.records import Answer
    from domainclip.knowledge.store import KnowledgeStore

    class Slow:
        name = "source"
        async def ask(self, tree, node):
            print("asked", flush=True)
            await asyncio.sleep(0.05)
            return Answer("missing")

    tree = LabelTree.from_columns({"name": [f"n{i}" for i in range(2000)]})
    store = KnowledgeStore(sys.argv[1])
    async def cell():
        fetch(Slow(), tree, range(2000), store, concurrency=2)
    try:
        if sys.argv[2] == "notebook":
            asyncio.new_event_loop().run_until_complete(cell())  # SIGINT as notebooks take it
        else:
            fetch(Slow(), tree, range(2000), store, concurrency=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a child")
@pytest.mark.parametrize("place", ["script", "notebook"])
def test_an_interrupt_ends_it_at_once_and_keeps_what_was_answered(tmp_path, place):
    import domainclip

    path = tmp_path / "a.sqlite"
    env = {**os.environ, "PYTHONPATH": str(Path(domainclip.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(SLOW), str(path), place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as process:
        for _ in range(8):
            assert process.stdout is not None and process.stdout.readline() == "asked\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - start < 5
    with KnowledgeStore(path) as store:
        assert 5 <= len(store.labels("source")) <= 100
