"""Figures that reports and notebooks share: pictures with captions, curves, confusion, predictions.

Every function returns a matplotlib `Figure` that belongs to no window, so that it works without a
screen; a notebook shows it as the value of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten, wrap
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8] | Image.Image
"""uint8 pixels of shape (height, width, 3), or a Pillow image."""

RIGHT, WRONG, PLAIN = "#1b7f5c", "#c0392b", "#8a94a0"
_INK, _LINE = "#222222", "#3566a8"
_MOST_NAMES = 64
"""A confusion of more values than this shows the names of its blocks alone: more cannot be read."""


@dataclass(frozen=True)
class Example:
    """One picture with what it shows and what was predicted, best first."""

    image: Pixels
    truth: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    right: bool
    id: str = ""


def contact_sheet(
    images: Sequence[Pixels],
    captions: Sequence[str] = (),
    *,
    columns: int = 8,
    title: str = "",
    colours: Sequence[str] = (),
) -> Figure:
    """Return a grid of pictures with a caption under each.

    Args:
        images: The pictures, in reading order.
        captions: One for each picture, or none; a long one is wrapped and cut.
        columns: Pictures in a row.
        title: Stands above the grid.
        colours: A colour for each caption, or none.
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    lines = 2 if len(captions) else 0  # an array too: predictions come as one
    figure = Figure(
        figsize=(1.35 * columns, (1.35 + 0.14 * lines) * rows + (0.4 if title else 0.1))
    )
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    axes = figure.subplots(rows, columns, squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.axis("off")
        if i >= len(images):
            continue
        axis.imshow(np.asarray(images[i]))
        if len(captions):
            colour = colours[i] if len(colours) else _INK
            _under(axis, _cut(captions[i], 22, lines), colour)
    _name(figure, title)
    return figure


def training_curves(history: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Return loss, validation accuracy and speed over the steps of a run.

    Args:
        history: The lines of `metrics.jsonl`: `step` with `train_loss`, `val_top1` or
            `val_recall1`, `images_per_second` or `lr`; a line may lack any of them.
        title: Stands above the panels.
    """
    by_pairs = any("val_recall1" in line for line in history)
    validation = ("val_top1", "zero-shot top-1, validation")
    panels = (
        ("train_loss", "training loss"),
        ("val_recall1", "recall@1, validation") if by_pairs else validation,
        ("images_per_second", "pictures per second"),
    )
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    for axis, (key, name) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        points = [(h["step"], h[key]) for h in history if h.get(key) is not None and "step" in h]
        axis.set_title(name, fontsize=9, loc="left", color=_INK)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if not points:
            axis.text(0.5, 0.5, "not recorded", ha="center", color=PLAIN, transform=axis.transAxes)
            continue
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, color=_LINE, lw=1.5, marker="o" if len(steps) < 40 else "", ms=3)
        if key.startswith("val_"):
            best = int(np.argmax(values))
            axis.plot(steps[best], values[best], "o", color=RIGHT, ms=6)
            axis.set_title(f"{name}: best {values[best]:.3f}", fontsize=9, loc="left")
            axis.set_ylim(0, 1.02)
        if key == "images_per_second":
            axis.set_ylim(0, max(values) * 1.1)
    _name(figure, title)
    return figure


def confusion(
    names: Sequence[str],
    counts: NDArray[np.int64],
    blocks: Sequence[tuple[str, int, int]] = (),
    title: str = "",
) -> Figure:
    """Return a confusion matrix along the tree, as shares of each true label.

    Args:
        names: The values, in the order of the tree.
        counts: Shape (values, values): rows are the truth, columns the prediction.
        blocks: Runs of values that share a parent, framed and named: (name, start, stop).
        title: Stands above the matrix.
    """
    size = len(names)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    side = float(np.clip(0.15 * size + 2.6, 4.0, 10.5))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    # The square root lets a few errors among many be seen.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    picture = axis.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    bar = figure.colorbar(picture, ax=axis, shrink=0.5, pad=0.02)
    bar.set_label("share of the true label's pictures", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1])
    axis.set_xlabel("predicted", fontsize=9)
    axis.set_ylabel("true", fontsize=9)
    for _, start, stop in blocks:
        corner, width = (start - 0.5, start - 0.5), stop - start
        axis.add_patch(Rectangle(corner, width, width, fill=False, ec=WRONG, lw=0.9))
    named = [(n, (a + b - 1) / 2) for n, a, b in blocks if b - a >= size / 50]
    if named:
        right = axis.secondary_yaxis("right")
        said = [shorten(name, 24, placeholder="…") for name, _ in named]
        right.set_yticks([y for _, y in named], said, fontsize=7, color=WRONG, parse_math=False)
        right.tick_params(length=0)
        right.spines[:].set_visible(False)
    if size <= _MOST_NAMES:
        small = float(np.clip(260 / size, 5, 9))
        said = [shorten(n, 32, placeholder="…") for n in names]
        axis.set_xticks(range(size), said, rotation=90, fontsize=small, parse_math=False)
        axis.set_yticks(range(size), said, fontsize=small, parse_math=False)
    else:
        axis.set_xticks([])
        axis.set_yticks([])
    _name(figure, title)
    return figure


def prediction_strips(examples: Sequence[Example], title: str = "") -> Figure:
    """Return each picture beside its best names as bars, the true label above them.

    A right name is green, a wrong first one red, the rest grey.
    """
    rows = max(1, len(examples))
    figure = Figure(figsize=(6.6, 1.5 * rows + (0.4 if title else 0)))
    figure.set_layout_engine("constrained", h_pad=0.06)
    axes = figure.subplots(rows, 2, squeeze=False, width_ratios=(1, 3.4))
    for (left, right), example in zip(axes, examples, strict=False):
        left.imshow(np.asarray(example.image))
        left.axis("off")
        places = range(len(example.names))
        right.barh(places, example.scores, color=_bar_colours(example), height=0.72)
        right.set_title(
            ("✓ " if example.right else "✗ ") + shorten(example.truth, 60, placeholder="…"),
            fontsize=8,
            loc="left",
            color=RIGHT if example.right else WRONG,
            parse_math=False,
        )
        for place, name, score in zip(places, example.names, example.scores, strict=True):
            inside = score > 0.5
            right.text(
                score - 0.01 if inside else score + 0.01,
                place,
                f"{shorten(name, 44, placeholder='…')}  {score:.0%}",
                ha="right" if inside else "left",
                va="center",
                fontsize=7.5,
                color="white" if inside else _INK,
                parse_math=False,
            )
        right.set(xlim=(0, 1), ylim=(max(len(example.names), 1) - 0.4, -0.6), yticks=[], xticks=[])
        right.spines[["top", "right", "bottom"]].set_visible(False)
    _name(figure, title)
    return figure


def best_and_worst(
    best: Sequence[Example], worst: Sequence[Example], columns: int = 6, title: str = ""
) -> Figure:
    """Return the surest right predictions above the surest wrong ones."""
    shown = [*best[:columns], *[None] * (columns - len(best[:columns])), *worst[:columns]]
    rows = 2 if worst else 1
    figure = Figure(figsize=(1.6 * columns, 2.1 * rows + (0.4 if title else 0.1)))
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    axes = figure.subplots(rows, columns, squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.axis("off")
        example = shown[i] if i < len(shown) else None
        if example is None or not example.names:
            continue
        axis.imshow(np.asarray(example.image))
        said = f"{example.scores[0]:.0%} {example.names[0]}"
        if example.right:
            _under(axis, "✓ " + _cut(said, 22, 2), RIGHT)
        else:
            _under(axis, f"✗ {_cut(said, 22, 2)}\ntrue: {_cut(example.truth, 22, 2)}", WRONG)
    _name(figure, title)
    return figure


def _bar_colours(example: Example) -> list[str]:
    if example.right:
        return [RIGHT, *[PLAIN] * (len(example.names) - 1)]
    first = [WRONG] + [PLAIN] * (len(example.names) - 1)
    return [RIGHT if n == example.truth else c for n, c in zip(example.names, first, strict=True)]


def _under(axis: Axes, text: str, colour: str) -> None:
    axis.text(
        0.5,
        -0.03,
        text,
        transform=axis.transAxes,
        ha="center",
        va="top",
        fontsize=6.5,
        color=colour,
        parse_math=False,
    )


def _cut(text: str, width: int, lines: int) -> str:
    return "\n".join(wrap(text, width, max_lines=lines, placeholder="…"))


def _name(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=10, color=_INK, parse_math=False)
