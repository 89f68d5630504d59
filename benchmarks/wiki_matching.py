"""Ask a wiki on this machine about labels whose right page is known, and count right and wrong.

    python benchmarks/wiki_matching.py [--verbose]

The pages and cases lie in `tests/knowledge`: names that two groups share, lists of meanings, old
names, redirects, labels without a page, genera alone, cells and scenes. A page is wrong when a text
is taken as the label's, or its ancestor's, that is about something else. The targets are no wrong
page and 95 % of the right ones.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.knowledge.records import Answer
from domainclip.knowledge.wikipedia import WikipediaProvider

FILES = Path(__file__).resolve().parents[1] / "tests" / "knowledge"
FIELDS = ("medical", "remote_sensing")


@dataclass(frozen=True)
class Case:
    """One label and what should be found for it."""

    kind: str
    label: tuple[str, ...]
    expected: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What was found for one label."""

    case: Case
    answer: Answer
    requests: int

    @property
    def page(self) -> str:
        """Title of the page that was taken, or ""."""
        return self.answer.records[0].title if self.answer.records else ""

    @property
    def subject(self) -> str:
        """Name of what the text is said to be about."""
        return self.answer.records[0].subject[-1] if self.answer.records else ""

    @property
    def right(self) -> bool:
        """Whether it is the page that should be found, said to be about what it is about."""
        expected = self.case.expected
        if not expected["page"]:
            return not self.page and expected["status"] in ("any", self.answer.status)
        subject = expected.get("subject", self.case.label[-1])
        return self.page == expected["page"] and self.subject == subject

    @property
    def wrong_page(self) -> bool:
        """Whether a page was taken that is about something else."""
        return bool(self.page) and not self.right


def load_server() -> ModuleType:
    """Load the wiki of the tests."""
    spec = importlib.util.spec_from_file_location("wiki_server", FILES / "wiki_server.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wiki_server"] = module
    spec.loader.exec_module(module)
    return module


def read_cases() -> Iterator[Case]:
    """Read the cases, the lineages of their labels written out."""
    read = yaml.safe_load((FILES / "wiki_cases.yaml").read_text(encoding="utf-8"))
    for kind, cases in read["cases"].items():
        for case in cases:
            first, *rest = case["label"].split(">")
            line = read["lines"].get(first, first).split(">")
            yield Case(kind, (*line, *rest), case)


def build_tree(cases: list[Case], ranks: tuple[str, ...]) -> LabelTree:
    """Build one tree of the labels of all cases, so that homonyms lie side by side."""
    columns = {
        rank: [case.label[i] if i < len(case.label) else "" for case in cases]
        for i, rank in enumerate(ranks)
    }
    return LabelTree.from_columns(
        columns,
        ranks,
        common=[case.expected.get("common", "") for case in cases],
        synonyms=["|".join(case.expected.get("synonyms", ())) for case in cases],
    )


def open_fields(cases: list[Case]) -> dict[str, tuple[WikiRules, LabelTree]]:
    """Return rules and label tree by field; "" is that of the cases themselves."""
    own = [case for case in cases if case.kind not in FIELDS]
    first = get_domain("biology")
    assert first.knowledge is not None
    fields = {"": (first.knowledge.wiki, build_tree(own, first.ranks))}
    for name in FIELDS:
        field = get_domain(name)
        assert field.knowledge is not None
        fields[name] = (field.knowledge.wiki, field.labels())
    return fields


async def ask_all(cases: list[Case], wiki: Any) -> list[Result]:
    """Ask about each label, one after the other, each with a memory of its own."""
    fields = open_fields(cases)
    results = []
    for case in cases:
        rules, tree = fields[case.kind if case.kind in FIELDS else ""]
        provider = WikipediaProvider(
            rules, contact="benchmark@example.org", site=wiki.url, rate=10_000.0
        )
        before = len(wiki.requests)
        answer = await provider.ask(tree, tree.node(case.label))
        await provider.close()
        results.append(Result(case, answer, len(wiki.requests) - before))
    return results


def main() -> None:
    """Print a row a kind, and every case that is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="print every case")
    verbose = parser.parse_args().verbose
    cases = list(read_cases())
    start = time.perf_counter()
    with load_server().Wiki() as wiki:
        results = asyncio.run(ask_all(cases, wiki))
    took = time.perf_counter() - start
    rows: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        rows[result.case.kind].append(result)
    print(f"{'cases':16} {'n':>4} {'right':>6} {'wrong pages':>12} {'requests each':>14}")
    for kind, found in (*rows.items(), ("all", results)):
        right, wrong = sum(r.right for r in found), sum(r.wrong_page for r in found)
        mean = sum(r.requests for r in found) / len(found)
        print(f"{kind:16} {len(found):4} {right:6} {wrong:12} {mean:14.1f}")
    there = [r for r in results if r.case.expected["page"]]
    share = sum(r.right for r in there) / len(there)
    most = max(r.requests for r in results)
    print(f"right pages found: {sum(r.right for r in there)} of {len(there)} ({share:.1%})")
    print(f"requests for one label: at most {most}; {took:.1f} s in all")
    for result in results:
        if verbose or not result.right:
            sign = "  " if result.right else ("!!" if result.wrong_page else " !")
            print(
                f"{sign} {result.case.kind}: {' > '.join(result.case.label[-3:])}: "
                f"{result.answer.status} {result.page!r} {result.subject!r}, "
                f"wanted {result.case.expected['page']!r} "
                f"({result.requests} requests; {result.answer.reason})"
            )
    if any(r.wrong_page for r in results) or share < 0.95:
        sys.exit(1)


if __name__ == "__main__":
    main()
