"""What is known before the picture is looked at: weights of labels by place, month, age or habitat.

A prior multiplies the probability of each label by its weight to the power of a strength, and lets
them sum to one again (Bayes' rule, where the model itself counts all labels alike). It belongs
after a calibration, whose temperatures would flatten it otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domainclip.domains.names import fold
from domainclip.domains.readers import read_table
from domainclip.errors import DataError, LabelError, UsageError, suggest

from .candidates import Candidates
from .narrowing import say_unknown

WEIGHT = "weight"
FLOOR = 0.01
"""The share of the mean weight that a label without one is given."""
BETWEEN = ".."
"""Between the ends of a range of numbers, both of them inside; either may be left out."""


@dataclass(frozen=True)
class Prior:
    """A table of weights, each of a label or of all labels under a name, under conditions."""

    rank: str
    """Title of the column of names; where it is a rank, names at that rank are meant."""
    names: tuple[str, ...]
    """The name of each row."""
    weights: tuple[float, ...]
    conditions: Mapping[str, Sequence[str]]
    """Column -> the cell of each row; an empty cell holds for everything."""
    source: str = "this prior"

    @classmethod
    def from_table(cls, path: str | Path) -> Prior:
        """Read a CSV or TSV: names in the first column, `weight`, and a column for each condition.

        A cell of a condition is a value, or a range of numbers as `18..64`, `65..` or `..17`.

        Raises:
            UsageError: If there is no such file.
            DataError: If it has no weights, or one is not a number from 0 up.
        """
        columns = {title.lower(): cells for title, cells in read_table(path).items()}
        rank, *_ = columns
        if WEIGHT not in columns or rank == WEIGHT:
            raise DataError(
                f"{path} has the columns {', '.join(columns)}",
                f"names come first, and one column is called {WEIGHT}",
            )
        cells, weights = columns.pop(WEIGHT), list[float]()
        for number, cell in enumerate(cells, 2):
            weight = _number(cell)
            if weight is None or weight < 0:
                raise DataError(
                    f"{path}, line {number}: {cell!r} is no weight", "it is a number from 0 up"
                )
            weights.append(weight)
        names = tuple(name.strip() for name in columns.pop(rank))
        if not all(names):
            raise DataError(f"{path}, line {names.index('') + 2}: a row without a name")
        return cls(rank, names, tuple(weights), columns, str(path))

    def weigh(
        self,
        candidates: Candidates,
        given: Mapping[str, str] | None = None,
        *,
        strength: float = 1.0,
        hard: bool = False,
    ) -> tuple[Tensor, list[str]]:
        """Return what is added to the logits of each label, shape (n,), and the unknown names.

        Rows of one name are added up: those of all values of a condition that is not given. Of
        several names above a label the finest counts. A label without a weight, or with a weight of
        0, gets the hundredth part of the mean weight of the others, or the least of these if that
        is less.

        Args:
            candidates: The labels.
            given: Condition -> value.
            strength: 1 to take the weights as they are, 0 to ignore them.
            hard: Rule labels without a weight out.

        Raises:
            UsageError: If there is no such condition or value, or the strength is below 0.
            LabelError: If no name is known, or nothing is left.
        """
        if not (math.isfinite(strength) and strength >= 0):
            raise UsageError(f"a strength of {strength}", "0 for no effect, 1 for the weights")
        totals: dict[str, float] = {}
        for row in self._find_rows(given or {}):
            totals[self.names[row]] = totals.get(self.names[row], 0.0) + self.weights[row]
        found, unknown = _match(candidates, self.rank, totals)
        if len(unknown) == len(totals):
            raise LabelError(
                f"{self.source}: no label has one of its names", _say(candidates, unknown)
            )
        told = found > 0
        if not told.any():
            raise LabelError(f"{self.source}: no label has a weight", "weights are above 0")
        floor = 0.0 if hard else min(FLOOR * found[told].mean(), found[told].min())
        weights = np.where(told, found, floor)
        with np.errstate(divide="ignore"):
            logs = np.log(weights / weights.max())
        added = np.where(weights > 0, strength * np.where(weights > 0, logs, 0.0), -np.inf)
        return torch.from_numpy(added.astype(np.float32)), unknown

    def _find_rows(self, given: Mapping[str, str]) -> list[int]:
        """Return the rows that hold under what is given."""
        rows = list(range(len(self.names)))
        for name, value in given.items():
            column = self.conditions.get(name.lower())
            if column is None:
                raise UsageError(
                    f"{self.source} has no column {name!r}; it has "
                    f"{', '.join(self.conditions) or 'no conditions'}",
                    suggest(name, self.conditions),
                )
            rows = [row for row in rows if _holds(column[row], value)]
            if not rows:
                some = list(dict.fromkeys(cell for cell in column if cell.strip()))
                raise UsageError(
                    f"{self.source}: no row for {name} = {value}",
                    suggest(value, some) or f"there are {', '.join(some[:20])}",
                )
        return rows


def _match(
    candidates: Candidates, rank: str, totals: Mapping[str, float]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the weight of each label, nan where it has none, and the names that are not known."""
    tree, nodes = candidates.tree, candidates.nodes
    if tree is None or nodes is None:
        own = {fold(str(name)): i for i, name in enumerate(candidates.names)}
        found = np.full(len(candidates), np.nan)
        for name, weight in totals.items():
            if fold(name) in own:
                found[own[fold(name)]] = weight
        return found, [name for name in totals if fold(name) not in own]
    number = tree.ranks.index(rank) if rank in tree.ranks else None
    weights = np.full(len(tree) + 1, np.nan)  # the last stands for the -1 of a missing rank
    unknown = []
    for name, weight in totals.items():
        named = [n for n in tree.find(name) if number is None or tree.rank[n] == number]
        weights[named] = np.nan_to_num(weights[named]) + weight  # it may have several names
        if not named:
            unknown.append(name)
    found = np.full(len(nodes), np.nan)
    for column in tree.ancestors[nodes].T:  # coarsest first, so that the finest stays
        here = weights[column]
        found = np.where(np.isnan(here), found, here)
    return found, unknown


def _say(candidates: Candidates, unknown: Sequence[str]) -> str:
    if candidates.tree is not None:
        return say_unknown(candidates.tree, unknown)
    return suggest(unknown[0], map(str, candidates.names)) or f"not known: {unknown[0]!r}"


def _holds(cell: str, value: str) -> bool:
    """Tell whether a condition holds: equal texts or numbers, or a number inside a range."""
    number = _number(value)
    low, between, high = cell.partition(BETWEEN)
    ends = _number(low), _number(high)
    if between and any(end is not None for end in ends) and number is not None:
        least, most = (-math.inf if ends[0] is None else ends[0]), ends[1]
        return least <= number <= (math.inf if most is None else most)
    own = _number(cell)
    if number is not None and own is not None:
        return number == own
    return not cell.strip() or fold(cell) == fold(value)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
