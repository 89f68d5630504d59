"""Outlines of the wings of one side: smooth curves through the control points of a table.

Coordinates: the body's axis is x = 0, x grows outwards, y grows from head to abdomen; a forewing is
about one unit long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

Points = NDArray[np.float32]

TABLE = Path(__file__).parent / "data" / "shapes.yaml"
BASE = np.asarray([0.02, 0.0], np.float32)
"""Where both wings of a side meet the body."""
STEPS = 8
"""Points on the curve from one control point to the next."""
SCALLOPS = 5
"""Along the outer edge of one wing."""


@dataclass(frozen=True)
class Wing:
    """A wing's curves in units: the closed `edge`, and the `margin`, its outer part unscalloped."""

    edge: Points
    margin: Points

    def at(self, along: float, out: float) -> Points:
        """Return the point at a share `along` the margin and a share `out` from base to margin."""
        place = along * (len(self.margin) - 1)
        low = min(max(int(place), 0), len(self.margin) - 2)
        rim = self.margin[low] + (place - low) * (self.margin[low + 1] - self.margin[low])
        point: Points = BASE + np.float32(out) * (rim - BASE)
        return point


@cache
def read_shapes() -> Mapping[str, tuple[Wing, Wing]]:
    """Return the forewing and the hindwing of every wing shape, by the shape's name."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {
        name: (_trace(form, form["fore"]), _trace(form, form["hind"]))
        for name, form in table.items()
    }


def _trace(form: Mapping[str, Any], outline: Mapping[str, Any]) -> Wing:
    knots = np.asarray(outline["points"], np.float32) * np.float32(form["scale"])
    ahead = np.roll(knots, -1, axis=0)
    slope = (ahead - np.roll(knots, 1, axis=0)) * np.float32(form["roundness"] / 2)
    t = np.linspace(0, 1, STEPS, endpoint=False, dtype=np.float32)[None, :, None]
    # Cubic Hermite pieces; roundness 1 makes them the Catmull-Rom spline of the control points.
    edge = (
        (2 * t**3 - 3 * t**2 + 1) * knots[:, None]
        + (t**3 - 2 * t**2 + t) * slope[:, None]
        + (3 * t**2 - 2 * t**3) * ahead[:, None]
        + (t**3 - t**2) * np.roll(slope, -1, axis=0)[:, None]
    ).reshape(-1, 2)
    first, last = (index * STEPS for index in outline["outer"])
    margin = edge[first : last + 1].copy()
    phase = np.linspace(0, SCALLOPS * np.pi, len(margin), dtype=np.float32)[:, None]
    wave = np.float32(form["wave"]) * (2 * np.abs(np.sin(phase)) - 1)
    edge[first : last + 1] += wave * (margin - BASE)
    return Wing(edge, margin)
