"""What classifiers have in common: from the logits of labels to names, at any rank."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domainclip.data.images import UnreadableImage
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError

from .calibration.applied import Calibrated
from .candidates import Candidates
from .deciding import Certainty, Decider
from .display import THUMBNAIL, Shown
from .encoding import Encoder
from .pictures import Picture, is_one, read_picture
from .ranks import Ranks
from .rows import (
    AddColumns,
    Told,
    tell_classes,
    tell_nodes,
    tell_picture,
    tell_rank,
)
from .scoring import into_probabilities, top

ALL = "all"
"""In the place of a rank: every rank, one after the other."""


class Classifier(ABC):
    """Names pictures; children say how they come to the logits of their labels.

    Attributes:
        encoder: The model.
        coarse_to_fine: Whether answers at all ranks lie on one line.
        candidates_: The labels, after `fit`.
        ranks_: What is told apart at each of their ranks.
        classes_: What is told apart, as an array of names.
        unreadable_: (path, reason) of the pictures that the last `predict_rows` left out.
        notice_: What the model's domain says with every result, such as "not for clinical use".
        calibrated_: What makes probabilities honest for these labels, where that was fitted.
        why_not_: Why there is no calibration, where there is none.
        promises_: What the calibration says of the certainty that the last `predict_rows` was held
            to: the risk and the coverage that it was fitted for, in words.
    """

    encoder: Encoder
    candidates_: Candidates
    ranks_: Ranks
    classes_: NDArray[np.object_]
    way_on_ = "domainclip calibrate --model RUN fits what is asked to pictures of known labels"

    def __init__(self, encoder: Encoder, *, coarse_to_fine: bool = False) -> None:
        self.encoder, self.coarse_to_fine = encoder, coarse_to_fine
        self.unreadable_: list[tuple[str, str]] = []
        self.notice_ = ""
        self.calibrated_: Calibrated | None = None
        self.why_not_ = "probabilities of this kind are not calibrated"
        self.promises_: list[str] = []
        self.log_prior_: Tensor | None = None

    @abstractmethod
    def _logits(self, images: Any, *, skip: bool = False) -> Iterator[tuple[Sequence[Any], Tensor]]:
        """Yield pictures with the logits of all labels, shape (m, n), as many as fit at a time.

        Args:
            images: Pictures, or vectors of them.
            skip: Note and leave out those that cannot be read, rather than raise.
        """

    def _know(self, candidates: Candidates, bins: Mapping[str, str] | None = None) -> None:
        """Take the labels that are told apart from now on."""
        self.candidates_, self.ranks_ = candidates, Ranks(candidates, bins)
        self.classes_ = np.array(self.names(), dtype=object)
        self.notice_ = str(self.encoder.card.get("notice", ""))

    def predict(
        self, images: Iterable[Picture] | NDArray[Any] | Tensor, rank: str | None = None
    ) -> NDArray[np.object_]:
        """Return the most probable name for each picture, shape (n,).

        Args:
            images: Paths, encoded bytes, Pillow images, pixels, or unit vectors of pictures as a
                floating array of shape (n, dim).
            rank: The rank to name them at; unset, the labels themselves.

        Raises:
            UnreadableImage: If a picture cannot be read; `predict_rows` leaves those out instead.
        """
        names = np.array(self.names(rank), dtype=object)
        best = []
        for _, logits in self._logits(images):
            chosen = top(self._choose_by(self._probabilities(logits), rank), 1)[1]
            best.append(names[chosen[:, 0].cpu().numpy()])
        return np.concatenate(best) if best else np.zeros(0, dtype=object)

    def predict_proba(
        self, images: Iterable[Picture] | NDArray[Any] | Tensor, rank: str | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of every name, shape (n, C), columns as in `names(rank)`.

        Raises:
            UnreadableImage: If a picture cannot be read.
        """
        ranks = self._ranks
        parts = [
            ranks.roll_up(self._probabilities(logits), rank).cpu().numpy()
            for _, logits in self._logits(images)
        ]
        empty = np.zeros((0, len(self.names(rank))), dtype=np.float32)
        return np.concatenate(parts) if parts else empty

    def names(self, rank: str | None = None) -> tuple[str, ...]:
        """Return what is told apart at a rank, or the labels themselves.

        Raises:
            UsageError: If the labels have no such rank.
        """
        groups = self._ranks.groups(rank)
        return tuple(map(str, self.candidates_.names)) if groups is None else groups.names

    def predict_rows(
        self,
        images: Iterable[Picture],
        rank: str | None = None,
        k: int = 5,
        *,
        confidence: float | None = None,
        error: float | None = None,
        rejection: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the `k` best names of each picture, batch by batch; memory does not grow.

        The keys are columns of pybioclip: `file_name`, the ranks, `common_name`, `score` where
        labels have ranks, else `file_name`, `classification`, `score`. Crops have their box after
        the file. Pictures that cannot be read are left out and listed in `unreadable_`.

        Args:
            images: The pictures.
            rank: The rank to name them at; unset, the labels themselves; "all" for every rank from
                the coarsest on, with a column that says which.
            k: Names for each picture and rank.
            confidence: Give one name a picture, at the deepest rank at which answers are right as
                often as this; the column `rank` says which, "" where none is sure enough.
            error: Give all names that are probable enough for the true one to be missed no more
                often than this.
            rejection: Name nothing where a picture seems to show none of the labels; no more often
                than this where it does show one.

        Raises:
            UsageError: If the labels have no such rank, `k` is less than 1, or what is asked was
                not fitted for the model and these labels.
        """
        if k < 1:
            raise UsageError(f"k = {k}", "ask for at least one name per picture")
        self.unreadable_, self.promises_ = [], []
        wanted = Certainty(confidence, error, rejection)
        if wanted.anything:
            return self._held_to(images, wanted, None if rank == ALL else rank, k)
        asked = self._ranks.names if rank == ALL else (rank,)
        told = [self._tell(one) for one in asked]
        if rank == ALL:
            told = [tell_rank(rows, one, [*told[-1][0]])
                    for rows, one in zip(told, self._ranks.names, strict=True)]  # fmt: skip
        return self._rows(images, dict(zip(asked, told, strict=True)), k)

    def show(
        self, images: Iterable[Picture], rank: str | None = None, k: int = 3, limit: int = 24
    ) -> Shown:
        """Return pictures beside their best names, which a notebook shows as a page.

        Args:
            images: The pictures.
            rank: The rank to name them at; unset, the labels themselves.
            k: Names for each.
            limit: Pictures at most.

        Raises:
            UnreadableImage: If a picture cannot be read.
        """
        some: list[Any] = [images] if is_one(images) else [*islice(images, limit)]
        k = min(k, len(self.names(rank)))
        rows = [*self.predict_rows(some, rank, k)]
        if self.unreadable_:
            raise UnreadableImage(*self.unreadable_[0])
        reader = self.encoder.reader
        pictures = [read_picture(one, reader=reader, side=THUMBNAIL) for one in some]
        several = [rows[i : i + k] for i in range(0, len(rows), k)]
        return Shown(pictures, several, self.notice_)

    def __repr__(self) -> str:
        said = f"{type(self).__name__}({self.encoder.name!r})"
        return f"{said}, {len(self.candidates_)} labels" if hasattr(self, "ranks_") else said

    def _rows(
        self, images: Iterable[Picture], told: Mapping[str | None, Sequence[Told]], k: int
    ) -> Iterator[Told]:
        number = 0
        for shown, logits in self._logits(images, skip=True):
            labels = self._probabilities(logits)
            best = [
                top(self._choose_by(labels, rank), min(k, len(rows))) for rank, rows in told.items()
            ]
            found = [(values.tolist(), places.tolist()) for values, places in best]
            for i, picture in enumerate(shown):
                before = tell_picture(picture, number)
                number += 1
                for (values, places), rows in zip(found, told.values(), strict=True):
                    for score, place in zip(values[i], places[i], strict=True):
                        yield {**before, **rows[place], "score": score}

    def _held_to(
        self, images: Iterable[Picture], wanted: Certainty, rank: str | None, k: int
    ) -> Iterator[Told]:
        """Yield rows of answers that are held to a certainty."""
        number = 0
        decider = Decider(
            self._require_calibration(), self._ranks, self._tell(rank), self._add_columns(),
            wanted, rank, k,
        )  # fmt: skip
        self.promises_ = decider.promises

        def rows() -> Iterator[Told]:
            nonlocal number
            for shown, logits in self._logits(images, skip=True):
                answers = decider.answer(logits, self._scale_up(logits))
                for picture, several in zip(shown, answers, strict=True):
                    before = tell_picture(picture, number)
                    number += 1
                    yield from ({**before, **row} for row in several)

        return rows()

    def _require_calibration(self) -> Calibrated:
        _ = self._ranks
        if self.calibrated_ is None:
            raise UsageError(self.why_not_, self.way_on_)
        return self.calibrated_

    def _scale_up(self, logits: Tensor) -> Tensor:
        """Return logits whose softmax is what people see: calibrated, and under the prior."""
        if self.calibrated_ is not None:
            logits = self.calibrated_.scale(logits)
        if self.log_prior_ is not None:
            logits = logits + self.log_prior_.to(logits.device)
        return logits

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of labels, shape (m, n); `logits` may be overwritten."""
        return into_probabilities(self._scale_up(logits))

    def _choose_by(self, labels: Tensor, rank: str | None) -> Tensor:
        """Return the scores at a rank that names are chosen by, of probabilities of all labels."""
        if self.coarse_to_fine:
            labels = self._ranks.keep_best_line(labels, rank)
        return self._ranks.roll_up(labels, rank)

    def _tell(self, rank: str | None) -> list[Told]:
        """Return what a row says of each name at a rank."""
        found, groups = self.candidates_, self._ranks.groups(rank)
        if found.tree is None or found.nodes is None:
            return tell_classes(self.names())
        return tell_nodes(found.tree, found.nodes, rank, groups, self._add_columns())

    def _add_columns(self) -> AddColumns | None:
        name = self.encoder.card.get("domain")
        return get_domain(name).result_columns if name else None

    @property
    def _ranks(self) -> Ranks:
        if not hasattr(self, "ranks_"):
            raise UsageError("no labels yet", "call fit() first")
        return self.ranks_

    def _note(self, image: Any, error: UnreadableImage) -> None:
        self.unreadable_.append((str(image), error.reason))
