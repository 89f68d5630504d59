"""Few-shot classification: pictures against a few labelled pictures of each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from tqdm import tqdm

from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError
from domainclip.inference.answering import Classifier
from domainclip.inference.candidates import Candidates
from domainclip.inference.pictures import are_features
from domainclip.model.clip import DomainClip

from .choosing import AUTO, Chosen, choose_method, list_wanted
from .galleries import BOTH, BothHeads, GivenVectors
from .learning import Asked, Names, Pictures, check_width, learn
from .saved import check_model, describe, read_candidates, read_saved, write_saved
from .support import Vectors, to_unit

AT_ONCE = 256
"""Vectors that are scored at once."""


class FewShotClassifier(Classifier):
    """Names pictures by those of a few labelled pictures, in the manner of scikit-learn.

    Args:
        model: A model folder, a run folder, the name of a model, or a loaded model.
        method: `centroid`, `tip`, `caps`, `logistic` or `tip-trained`; `auto` for the one that
            names most validation pictures rightly.
        shots: Pictures of each label to learn from; 0 for all.
        seed: Seed of what is drawn.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: Pictures per forward pass.

    Attributes:
        classes_: The labels that are told apart, as an array of names; after `fit`.
        method_: The method that was chosen.
        head_: What pictures are looked at with, as galleries take it.
        chosen_: What each method gave on validation: method, accuracy, settings, seconds, chosen.
        messages_: What people should know of what was learned from.
        unreadable_: (name, reason) of pictures that `fit`, or the last `predict_rows`, left out.
        notice_: What the model's domain says with every result, such as "not for clinical use".

    Example:
        >>> classifier = FewShotClassifier("runs/first").fit(paths, names)  # doctest: +SKIP
        >>> classifier.save("my-fewshot")  # doctest: +SKIP
    """

    encoder: BothHeads
    way_on_ = "leave out the confidence, the sets and the rejection, or classify without examples"

    def __init__(
        self,
        model: str | Path | DomainClip,
        *,
        method: str = AUTO,
        shots: int = 0,
        seed: int = 0,
        device: str = "auto",
        batch_size: int = 64,
    ) -> None:
        self.model = model
        self.method = method
        self.shots = shots
        self.seed = seed
        self.device = device
        self.batch_size = batch_size
        self.messages_: list[str] = []
        super().__init__(BothHeads(model, device=device, batch_size=batch_size))
        self.why_not_ = "few-shot classifiers promise no certainty: only their scale is fitted"

    def fit(
        self,
        images: Pictures,
        labels: Names,
        val: tuple[Pictures, Names] | None = None,
        *,
        tree: LabelTree | None = None,
        captions: Sequence[Sequence[str]] | None = None,
        progress: bool = False,
    ) -> Self:
        """Learn from pictures, choosing method and settings on validation.

        Args:
            images: Paths, encoded bytes, Pillow images or pixels; unit vectors of pictures as a
                floating array of shape (n, dim); or a gallery.
            labels: The label of each: its name, or with `tree` its node.
            val: Pictures to choose on, and their labels. Unset, a quarter of each label's pictures
                is held out for that; the chosen one then learns from all.
            tree: What the labels are nodes of, which gives them ranks.
            captions: Captions of each picture, which `caps` learns from; () for none.
            progress: Draw progress bars.

        Returns:
            This classifier.

        Raises:
            UsageError: If there is no such method, or the data lacks what it needs.
            LabelError: If there are less than two labels.
            DataError: If no picture of a label can be read.
        """
        list_wanted(self.method)
        if self.shots < 0:
            raise UsageError(f"shots = {self.shots}", "0 takes all pictures of each label")
        asked = Asked(self.method, self.shots, self.seed, progress)
        learned = learn(self.encoder, asked, images, labels, val, tree, captions)
        quiet = None if progress else True  # None: unless nobody watches
        watch = partial(tqdm, desc="methods", dynamic_ncols=True, disable=quiet)
        chosen = choose_method(learned.support, learned.held, self.method, self.seed, watch)
        self.unreadable_, self.messages_ = learned.unreadable, learned.messages
        if chosen.table[0].accuracy is None:
            self.messages_.append(
                "every label has a single picture, so there was none to choose on: "
                f"{chosen.method} is taken as it comes"
            )
        about = describe(self.encoder, asked, learned, chosen.method)
        return self._use(chosen, learned.candidates, about)

    def save(self, folder: str | Path) -> Path:
        """Write the classifier; one that lies there is replaced.

        Raises:
            UsageError: If nothing was learned yet, or the folder holds something else.
        """
        _ = self._ranks  # refuses what is not fitted
        return write_saved(folder, self._chosen, self._about)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: str | Path | DomainClip | None = None,
        *,
        device: str = "auto",
        batch_size: int = 64,
    ) -> Self:
        """Return a classifier as it was saved.

        Args:
            folder: Where it was saved.
            model: Where its model lies now; unset, where it lay.
            device: `auto`, `cpu`, `cuda` or `mps`.
            batch_size: Pictures per forward pass.

        Raises:
            UsageError: If there is none, its model is not found, or `model` is another one.
            DataError: If it is damaged.
        """
        chosen, about = read_saved(folder)
        made, learned = about["model"], about["learned_from"]
        if model is None and not made["lasts"]:
            raise UsageError(f"{folder} was made with a loaded model", "give that model")
        found = cls(
            made["name"] if model is None else model, method=about["asked"],
            shots=learned["shots"], seed=learned["seed"], device=device, batch_size=batch_size,
        )  # fmt: skip
        check_model(folder, made, found.encoder)
        return found._use(chosen, read_candidates(about), about)

    def _use(self, chosen: Chosen, candidates: Candidates, about: dict[str, Any]) -> Self:
        """Take what was learned, or was read."""
        self._chosen, self._about = chosen, about
        self._know(candidates)
        self.method_, self.head_ = chosen.method, str(about["head"])
        self.chosen_ = chosen.rows()
        self.notice_ = str(about["notice"])
        return self

    def _logits(self, images: Any, *, skip: bool = False) -> Iterator[tuple[Sequence[Any], Tensor]]:
        for shown, features in self._features(images, skip):
            scores = self._chosen.fitted.scores(features)
            scores /= self._chosen.temperature
            yield shown, torch.from_numpy(scores)

    def _features(self, images: Any, skip: bool) -> Iterator[tuple[Sequence[Any], Vectors]]:
        if not are_features(images):
            note = self._note if skip else None
            for shown, found in self.encoder.stream(images, self.head_, note):
                yield shown, found.cpu().numpy()
            return
        vectors = GivenVectors(images).vectors
        check_width(vectors, self._about["width"])
        if self.head_ == BOTH:  # each side is a vector of its own
            vectors = to_unit(vectors.reshape(2 * len(vectors), -1)).reshape(vectors.shape)
        for start in range(0, len(vectors), AT_ONCE):
            some = vectors[start : start + AT_ONCE]
            yield range(start, start + len(some)), some
