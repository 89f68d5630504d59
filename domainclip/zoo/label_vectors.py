"""Label vectors that the publishers of a model computed: read, checked, put into its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError, LabelError

from .card import Card
from .store import CARD, CONFIG, read_json, write_json

VECTORS, NODES = "label_vectors.npy", "label_nodes.npy"
"""Unit vectors, shape (n, dim), and the node of the label tree that each is of."""
KEY = "label_vectors"
"""Of `domainclip.json`: the digest of the tree that they are of, and how many there are."""
LABELS = "labels.csv"
EXACT = 1 << 23
"""Numbers up to which vectors are kept in single precision, as the cache of labels does."""
BLOCK = 1 << 14


def add_vectors(card: Card, files: Path, folder: Path) -> int:
    """Put the vectors of a card and the labels that they are of into a model folder.

    They come as pybioclip 2.1 reads them: an array of shape (dim, n), and a list of n pairs of
    names by rank and common name. The last of the names is said after the one before it.

    Args:
        card: The card of the model.
        files: Where its files were fetched to.
        folder: The model folder, which is not in use yet.

    Returns:
        How many labels there are now.

    Raises:
        DataError: If the two files do not fit each other, the model, or its domain.
    """
    assert card.label_vectors is not None
    wanted = card.label_vectors.source.files
    if len(wanted) != 2:
        raise DataError(f"the card of {card.name} names no two files of label vectors")
    vectors = _open_vectors(files / wanted[0])
    rows = _read_rows(files / wanted[1])
    ranks = get_domain(card.domain).ranks
    dim = int(read_json(folder / CONFIG)["model_cfg"]["embed_dim"])
    known = card.label_vectors.labels
    if vectors.shape != (dim, len(rows)) or known not in (None, len(rows)):
        said = f" and {known:,} by the card" if known else ""
        raise DataError(
            f"{wanted[0]} has the shape {vectors.shape}; it is to be ({dim}, {len(rows)}), by the "
            f"model and {wanted[1]}{said}",
            "the vectors are of another model or another list",
        )
    columns = _columns_of(rows, ranks, wanted[1])
    try:
        tree = LabelTree.from_columns(columns, ranks, common=[str(one or "") for _, one in rows])
        (folder / LABELS).unlink(missing_ok=True)  # it may be a second name of a file in use
        tree.to_csv(folder / LABELS)
        tree = LabelTree.from_csv(folder / LABELS, ranks=ranks)
        nodes, first = np.unique(tree.nodes_of(columns), return_index=True)
    except LabelError as error:
        raise DataError(f"{wanted[1]}: {error.message}", error.hint) from error
    _write_vectors(vectors, first, folder / VECTORS)
    (folder / NODES).unlink(missing_ok=True)
    np.save(folder / NODES, nodes.astype(np.int32))
    told = read_json(folder / CARD)
    digest = tree.digest()
    told |= {"ranks": list(ranks), "labels": digest, KEY: {"labels": digest, "count": len(nodes)}}
    write_json(folder / CARD, told)
    return len(nodes)


def _open_vectors(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path.name} is no array of numbers: {error}") from error
    if found.ndim != 2 or found.dtype not in (np.float16, np.float32):
        raise DataError(f"{path.name} holds {found.dtype} of the shape {found.shape}, no vectors")
    return found


def _read_rows(path: Path) -> list[tuple[list[str], str | None]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [([str(name or "") for name in names], common) for names, common in rows]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path.name} is no list of labels: {error}",
            "each is a pair: the names by rank, and a common name",
        ) from error


def _columns_of(
    rows: Sequence[tuple[list[str], str | None]], ranks: Sequence[str], file: str
) -> dict[str, list[str]]:
    for i, (names, _) in enumerate(rows, 1):
        if len(names) != len(ranks):
            raise DataError(
                f"{file}: label {i} has {len(names)} names, and its domain has {len(ranks)} ranks"
            )
    columns = {rank: [names[i] for names, _ in rows] for i, rank in enumerate(ranks)}
    above, last = ranks[-2:]
    columns[last] = [
        f"{a} {b}" if a and b else b for a, b in zip(columns[above], columns[last], strict=True)
    ]
    return columns


def _write_vectors(vectors: NDArray[Any], rows: NDArray[np.int64], path: Path) -> None:
    """Write the chosen columns as rows of unit length, a block at a time."""
    path.unlink(missing_ok=True)
    kind = np.float32 if len(rows) * len(vectors) <= EXACT else np.float16
    out = np.lib.format.open_memmap(path, "w+", kind, (len(rows), len(vectors)))
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(vectors[:, rows[start : start + BLOCK]].T, dtype=np.float32)
        length = np.linalg.norm(block, axis=1, keepdims=True)
        if not np.isfinite(block).all() or not length.all():
            raise DataError("some label vectors are not finite, or have no length")
        out[start : start + BLOCK] = block / length
    out.flush()
