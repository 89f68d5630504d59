"""A calibration put to use on the labels that it was fitted for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domainclip.inference.candidates import Candidates

from .backoff import find_rank
from .conformal import find_sets
from .fit import tell_apart
from .hierarchy import Hierarchy
from .saying import say_backoff, say_rejection, say_sets
from .store import Calibration


class Deepest(NamedTuple):
    """The deepest answer of each of m pictures that is sure enough."""

    ranks: list[str]
    """Name of its rank; "" where none is."""
    nodes: NDArray[np.int64]
    """Its node, or the number of the label where there is no tree; -1 where there is none."""
    probabilities: NDArray[np.float32]
    """How probable it is; of the coarsest answer where there is none."""


class Calibrated:
    """What a calibration says of the labels that it was fitted for.

    Args:
        calibration: The calibration.
        candidates: The labels.
    """

    def __init__(self, calibration: Calibration, candidates: Candidates) -> None:
        self.calibration = calibration
        self.hierarchy = Hierarchy.of(candidates)
        self._told = tell_apart(self.hierarchy)

    def promise(
        self, level: float | None, rank: str | None, error: float | None, rejection: float | None
    ) -> list[str]:
        """Return in words what is asked was fitted for, before any picture is looked at.

        Raises:
            UsageError: If nothing was fitted that is as strict.
        """
        fitted, told = self.calibration, list[str]()
        if level is not None:
            told.append(say_backoff(fitted.find_backoff(level), fitted))
        if error is not None:
            told.append(say_sets(fitted.find_conformal(rank or self._finest, error), fitted))
        if rejection is not None:
            told.append(say_rejection(fitted.find_rejection(rejection), fitted))
        return told

    @property
    def _finest(self) -> str:
        return self.hierarchy.ranks[self._told[-1]].name

    def scale(self, logits: Tensor) -> Tensor:
        """Return logits, shape (m, n), whose softmax is calibrated at every rank."""
        return self.calibration.temperatures.apply(self.hierarchy, logits)

    def back_off(self, scaled: Tensor, level: float) -> Deepest:
        """Return answers that are right about as often as `level` says.

        Args:
            scaled: What `scale` gave, and a prior if there is one, shape (m, n).
            level: How often they should be right.

        Raises:
            UsageError: If nothing was fitted for so strict a level.
        """
        fitted = self.calibration.find_backoff(level)
        values, nodes = self.hierarchy.find_best(self.hierarchy.probabilities(scaled))
        p, nodes = values[:, self._told].cpu().numpy(), nodes[:, self._told]
        place = find_rank(p, fitted.threshold)
        names = [self.hierarchy.ranks[number].name for number in self._told]
        rows, at = np.arange(len(p)), place.clip(min=0)
        return Deepest(
            [names[i] if i >= 0 else "" for i in place.tolist()],
            np.where(place >= 0, nodes[rows, at], -1),
            p[rows, at],
        )

    def find_sets(self, probabilities: Tensor, rank: str | None, error: float) -> Tensor:
        """Return which names are in the set of each picture, shape (m, n).

        Args:
            probabilities: Calibrated ones of what is told apart at a rank, shape (m, n).
            rank: The rank; None for the labels themselves.
            error: How often the true one may be missed.

        Raises:
            UsageError: If nothing was fitted for the rank or so small an error.
        """
        fitted = self.calibration.find_conformal(rank or self._finest, error)
        return find_sets(probabilities, fitted.threshold)

    def find_rejected(self, logits: Tensor, rate: float) -> NDArray[np.bool_]:
        """Return which pictures seem to show none of the labels, shape (m,).

        Args:
            logits: As the model gives them, shape (m, n).
            rate: How often a picture of one of the labels may be taken for none.

        Raises:
            UsageError: If nothing was fitted for so low a rate.
        """
        threshold = self.calibration.find_rejection(rate).threshold
        best = logits.amax(dim=-1).cpu().numpy()
        return np.zeros(len(best), dtype=bool) if threshold is None else best < threshold
