"""The report of a run: one page that opens without a network, with its pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from domainclip import plot
from domainclip.plot import Example

from .metrics import Confusion, ScoreRow
from .retrieval import RECALL

REPORT, PICTURES = "report.html", "pictures"
_TEMPLATE = Path(__file__).with_name("report.html")
_METRICS = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}
_THUMBNAIL = 192
"""Longest side of an example picture in pixels."""
_MOST_VALUES = 400
"""Values of the largest confusion that is drawn; of a larger one the commonest errors are told."""
_SCHEMATIC = (
    "The pictures are schematic: they were drawn by code to show that everything works. "
    "Nothing here tells how well a model does on real pictures."
)


def write_report(
    folder: str | Path,
    *,
    title: str,
    recipe_yaml: str,
    environment: Mapping[str, Any],
    rows: Sequence[ScoreRow],
    history: Sequence[Mapping[str, Any]] = (),
    confusions: Sequence[Confusion] = (),
    best: Sequence[Example] = (),
    worst: Sequence[Example] = (),
    sheet: Figure | None = None,
    error_distance: float | None = None,
    next_commands: Sequence[str] = (),
    notice: str = "",
    schematic: bool = False,
    remarks: Sequence[str] = (),
) -> Path:
    """Write `report.html` and the pictures that it shows into a folder.

    Args:
        folder: The run folder; pictures go into `pictures/` below it.
        title: Heading of the page.
        recipe_yaml: The resolved recipe.
        environment: What the run was made with, as JSON can say it.
        rows: The results table.
        history: The lines of `metrics.jsonl`.
        confusions: Confusion along the tree, one for each rank to show.
        best: The surest right predictions.
        worst: The surest wrong predictions.
        sheet: A contact sheet of the data.
        error_distance: Mean tree distance of the wrong predictions.
        next_commands: What to type next.
        notice: What the domain says with every result.
        schematic: Whether the pictures were drawn by the built-in generator; the page then says so.
        remarks: Sentences below the results, such as how many texts were cut.

    Returns:
        The page.
    """
    folder = Path(folder)
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    notices = [text for text in (notice, _SCHEMATIC if schematic else "") if text]
    found = [row for row in rows if row.metric.startswith(RECALL)]
    sections = [
        _results([row for row in rows if row not in found], error_distance),
        _retrieval(found),
        *(f'<p class="soft">{escape(text)}</p>' for text in remarks),
        _curves(history, pictures),
        _data(sheet, pictures),
        *(_confusion(found, pictures) for found in confusions),
        _examples("Surest right predictions", best, "best", pictures),
        _examples("Surest wrong predictions", worst, "worst", pictures),
        _made(recipe_yaml, environment),
        _next(next_commands),
    ]
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        notices="\n".join(f'<p class="notice">{escape(text)}</p>' for text in notices),
        summary=_summary(rows),
        body="\n".join(section for section in sections if section),
    )
    path = folder / REPORT
    partial = path.with_suffix(".html.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _summary(rows: Sequence[ScoreRow]) -> str:
    """Say the first split's top-1 at its finest rank in a sentence."""
    tops = [row for row in rows if row.metric == "top1" and row.split == rows[0].split]
    if not tops:
        return ""
    row = [top for top in tops if top.candidates == tops[0].candidates][-1]
    interval = "" if row.low is None else f" (95% interval {_interval(row)})"
    return (
        f"<p><strong>{row.value:.1%}</strong>{interval} of {row.n:,} pictures of "
        f"<em>{escape(row.split)}</em> are named right at {escape(row.rank)}, "
        f"candidates: {escape(row.candidates)}.</p>"
    )


