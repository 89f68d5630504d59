"""Answers that are held to a certainty: as deep as is sure, sets of names, or none of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from domainclip.errors import UsageError

from .calibration.applied import Calibrated
from .ranks import Ranks
from .rows import AddColumns, Told, tell_node
from .scoring import into_probabilities, top


@dataclass(frozen=True)
class Certainty:
    """What answers are held to; None for what is not asked."""

    confidence: float | None = None
    """How often the one name of a picture should be right, at whatever rank that takes."""
    error: float | None = None
    """How often the names of a picture may miss the true one."""
    rejection: float | None = None
    """How often a picture of one of the labels may be taken for none of them."""

    @property
    def anything(self) -> bool:
        """Whether anything is asked."""
        return not (self.confidence is None and self.error is None and self.rejection is None)


class Decider:
    """Turns logits into the rows of each picture that a certainty allows.

    Args:
        fitted: The calibration of the labels.
        ranks: What is told apart at each rank.
        told: What a row says of each name at the rank.
        add: Adds columns that people of a field expect.
        wanted: The certainty.
        rank: The rank of names; None for the labels themselves.
        k: Names for each picture where neither a confidence nor an error decides.

    Attributes:
        promises: What the calibration says of the certainty, in words.

    Raises:
        UsageError: If what is wanted does not go together, or was not fitted.
    """

    def __init__(
        self,
        fitted: Calibrated,
        ranks: Ranks,
        told: Sequence[Told],
        add: AddColumns | None,
        wanted: Certainty,
        rank: str | None,
        k: int,
    ) -> None:
        if wanted.confidence is not None and (rank or wanted.error is not None):
            raise UsageError(
                "a confidence chooses the rank itself, and gives one name",
                "leave out the rank and the error, or the confidence",
            )
        self.promises = fitted.promise(wanted.confidence, rank, wanted.error, wanted.rejection)
        self.fitted, self.ranks, self.told, self.add = fitted, ranks, told, add
        self.wanted, self.rank, self.k = wanted, rank, k

    def answer(self, logits: Tensor, scaled: Tensor) -> Iterator[list[Told]]:
        """Yield the rows of each picture.

        Args:
            logits: As the model gives them, shape (m, n).
            scaled: The same calibrated, and under a prior if there is one.
        """
        none, wanted = np.zeros(len(logits), bool), self.wanted
        if wanted.rejection is not None:
            none = self.fitted.find_rejected(logits, wanted.rejection)
        if wanted.confidence is not None:
            answers = self._deepest(scaled, wanted.confidence)
        else:
            answers = self._likely(scaled)
        for lost, rows in zip(none.tolist(), answers, strict=True):
            yield [{**dict.fromkeys(rows[0], ""), "score": None}] if lost else rows

    def _deepest(self, scaled: Tensor, level: float) -> Iterator[list[Told]]:
        """Yield the one row of each picture that a level allows."""
        found, labels = self.fitted.back_off(scaled, level), self.ranks.candidates
        for rank, node, p in zip(
            found.ranks, found.nodes.tolist(), found.probabilities.tolist(), strict=True
        ):
            if labels.tree is None:
                row: Told = {"classification": str(labels.names[node]) if node >= 0 else ""}
            else:
                row = tell_node(labels.tree, node, self.ranks.names, self.add)
            yield [{**row, "rank": rank, "score": p if rank else None}]

    def _likely(self, scaled: Tensor) -> Iterator[list[Told]]:
        """Yield the rows of each picture's set, likeliest first; the k best without an error."""
        p, told = self.ranks.roll_up(into_probabilities(scaled), self.rank), self.told
        if self.wanted.error is None:
            values, places = top(p, min(self.k, len(told)))
            for scores, chosen in zip(values.tolist(), places.tolist(), strict=True):
                yield [{**told[i], "score": s} for s, i in zip(scores, chosen, strict=True)]
            return
        inside = self.fitted.find_sets(p, self.rank, self.wanted.error)
        for scores, member in zip(p.cpu(), inside.cpu(), strict=True):
            names = member.nonzero()[:, 0]
            order = scores[names].sort(descending=True, stable=True).indices
            yield [{**told[i], "score": float(scores[i])} for i in names[order].tolist()]
