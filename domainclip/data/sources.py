"""A source of pictures, made uniform: ids, splits, labels, captions, groups and licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree

from .columns import guess_columns
from .raw import open_raw
from .table import Table, is_missing, some_of

SHOWN = 4
"""Lineages of one name that a message shows."""


@dataclass(frozen=True)
class Source:
    """Pictures of one source, with what was found out about them."""

    name: str
    dataset: Any
    """A `datasets.Dataset` with the columns id, image (undecoded), split, label, the ranks, common,
    captions, group, licence, all text, captions a list; and weight, a number, where there is one.
    """
    ranks: tuple[str, ...]
    """Rank columns, coarsest first; ("label",) where the data has none."""
    tree: LabelTree
    nodes: NDArray[np.int32]
    """Shape (n,): the label node of each row."""
    stamps: list[object] = field(repr=False)
    """Changes with the picture, one a row."""
    guesses: list[str]
    """What was taken for what, one line each."""
    problems: list[str]
    """What a person should look at, one line each."""
    unreadable: list[tuple[str, str]]
    """(id, reason) of rows that were left out."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)
    """The columns as they came, rows that were left out included."""
    rows: Sequence[int] = field(default=(), repr=False)
    """Of each picture its row in `columns`."""

    def metadata(self, row: int) -> dict[str, Any]:
        """Return what the user's own columns say of a picture, empty cells left out."""
        at = self.rows[row]
        cells = {name: values[at] for name, values in self.columns.items()}
        return {name: cell for name, cell in cells.items() if not is_missing(cell)}

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.dataset)


def open_source(
    spec: str,
    domain: Domain,
    *,
    columns: Mapping[str, str] | None = None,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    streaming: bool = False,
    strict: bool = True,
    used: Sequence[str] = (),
    pairs: bool = False,
) -> Source:
    """Open a source of pictures; no picture is decoded.

    Args:
        spec: A folder, a CSV, TSV, JSONL or Parquet table, `.tar` shards or a Hub id.
        domain: Names ranks and further columns, and enriches the label tree.
        columns: Part -> column, where a guess would be wrong.
        val_share: Share of the training pictures for validation, where the data names none.
        test_share: Share of all pictures for the test, where the data names none.
        seed: Seed of splits that are made.
        streaming: Read shards and Hub data sets as a stream.
        strict: Refuse one group in two splits, and a single label; else they become problems.
        used: Columns that the caller reads by their own names.
        pairs: Take pictures without labels where they have captions: all get the same label.

    Raises:
        DataError: If the source is missing, empty or contradicts itself.
        UsageError: If `columns` names what is not there.
    """
    raw = open_raw(spec, any_ending=domain.read_image is not None, streaming=streaming)
    names = guess_columns(list(raw.columns), domain, columns)
    names = replace(names, unused=tuple(name for name in names.unused if name not in used))
    table = Table(spec, raw, names, strict)
    table.find_pictures()
    table.find_labels(pairs)
    table.drop()
    splits, said = table.find_splits(val_share, test_share, seed)
    tree, nodes, matched = _build_tree(table, domain)
    problems = _problems(table, tree, nodes, splits)
    known = f"{matched} of the {len(np.unique(nodes))} labels are known to the domain {domain.name}"
    if table.unlabelled:
        known = "no picture has a label: only captions tell them apart"
    return Source(
        spec,
        table.dataset(splits),
        tuple(table.lineages),
        tree,
        nodes,
        table.stamps,
        [*table.lines, *said, known],
        [*table.problems, *problems],
        table.left_out,
        raw.columns,
        table.rows,
    )


def _build_tree(table: Table, domain: Domain) -> tuple[LabelTree, NDArray[np.int32], int]:
    lines, common = _common_names(table)
    own = LabelTree.from_columns(lines, tuple(lines), common=common)
    nodes = own.nodes_of(table.lineages)
    enriched = own.enrich(domain.labels())
    return enriched.tree, enriched.nodes[nodes], enriched.matched


def _common_names(table: Table) -> tuple[dict[str, list[str]], list[str]]:
    """Return lineages and the common name of each.

    Where labels lie below the ranks and all labels of one lineage share a common name, it is the
    lineage's: the crop is called apple, not the apple's disease.
    """
    lines, common = table.lineages, table.common
    if len(lines) < 2 or "label" not in lines or not any(common):
        return lines, common
    above = list(zip(*(cells for rank, cells in lines.items() if rank != "label"), strict=True))
    names: dict[tuple[str, ...], str] = {}
    for line, name in zip(above, common, strict=True):
        if name and any(line) and names.setdefault(line, name) != name:
            return lines, common
    extra = list(names)
    more = {rank: [line[i] for line in extra] for i, rank in enumerate(list(lines)[:-1])}
    more["label"] = [""] * len(extra)
    own = [name if not any(line) else "" for line, name in zip(above, common, strict=True)]
    return {rank: lines[rank] + more[rank] for rank in lines}, own + list(names.values())


def _problems(
    table: Table, tree: LabelTree, nodes: NDArray[np.int32], splits: Sequence[str]
) -> list[str]:
    said: list[str] = []
    if table.left_out:
        named = some_of([one for one, _ in table.left_out], "picture")
        verb = "is" if len(table.left_out) == 1 else "are"
        reasons = ", ".join(dict.fromkeys(reason for _, reason in table.left_out))
        said.append(f"{named} {verb} left out: {reasons}")
    used = np.unique(nodes)
    if len(used) == 1 and not table.unlabelled:
        only = tree.name(int(used[0]))
        if any(table.captions):
            said.append(f"all pictures have the label {only!r}; only captions tell them apart")
        else:
            table.refuse(
                f"all pictures have the label {only!r}, so there is nothing to tell apart",
                "add pictures of another label, or captions",
            )
    where = np.asarray(splits)
    trained = set(nodes[where == "train"].tolist())
    tested = set(nodes[np.isin(where, ["test", "test_unseen"])].tolist())
    untested = [tree.name(node) or "" for node in sorted(trained - tested)]
    if untested:
        said.append(f"no test picture: {some_of(untested, 'label')}")
    seen = set(nodes[where == "test"].tolist())
    untrained = [tree.name(node) or "" for node in sorted(seen - trained)]
    if untrained:
        said.append(f"in test, but not trained on: {some_of(untrained, 'label')}")
    for name, nodes_of_name in tree.ambiguous().items():
        several = [node for node in nodes_of_name if node in tree.ancestors[used]]
        if len(several) > 1:
            lines = "; ".join(" > ".join(tree.path(node)) for node in several[:SHOWN])
            more = f"; and {len(several) - SHOWN} more" if len(several) > SHOWN else ""
            said.append(
                f"{name!r} stands for {len(several)} labels of different lineage: {lines}{more}"
            )
    return said
