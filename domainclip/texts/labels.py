"""The ways to say a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domainclip.domains.labels import LabelTree

NAME_VIEWS = ("formal", "common", "path", "formal_common", "path_common")
"""The five name views of BioCLIP (arXiv:2311.18803, section 3.2), under neutral names."""

_WITHOUT_COMMON = {"common": "formal", "formal_common": "formal", "path_common": "path"}


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


def find_view(views: Mapping[str, str], wanted: str) -> str:
    """Return the view that is wanted, or of a label without a common name the same without it."""
    return wanted if wanted in views else _WITHOUT_COMMON[wanted]


def _without_repeats(path: Sequence[str]) -> list[str]:
    """Drop what the next rank says again: genus "Danaus" before the binomial "Danaus plexippus"."""
    last = len(path) - 1
    return [
        name for i, name in enumerate(path) if i == last or not path[i + 1].startswith(f"{name} ")
    ]
