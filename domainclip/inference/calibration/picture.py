"""The reliability picture: what was said against what was right, before and after."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from domainclip.plot import PLAIN, RIGHT

from .reliability import Reliability

_INK = "#222222"


def draw_reliability(
    before: Mapping[str, Reliability], after: Mapping[str, Reliability], title: str = ""
) -> Figure:
    """Return one panel a rank: answers in bins of equal mass, on the diagonal where honest.

    Bars show how far from its true share a bin may lie by chance.

    Args:
        before: Rank -> reliability of the softmax as it is.
        after: The same of calibrated probabilities.
        title: Stands above the panels.
    """
    figure = Figure(
        figsize=(2.7 * max(len(after), 1) + 0.4, 3.6 if title else 3.3), layout="constrained"
    )
    panels = figure.subplots(1, max(len(after), 1), squeeze=False, sharey=True)[0]
    for axis, (rank, found) in zip(panels, after.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=PLAIN, lw=0.8, ls=":")
        _bars(axis, found, RIGHT)
        _draw(axis, before[rank], PLAIN, "before", "s")
        _draw(axis, found, RIGHT, "after", "o")
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axis.set_box_aspect(1)
        axis.set_title(rank, fontsize=9, loc="left", color=_INK, parse_math=False)
        axis.set_xlabel("probability", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6.5, frameon=False, loc="upper left", title="calibration error",
                    title_fontsize=6.5)  # fmt: skip
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share that was right", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10, color=_INK, parse_math=False)
    return figure


def _bars(axis: Axes, found: Reliability, colour: str) -> None:
    """Draw between which shares each bin may lie by chance (Wilson 1927, 95%)."""
    n, right, z = found.counts, found.right, 1.96
    middle = (right + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(right * (1 - right) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    axis.vlines(found.said, middle - half, middle + half, color=colour, lw=2.5, alpha=0.18)


def _draw(axis: Axes, found: Reliability, colour: str, name: str, marker: str) -> None:
    axis.plot(
        found.said, found.right, color=colour, marker=marker, ms=3.2, lw=1,
        label=f"{name}: {found.error:.3f}",
    )  # fmt: skip
