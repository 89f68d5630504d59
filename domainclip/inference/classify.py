"""Zero-shot classification: pictures against labels that are said in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from domainclip.data.images import UnreadableImage
from domainclip.domains.contract import PromptSet
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.model.clip import DomainClip

from .candidates import Descriptions, Labels
from .display import THUMBNAIL, Shown
from .encoding import Encoder, Precision
from .label_cache import find_labels
from .narrowing import Listed, narrow
from .own_labels import find_candidates, own_prompts
from .pictures import Picture, are_features, is_one, read_picture
from .ranks import Ranks
from .rows import Told, tell_classes, tell_nodes, tell_picture, tell_rank
from .scoring import find_logits, into_probabilities, top

__all__ = ["ZeroShotClassifier"]

ALL = "all"
"""In the place of a rank: every rank, one after the other."""


class ZeroShotClassifier:
    """Names pictures by the label whose words are nearest, in the manner of scikit-learn.

    Scores are the softmax of scale times cosine over the labels that were fitted; at a coarser rank
    they are summed, so that every rank sums to one.

    Args:
        model: A model folder, a run folder, the name of a model, or a loaded model.
        prompts: How labels are said; unset, as the model was trained with.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: Pictures per forward pass.
        precision: Number format of the image tower; bfloat16 is faster where the processor has it.
        coarse_to_fine: Choose the best group at the coarsest rank, then the best within it, and so
            on, so that answers at all ranks lie on one line; else each rank by itself.

    Attributes:
        classes_: What is told apart, as an array of names; after `fit`.
        label_features_: One unit vector for each label, shape (n, dim).
        unknown_: Names of `subset` that no label has.
        unreadable_: (path, reason) of the pictures that the last `predict_rows` left out.
        notice_: What the model's domain says with every result, such as "not for clinical use".

    Example:
        >>> classifier = ZeroShotClassifier("runs/first").fit()  # doctest: +SKIP
        >>> classifier.predict(["a.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | DomainClip,
        *,
        prompts: PromptSet | None = None,
        device: str = "auto",
        batch_size: int = 64,
        precision: Precision = "float32",
        coarse_to_fine: bool = False,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.device = device
        self.batch_size = batch_size
        self.precision = precision
        self.coarse_to_fine = coarse_to_fine
        self.unknown_: list[str] = []
        self.unreadable_: list[tuple[str, str]] = []
        self.encoder = Encoder(model, device=device, batch_size=batch_size, precision=precision)

    def fit(
        self,
        labels: Labels | None = None,
        *,
        descriptions: Descriptions | Literal["knowledge"] | None = None,
        within: str | Sequence[str] = (),
        subset: Listed | Sequence[str] | None = None,
        bins: Mapping[str, str] | None = None,
        head: str | None = None,
        progress: bool = False,
    ) -> ZeroShotClassifier:
        """Find the vectors of labels: kept ones, or computed ones that are then kept.

        Args:
            labels: None for the labels that the model was trained on; a tree, whose leaves are told
                apart; a sequence of names, each put into the templates; or descriptions by class,
                taken as they are.
            descriptions: Sentences that say a label beside its names, by any name of it; or
                "knowledge", for those that the domain's knowledge has.
            within: Names at any rank; only labels under one of them are chosen from.
            subset: The same from a list, such as that of a region, whose names need not all be
                known: those that are not come into `unknown_`.
            bins: Label -> bin; the labels are these, and bins are what is told apart.
            head: The projection head; unset, `captions` for descriptions and `names` for the rest.
            progress: Draw a progress bar while many labels are computed.

        Returns:
            This classifier.

        Raises:
            UsageError: If the model folder holds no labels and none are given, or what is asked of
                them does not go together.
            LabelError: If there are no labels, one is empty or comes twice, or a name is unknown.
        """
        if bins is not None and labels is not None:
            raise UsageError("labels and bins both say what to choose from", "give one of them")
        prompts = self.prompts or own_prompts(self.encoder)
        given = [*bins] if bins is not None else labels
        found = find_candidates(self.encoder, given, prompts, descriptions)
        found, self.unknown_ = narrow(found, within, subset)
        self.candidates_, self.ranks_ = found, Ranks(found, bins)
        asked = head or ("captions" if isinstance(labels, Mapping) else "names")
        self.head_ = self.encoder.head(asked)
        if len(found) == 1:
            warnings.warn(
                f"{found.names[0]!r} is the only label: every picture is named so, whatever it "
                "shows; give others to choose from",
                stacklevel=2,
            )
        self.matrix_ = find_labels(self.encoder, found, asked, progress=progress)
        self.classes_ = np.array(self.names(), dtype=object)
        self.notice_ = str(self.encoder.card.get("notice", ""))
        return self

    @property
    def label_features_(self) -> Tensor:
        """One unit vector for each label, shape (n, dim)."""
        return self.matrix_.features

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
            chosen = top(self._choose_by(into_probabilities(logits), rank), 1)[1]
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
            ranks.roll_up(into_probabilities(logits), rank).cpu().numpy()
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
        self, images: Iterable[Picture], rank: str | None = None, k: int = 5
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

        Raises:
            UsageError: If the labels have no such rank, or `k` is less than 1.
        """
        if k < 1:
            raise UsageError(f"k = {k}", "ask for at least one name per picture")
        asked = self._ranks.names if rank == ALL else (rank,)
        told = [self._tell(one) for one in asked]
        if rank == ALL:
            told = [tell_rank(rows, one, [*told[-1][0]])
                    for rows, one in zip(told, self._ranks.names, strict=True)]  # fmt: skip
        self.unreadable_ = []
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
        said = f"ZeroShotClassifier({self.encoder.name!r})"
        return f"{said}.fit({len(self.candidates_)} labels)" if hasattr(self, "ranks_") else said

    def _rows(
        self, images: Iterable[Picture], told: Mapping[str | None, Sequence[Told]], k: int
    ) -> Iterator[Told]:
        number = 0
        for shown, logits in self._logits(images, skip=True):
            labels = into_probabilities(logits)
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

    def _choose_by(self, labels: Tensor, rank: str | None) -> Tensor:
        """Return the scores at a rank that names are chosen by, of probabilities of all labels."""
        if self.coarse_to_fine:
            labels = self._ranks.keep_best_line(labels, rank)
        return self._ranks.roll_up(labels, rank)

    def _logits(self, images: Any, *, skip: bool = False) -> Iterator[tuple[Sequence[Any], Tensor]]:
        """Yield pictures with the logits of all labels, as many at a time as fit."""
        self._ranks  # noqa: B018 - refuses before anything is read
        for shown, features in self._features(images, skip):
            start = 0
            for logits in find_logits(self.matrix_, features, self._scale()):
                yield shown[start : start + len(logits)], logits
                start += len(logits)

    def _features(self, images: Any, skip: bool) -> Iterator[tuple[Sequence[Any], Tensor]]:
        if not are_features(images):
            note = self._note if skip else None
            yield from self.encoder.stream(images, head=self.head_, skip=note)
            return
        features = torch.as_tensor(images, dtype=torch.float32, device=self.encoder.place)
        width = int(self.matrix_.vectors.shape[1])
        if features.shape[1] != width:
            raise UsageError(
                f"these vectors have {features.shape[1]} numbers, the model's have {width}",
                "a floating array of two dimensions is taken for unit vectors of pictures, one a "
                "row; a grey picture is given as bytes, uint8",
            )
        yield range(len(features)), functional.normalize(features, dim=-1)

    def _scale(self) -> float:
        return float(self.encoder.network.scale(self.head_).detach())

    def _tell(self, rank: str | None) -> list[Told]:
        """Return what a row says of each name at a rank."""
        found, groups = self.candidates_, self._ranks.groups(rank)
        if found.tree is None or found.nodes is None:
            return tell_classes(self.names())
        name = self.encoder.card.get("domain")
        add = get_domain(name).result_columns if name else None
        return tell_nodes(found.tree, found.nodes, rank, groups, add)

    @property
    def _ranks(self) -> Ranks:
        if not hasattr(self, "ranks_"):
            raise UsageError("no labels yet", "call fit() first")
        return self.ranks_

    def _note(self, image: Any, error: UnreadableImage) -> None:
        self.unreadable_.append((str(image), error.reason))
