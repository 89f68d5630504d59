"""Zero-shot classification: pictures against labels that are said in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from domainclip.domains.contract import PromptSet
from domainclip.errors import UsageError
from domainclip.model.clip import DomainClip

from .answering import Classifier
from .calibration.applied import Calibrated
from .calibration.fit import Outcome, fit_calibration
from .calibration.hierarchy import Hierarchy
from .calibration.store import Fitted, find_calibration, save_calibration
from .candidates import Descriptions, Labels, find_truth
from .encoding import Encoder, Precision
from .label_cache import LabelMatrix, find_labels
from .narrowing import Listed, narrow
from .own_labels import find_candidates, own_prompts
from .pictures import Picture, are_features
from .priors import Prior
from .published import find_published
from .scoring import find_logits

__all__ = ["ZeroShotClassifier"]


class ZeroShotClassifier(Classifier):
    """Names pictures by the label whose words are nearest, in the manner of scikit-learn.

    Scores are the softmax of scale times cosine over the labels that were fitted; at a coarser rank
    they are summed, so that every rank sums to one.

    Args:
        model: A model folder, a run folder, the name of a model, or a loaded model.
        prompts: How labels are said; unset, as the model was trained with.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: Pictures per forward pass.
        precision: Number format of the image tower; bfloat16 is faster where the processor has it.
        calibrated: Use the calibration of the model folder for these labels, where it has one.
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
        calibrated: bool = True,
        coarse_to_fine: bool = False,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.device = device
        self.batch_size = batch_size
        self.precision = precision
        self.calibrated = calibrated
        self.unknown_: list[str] = []
        encoder = Encoder(model, device=device, batch_size=batch_size, precision=precision)
        super().__init__(encoder, coarse_to_fine=coarse_to_fine)

    def fit(
        self,
        labels: Labels | None = None,
        *,
        descriptions: Descriptions | Literal["knowledge"] | None = None,
        within: str | Sequence[str] = (),
        subset: Listed | Sequence[str] | None = None,
        bins: Mapping[str, str] | None = None,
        head: str | None = None,
        vectors: NDArray[Any] | None = None,
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
            vectors: Ready unit vectors of the labels, shape (n, dim), in single or half precision;
                unset, those that the publishers of the model computed of its own labels, or else
                they are computed.
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
        if vectors is None and given is None and not (descriptions or self.prompts):
            vectors = find_published(self.encoder, head or "names")
        ready = None if vectors is None else LabelMatrix.of(vectors, len(found))
        found, self.unknown_ = narrow(found, within, subset)
        asked = head or ("captions" if isinstance(labels, Mapping) else "names")
        self.head_ = self.encoder.head(asked)
        if len(found) == 1:
            warnings.warn(
                f"{found.names[0]!r} is the only label: every picture is named so, whatever it "
                "shows; give others to choose from",
                stacklevel=2,
            )
        if ready is None:
            self.matrix_ = find_labels(self.encoder, found, asked, progress=progress)
        else:
            self.matrix_ = ready if found.rows is None else ready.take(found.rows)
        self._know(found, bins)
        self.asked_ = asked
        self._find_calibration()
        return self

    def use_prior(
        self,
        prior: Prior | str | Path,
        given: Mapping[str, str] | None = None,
        *,
        strength: float = 1.0,
        hard: bool = False,
    ) -> list[str]:
        """Weigh labels by what is known before a picture is looked at, until the next `fit`.

        Args:
            prior: Weights by label, or the table that they stand in.
            given: What is known, such as `{"month": "6"}`; conditions left out are summed over.
            strength: 0 for no effect, 1 for that of Bayes' rule.
            hard: Rule out labels without a weight, rather than give them a small one.

        Returns:
            Names of the table that no label has.

        Raises:
            UsageError: If a condition is unknown.
            LabelError: If no name is known, or no label is left.
        """
        _ = self._ranks
        table = prior if isinstance(prior, Prior) else Prior.from_table(prior)
        self.log_prior_, unknown = table.weigh(
            self.candidates_, given, strength=strength, hard=hard
        )
        return unknown

    def calibrate(
        self,
        images: Iterable[Picture] | NDArray[Any] | Tensor,
        labels: Sequence[str] | NDArray[Any],
        *,
        source: str = "",
    ) -> Outcome:
        """Fit honest probabilities to pictures whose labels are known, and use them from now on.

        They are kept in the model folder, where the next `fit` to the same labels finds them. The
        pictures are best none that the model was trained on: two thousand, of all labels.

        Args:
            images: As for `predict`.
            labels: The label of each: its name, or its node in the tree of the labels.
            source: Where the pictures came from, for people.

        Raises:
            DataError: If too few pictures show one of the labels.
            LabelError: If a name is no label to choose from, or several.
        """
        _ = self._ranks
        found, told = self.candidates_, np.asarray(labels)
        truth = told.astype(np.int64) if told.dtype.kind in "iu" else find_truth(found, told)
        features = torch.cat([some.cpu() for _, some in self._features(images, skip=False)])
        if len(features) != len(truth):
            raise UsageError(f"{len(truth)} labels for {len(features)} pictures", "give one each")

        def batches() -> Iterator[Tensor]:
            yield from find_logits(self.matrix_, features.to(self.encoder.place), self._scale())

        fitted = Fitted(self.encoder.digest, found.digest, self.asked_)
        outcome = fit_calibration(Hierarchy.of(found), batches, truth, fitted, source=source)
        if self.encoder.folder is not None:
            save_calibration(outcome.calibration, self.encoder.folder)
        self.calibrated_ = Calibrated(outcome.calibration, found)
        return outcome

    def _find_calibration(self) -> None:
        """Take the calibration of these labels, or note why there is none."""
        self.calibrated_, self.log_prior_ = None, None
        if not self.calibrated or self.encoder.folder is None or self.ranks_.bins is not None:
            self.why_not_ = "these probabilities are not calibrated"
            return
        wanted = Fitted(self.encoder.digest, self.candidates_.digest, self.asked_)
        found = find_calibration(self.encoder.folder, wanted)
        if isinstance(found, str):
            self.why_not_ = found
        else:
            self.calibrated_ = Calibrated(found, self.candidates_)

    @property
    def label_features_(self) -> Tensor:
        """One unit vector for each label, shape (n, dim)."""
        return self.matrix_.features

    def _logits(self, images: Any, *, skip: bool = False) -> Iterator[tuple[Sequence[Any], Tensor]]:
        """Yield pictures with the logits of all labels, as many at a time as fit."""
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
