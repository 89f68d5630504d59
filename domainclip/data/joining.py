"""Joins stored captions to the pictures of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError

from .batches import PictureSet
from .captions import find_generation, read_captions


@dataclass(frozen=True)
class Joined:
    """Stored captions of the pictures of a run."""

    captions: dict[str, list[list[tuple[str, ...]]]]
    """Split -> source -> captions of each picture."""
    sources: tuple[str, ...]
    """What was read, each with its generation: `folder@generation`."""
    digest: str
    """Changes with the captions and the generations."""
    messages: list[str]
    """What people should know: how many pictures have a caption, which captions have no picture."""


def join_captions(
    folders: Sequence[str],
    tree: LabelTree,
    splits: Mapping[str, PictureSet],
    seed: int | None = None,
    *,
    limited: bool = False,
) -> Joined:
    """Join stored captions to pictures by sample id.

    Args:
        folders: `folder` or `folder@generation`, as `read_captions` takes them.
        tree: The tree of the pictures' labels.
        splits: The pictures by split.
        seed: Seed of the built-in pictures; None for pictures of one's own.
        limited: Whether `data.limit` left pictures out.

    Raises:
        DataError: If a folder holds no captions, or none for any picture.
        UsageError: If a folder has no such generation.
    """
    ids = [one for split in splits.values() for one in split.ids]
    nodes = [node for split in splits.values() for node in split.nodes.tolist()]
    paths = {node: " > ".join(tree.path(node)) for node in set(nodes)}
    captions: dict[str, list[list[tuple[str, ...]]]] = {name: [] for name in splits}
    digest = hashlib.sha256()
    messages: list[str] = []
    pinned: list[str] = []
    for folder in folders:
        pinned.append(_pin(folder, seed))
        stored = read_captions([folder], ids, [paths[node] for node in nodes], limited=limited)
        messages += stored.messages
        if not stored.found:
            raise DataError(
                stored.messages[-1],
                "captions are joined by sample id: caption the data that the run names, under its "
                "seed",
            )
        start = 0
        for name, split in splits.items():
            captions[name].append(stored.captions[start : start + len(split)])
            start += len(split)
        digest.update(repr((stored.generation, stored.captions)).encode())
    have = sum(map(any, zip(*captions["train"], strict=True)))
    messages.append(f"{have:,} of {len(splits['train']):,} training pictures have a stored caption")
    return Joined(captions, tuple(pinned), digest.hexdigest(), messages)


def _pin(folder: str, seed: int | None) -> str:
    """Return the folder with the generation that it means now.

    Raises:
        DataError: If it was written for built-in pictures of another seed: under the same ids these
            are other pictures.
    """
    if Path(folder).expanduser().is_file():
        return folder
    generation, _ = find_generation(folder)
    sources = generation.about.get("data") or []
    seeds = {one.get("seed") for one in sources if one.get("source") == "builtin"}
    if seed is not None and seeds and seed not in seeds:
        raise DataError(
            f"{folder} ({generation.name}): captions of built-in pictures of seed "
            f"{', '.join(map(str, seeds))}, not of seed {seed}",
            f"under another seed other pictures are drawn: domainclip caption --seed {seed}",
        )
    return f"{generation.folder.parent}@{generation.name}"
