"""The ways to say a label."""

from __future__ import annotations

from collections.abc import Sequence

from domainclip.domains.labels import LabelTree

NAME_VIEWS = ("formal", "common", "path", "formal_common", "path_common")
"""The five name views of BioCLIP (arXiv:2311.18803, section 3.2), under neutral names."""

WITHOUT_COMMON = {"common": "formal", "formal_common": "formal", "path_common": "path"}
"""The view that stands in for each one that a label without a common name lacks."""


def say_label(tree: LabelTree, node: int) -> dict[str, str]:
    """Return the name views that a label has; those with a common name only where it has one."""
    formal, common = tree.name(node) or "", tree.name(node, "common")
    path = " ".join(_without_repeats(tree.path(node)))
    views = {"formal": formal, "path": path}
    if common:
        views["common"] = common
        views["formal_common"] = f"{formal} with common name {common}"
        views["path_common"] = f"{path} with common name {common}"
    return views


def _without_repeats(path: Sequence[str]) -> list[str]:
    """Drop what the next rank says again: genus "Danaus" before the binomial "Danaus plexippus"."""
    last = len(path) - 1
    return [
        name for i, name in enumerate(path) if i == last or not path[i + 1].startswith(f"{name} ")
    ]
