"""The results table of a run, as a model card shows it: Markdown for people, an index for a Hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RECALL = "recall@"
METRICS = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
}
Row = Mapping[str, Any]


def score_tables(rows: Sequence[Row]) -> str:
    """Return the results as Markdown: a line for each rank, an interval beside each number."""
    named = [row for row in rows if row["metric"] in METRICS]
    found = [row for row in rows if str(row["metric"]).startswith(RECALL)]
    parts = []
    if named:
        keys = ("split", "candidates", "rank")
        parts.append("Naming:\n\n" + _table(named, keys, [*METRICS], METRICS))
    if found:
        metrics = list(dict.fromkeys(str(row["metric"]) for row in found))
        parts.append("Finding:\n\n" + _table(found, ("split", "candidates"), metrics, {}))
    return "\n\n".join(parts)


def score_index(
    rows: Sequence[Row], *, name: str, dataset: str, dataset_title: str
) -> list[dict[str, Any]]:
    """Return `model-index` of a card's head: the finest rank, and recall at one.

    Args:
        rows: The results table.
        name: Of the model.
        dataset: Hub id of the test data, or a word for data that is on no Hub.
        dataset_title: The same for people.
    """
    results = []
    for (split, candidates), group in _groups(rows, ("split", "candidates")).items():
        tops = [row for row in group if row["metric"] == "top1"][-1:]
        recalls = [row for row in group if str(row["metric"]).startswith(f"{RECALL}1 ")]
        metrics = [
            _metric("accuracy", f"top-1 at {row['rank']}, candidates: {candidates}", row)
            for row in tops
        ]
        metrics += [_metric("recall", str(row["metric"]), row) for row in recalls]
        task = "zero-shot-image-classification" if tops else "image-text-retrieval"
        if metrics:
            results.append({
                "task": {"type": task},
                "dataset": {"type": dataset, "name": dataset_title, "split": split},
                "metrics": metrics,
            })  # fmt: skip
    return [{"name": name, "results": results}] if results else []


def say_score(row: Row, digits: int = 3) -> str:
    """Return a number with its 95% interval."""
    value = f"{row['value']:.{digits}f}"
    if row.get("low") is None or row.get("high") is None:
        return value
    return f"{value} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def cell(text: object) -> str:
    """Return a text as a cell of a Markdown table can hold it."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def _metric(kind: str, name: str, row: Row) -> dict[str, Any]:
    args = {"n": int(row["n"])}
    if row.get("low") is not None:
        args |= {"low": round(row["low"], 4), "high": round(row["high"], 4)}
    return {"type": kind, "value": round(float(row["value"]), 4), "name": name, "args": args}


def _table(
    rows: Sequence[Row], keys: Sequence[str], metrics: Sequence[str], titles: Mapping[str, str]
) -> str:
    groups = _groups(rows, keys)
    used = [m for m in metrics if any(row["metric"] == m for row in rows)]
    lines = []
    for key, group in groups.items():
        said = {row["metric"]: say_score(row) for row in group}
        lines.append([*key, *(said.get(m, "") for m in used), group[0]["n"]])
    return table(lines, [*keys, *(titles.get(m, m) for m in used), "pictures"])


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[key]) for key in keys), []).append(row)
    return groups
