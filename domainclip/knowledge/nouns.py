"""The plain word for what a picture shows, where a domain can vouch for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce

from domainclip.domains.contract import Domain, TraitSheet
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import fold


def find_noun(domain: Domain, tree: LabelTree, node: int) -> str:
    """Return the domain's noun for a picture of a label, "" where it may be a wrong word.

    The noun ("butterfly") holds for the built-in labels. It is taken to hold for a label that
    shares a group with them, below the nearest group that they all lie in ("Lepidoptera", which
    has moths as well).
    """
    vouched = _vouched_names(domain.labels, domain.builtin.sheets)
    return domain.noun if any(fold(name) in vouched for name in tree.path(node)) else ""


@lru_cache(maxsize=16)
def _vouched_names(
    labels: Callable[[], LabelTree], sheets: Callable[[], tuple[TraitSheet, ...]]
) -> frozenset[str]:
    tree = labels()
    nodes = [tree.node(sheet.label) for sheet in sheets()]
    top = reduce(lambda a, b: int(tree.lowest_common_ancestor(a, b)) if a >= 0 else a, nodes)
    above = set(tree.ancestors[top].tolist()) if top >= 0 else set()
    line = {int(a) for node in nodes for a in tree.ancestors[node] if a >= 0} - above
    return frozenset(fold(tree.name(node) or "") for node in line)
