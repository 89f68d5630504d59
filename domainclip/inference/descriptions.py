"""Descriptions of labels out of what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError
from domainclip.knowledge.lookup import open_knowledge
from domainclip.knowledge.records import SHEET


def describe_labels(
    domain: Domain, tree: LabelTree, nodes: Sequence[int], store: Path | None = None
) -> dict[str, list[str]]:
    """Return what is known to be visible of labels, by name; labels of one name are left out.

    Args:
        domain: Brings its shipped sheets, and the place where knowledge is kept.
        tree: The tree of the labels.
        nodes: The labels.
        store: Another place where knowledge is kept.

    Raises:
        UsageError: If nothing is known of any of them.
    """
    said: dict[str, list[str]] = {}
    twice: set[str] = set()
    with open_knowledge(domain, tree, store) as known:
        for node in nodes:
            name = tree.name(int(node)) or ""
            told: list[str] = []
            for record in known.records(int(node)):
                if record.source == SHEET:
                    told.append(record.text)
                else:
                    told += [trait.text for trait in record.traits]
            if name in said:
                twice.add(name)
            said[name] = list(dict.fromkeys(text for text in told if text))
    said = {name: told for name, told in said.items() if told and name not in twice}
    if not said:
        raise UsageError(
            f"nothing is known of any of the {len(nodes)} labels",
            f"gather it first: domainclip knowledge fetch --domain {domain.name}",
        )
    return said
