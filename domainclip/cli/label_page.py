"""A page of what is known of one label, as `domainclip knowledge show` writes it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .output import Output

if TYPE_CHECKING:
    from domainclip.domains.contract import LabelKey
    from domainclip.knowledge.lookup import KnowledgeBase
    from domainclip.knowledge.records import Record, Trait

LINE = 96
"""Longest line of a page on a terminal."""


class LabelPage:
    """What is known of one label, ready to be written."""

    def __init__(self, base: KnowledgeBase, node: int) -> None:
        self.node, self.tree = node, base.tree
        self.records, self.idle = base.records(node), base.idle_sheet(node)
        from domainclip.knowledge.records import shown_name

        asked = base.store.asked(base.tree.key(node))
        self.asked = [one._replace(provider=shown_name(one.provider)) for one in asked]

    def write(self, out: Output) -> None:
        """Write it as a page, tables, one object, or the traits alone."""
        if out.quiet:
            for text in dict.fromkeys(t.text for record in self.records for t in record.traits):
                out.line(text)
        elif out.style == "json":
            out.value(
                {
                    **self._label(),
                    "asked": [asked._asdict() for asked in self.asked],
                    "records": [
                        {
                            **_facts(record),
                            "used": record not in self.idle,
                            "sentences": _sentences(record),
                            "traits": [_trait(trait) for trait in record.traits],
                        }
                        for record in (*self.idle, *self.records)
                    ],
                }
            )
        elif out.style == "csv":
            tables = {
                "label": [{"key": k, "value": v} for k, v in self._label().items()],
                "asked": [asked._asdict() for asked in self.asked],
                "records": [_facts(record) for record in self.records],
                "sentences": [
                    {"source": record.source, "section": record.section, "sentence": sentence}
                    for record in self.records
                    for sentence in _sentences(record)
                ],
                "traits": [_trait(trait) for record in self.records for trait in record.traits],
            }
            out.tables({title: rows for title, rows in tables.items() if rows})
        else:
            for line in self._page():
                out.line(line)

    def _label(self) -> dict[str, Any]:
        from domainclip.domains.contract import COMMON

        return {
            "label": self.tree.name(self.node),
            "common": self.tree.name(self.node, COMMON) or "",
            "lineage": say_lineage(self.tree.key(self.node)),
        }

    def _page(self) -> Iterator[str]:
        label = self._label()
        yield label["label"] + (f" ({label['common']})" if label["common"] else "")
        yield label["lineage"]
        for asked in self.asked:
            if asked.status != "found":
                yield f"{asked.provider}: {asked.status} ({asked.reason}), asked {asked.time}"
        for record in (*self.idle, *self.records):
            yield ""
            facts = [record.title, record.section]
            facts += [f"revision {record.revision}", record.licence or "licence unknown"]
            yield f"{record.source}: {', '.join(filter(None, facts))}"
            if record.inherited:
                yield f"  about {say_lineage(record.subject)}: there is no text on the label itself"
            if record in self.idle:
                yield "  stands back: texts about the label are stored"
            if record.url:
                yield f"  {record.url}"
            sentences = _sentences(record)
            by_sentence: dict[str, list[str]] = {}
            for trait in record.traits:
                by_sentence.setdefault(trait.sentence, []).append(trait.text)
            for sentence in dict.fromkeys((*sentences, *by_sentence)):
                if sentence in sentences:
                    yield from _wrapped(sentence, "  ")
                for text in by_sentence.get(sentence, ()):
                    yield from _wrapped(text, "    - ")


def _facts(record: Record) -> dict[str, Any]:
    return {
        "source": record.source,
        "title": record.title,
        "section": record.section,
        "revision": record.revision,
        "licence": record.licence,
        "inherited": record.inherited,
        "about": say_lineage(record.subject),
        "url": record.url,
        "fetched": record.fetched,
    }


def _trait(trait: Trait) -> dict[str, str]:
    return {
        "trait": trait.text,
        "sentence": trait.sentence,
        "source": trait.source,
        "revision": trait.revision,
    }


def _sentences(record: Record) -> list[str]:
    from domainclip.knowledge.sentences import split_sentences

    return split_sentences(record.text)


def say_lineage(label: LabelKey) -> str:
    """Return the present names of a lineage, coarsest first."""
    return " > ".join(name for name in label if name)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, LINE, initial_indent=indent, subsequent_indent=" " * len(indent),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