def _results(rows: Sequence[ScoreRow], error_distance: float | None) -> str:
    if not rows:
        return ""
    present = {row.metric for row in rows}
    metrics = [m for m in _METRICS if m in present]
    left_out = any(row.left_out for row in rows)
    heads = ["split", "candidates", "rank", *(_METRICS[m] for m in metrics), "pictures"]
    heads += ["not scored"] * left_out
    text = len(heads) - len(metrics) - 1 - left_out
    kinds = ["", ' class="number"']
    head = "".join(f"<th{kinds[i >= text]}>{escape(h)}</th>" for i, h in enumerate(heads))
    lines = []
    for (split, candidates, rank), group in groupby(
        rows, key=lambda r: (r.split, r.candidates, r.rank)
    ):
        found = {row.metric: row for row in group}
        first = next(iter(found.values()))
        cells = [f"<td>{escape(said)}</td>" for said in (split, candidates, rank)]
        cells += [_cell(found.get(metric)) for metric in metrics]
        cells.append(f'<td class="number">{first.n:,}</td>')
        if left_out:
            cells.append(f'<td class="number">{first.left_out:,}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    notes = ["In brackets the 95% interval by bootstrap."] if rows[0].low is not None else []
    if left_out:
        notes.append(
            "Not scored: pictures labelled above the rank, or with a label that is no candidate."
        )
    if error_distance is not None:
        notes.append(
            f"A wrong prediction lies {error_distance:.2f} steps from the truth in the label tree "
            "on average; two labels of one parent are 2 steps apart."
        )
    return (
        f'<h2>Results</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        f'<p class="soft">{escape(" ".join(notes))}</p>'
    )


def _retrieval(rows: Sequence[ScoreRow]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(row.metric.partition(" ")[0] for row in rows))
    heads = "".join(f'<th class="number">{escape(column)}</th>' for column in columns)
    lines = []
    for (split, candidates, direction), group in groupby(
        rows, key=lambda r: (r.split, r.candidates, r.metric.partition(" ")[2])
    ):
        found = {row.metric.partition(" ")[0]: row for row in group}
        cells = [f"<td>{escape(said)}</td>" for said in (split, candidates, direction)]
        cells += [_cell(found.get(column)) for column in columns]
        cells.append(f'<td class="number">{next(iter(found.values())).n:,}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<h2>Retrieval</h2><div class="wide"><table><thead><tr><th>split</th><th>texts</th>'
        f'<th>direction</th>{heads}<th class="number">pictures</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="soft">Recall@k: the share of queries with a right answer among the k best. A '
        "caption that several pictures share is right for each of them.</p>"
    )


def _cell(row: ScoreRow | None) -> str:
    if row is None:
        return '<td class="number"></td>'
    share = f"{100 * min(max(row.value, 0), 1):.1f}%"
    interval = "" if row.low is None else f"<br><small>[{_interval(row)}]</small>"
    return f'<td class="number bar" style="--share:{share}">{row.value:.1%}{interval}</td>'


def _interval(row: ScoreRow) -> str:
    return f"{100 * (row.low or 0):.1f}–{100 * (row.high or 0):.1f}"


def _curves(history: Sequence[Mapping[str, Any]], pictures: Path) -> str:
    if not history:
        return ""
    return "<h2>Training</h2>" + _figure(
        plot.training_curves(history), pictures, "curves", "Loss, validation and speed by step"
    )


def _data(sheet: Figure | None, pictures: Path) -> str:
    if sheet is None:
        return ""
    return "<h2>The pictures</h2>" + _figure(sheet, pictures, "sheet", "Contact sheet of the data")


def _confusion(found: Confusion, pictures: Path) -> str:
    """Return the matrix of one rank, where it can be read, and the commonest errors."""
    parts = [f"<h2>Confusion along the tree: {escape(found.rank)}</h2>"]
    if len(found.names) <= _MOST_VALUES:
        drawn = plot.confusion(found.names, found.counts, found.blocks)
        name = f"confusion_{''.join(c if c.isalnum() else '_' for c in found.rank)}"
        parts.append(_figure(drawn, pictures, name, f"Confusion matrix at {found.rank}"))
    else:
        parts.append(f'<p class="soft">{len(found.names):,} values: too many to draw.</p>')
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:8]
    lines = []
    for true, said in zip(*np.unravel_index(order, wrong.shape), strict=True):
        count, total = int(wrong[true, said]), int(found.counts[true].sum())
        if count:
            lines.append(
                f"<tr><td>{escape(found.names[true])}</td><td>{escape(found.names[said])}</td>"
                f'<td class="number">{count:,} of {total:,}</td></tr>'
            )
    if lines:
        parts.append(
            '<h3>Commonest errors</h3><div class="wide"><table><thead><tr><th>true</th>'
            '<th>taken for</th><th class="number">pictures</th></tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )
    return "".join(parts)


def _examples(heading: str, examples: Sequence[Example], name: str, pictures: Path) -> str:
    if not examples:
        return ""
    figures = []
    for i, example in enumerate(examples):
        image = example.image
        picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
        picture = picture.convert("RGB")
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        file = f"{name}_{i:02d}.png"
        picture.save(pictures / file, optimize=True)
        said = "".join(
            f"<div>{score:.0%} {escape(label)}</div>"
            for label, score in zip(example.names[1:3], example.scores[1:3], strict=True)
            if score >= 0.01
        )
        mark, kind = ("✓", "right") if example.right else ("✗", "wrong")
        first = f"{example.scores[0]:.0%} {escape(example.names[0])}"
        figures.append(
            f'<figure><img src="{PICTURES}/{file}" alt="{escape(example.truth)}" loading="lazy">'
            f"<div>true: <strong>{escape(example.truth)}</strong></div>"
            f'<div class="{kind}">{mark} {first}</div><div class="soft">{said}'
            f"{escape(example.id)}</div></figure>"
        )
    return f'<h2>{escape(heading)}</h2><div class="grid">{"".join(figures)}</div>'


def _made(recipe_yaml: str, environment: Mapping[str, Any]) -> str:
    said = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(_plain(value))}</dd>"
        for key, value in environment.items()
    )
    return (
        "<h2>How it was made</h2>"
        f"<details open><summary>Environment</summary><dl>{said}</dl></details>"
        f"<details><summary>Recipe</summary><pre>{escape(recipe_yaml)}</pre></details>"
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(v) for v in value)
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _next(commands: Sequence[str]) -> str:
    if not commands:
        return ""
    return f"<h2>Next</h2><pre>{escape(chr(10).join(commands))}</pre>"


def _figure(figure: Figure, pictures: Path, name: str, said: str) -> str:
    figure.savefig(pictures / f"{name}.png", dpi=110, bbox_inches="tight", facecolor="white")
    return (
        f'<p class="wide"><img class="figure" src="{PICTURES}/{name}.png" alt="{escape(said)}"></p>'
    )
