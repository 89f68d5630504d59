"""Zero-shot classification: pictures against labels that are said in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from domainclip.data.batches import as_input
from domainclip.data.images import UnreadableImage, read_image
from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import Groups, LabelTree
from domainclip.domains.registry import get_domain
from domainclip.errors import LabelError, UsageError, suggest
from domainclip.model.clip import DomainClip, Preprocess
from domainclip.model.device import pick_device
from domainclip.model.folder import load_model, read_card, read_labels

from .prompts import embed_labels, label_texts
from .rollup import roll_up

__all__ = ["Picture", "ZeroShotClassifier", "embed_labels", "label_texts", "prepare"]

Picture: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]
"""A path, encoded bytes, a Pillow image, or uint8 pixels of shape (height, width[, 3])."""

Labels: TypeAlias = LabelTree | Mapping[str, Sequence[str]] | Sequence[str] | None


class ZeroShotClassifier:
    """Names pictures by the label whose words are nearest, in the manner of scikit-learn.

    Scores are the softmax of scale times cosine over the labels that were fitted; at a coarser rank
    they are summed, so that every rank sums to one.

    Args:
        model: A model folder, a run folder, the name of a model, or a loaded model.
        prompts: How labels are said; unset, as the model was trained with.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: Pictures per forward pass.

    Attributes:
        classes_: What is told apart, as an array of names; after `fit`.
        label_features_: One unit vector for each class, shape (C, dim).
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
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.device = device
        self.batch_size = batch_size
        self.unreadable_: list[tuple[str, str]] = []
        self._network: DomainClip | None = None

    def fit(self, labels: Labels = None, *, head: str | None = None) -> ZeroShotClassifier:
        """Turn labels into text features.

        Args:
            labels: None for the labels that the model was trained on; a tree, whose leaves are told
                apart; a sequence of names, each put into the templates; or descriptions by class,
                taken as they are.
            head: The projection head; unset, `captions` for descriptions and `names` for the rest.

        Returns:
            This classifier.

        Raises:
            UsageError: If the model folder holds no labels and none are given.
            LabelError: If there are no labels, or one comes twice.
        """
        network, card = self._load()
        self.tree_: LabelTree | None = None
        self.nodes_: NDArray[np.int64] | None = None
        prompts = self.prompts or _prompts_of(card)
        if labels is None or isinstance(labels, LabelTree):
            tree, nodes = self._own_labels(card) if labels is None else (labels, labels.leaves)
            self.tree_, self.nodes_ = tree, np.asarray(nodes, dtype=np.int64)
            names = [tree.name(int(node)) or "" for node in self.nodes_]
            texts: list[Sequence[str]] = [
                label_texts(tree, int(node), prompts) for node in self.nodes_
            ]
        elif isinstance(labels, Mapping):
            names, texts = list(labels), [tuple(said) for said in labels.values()]
        else:
            names = [labels] if isinstance(labels, str) else list(labels)
            texts = [prompts.say(name) for name in names]
        if not names:
            raise LabelError("no label to choose from", "give at least one")
        if self.tree_ is None and len(set(names)) < len(names):
            double = next(name for i, name in enumerate(names) if name in names[:i])
            raise LabelError(f"the label {double!r} is given twice", "give each label once")
        asked = head or ("captions" if isinstance(labels, Mapping) else "names")
        self.head_ = network.head(asked)
        self.classes_ = np.array(names, dtype=object)
        self.label_features_ = embed_labels(network, texts, prompts.pooling, head=asked)
        self.notice_ = str(card.get("notice", ""))
        return self

    def predict(self, images: Iterable[Picture], rank: str | None = None) -> NDArray[np.object_]:
        """Return the most probable name for each picture, shape (n,).

        Args:
            images: Paths, encoded bytes, Pillow images or pixels.
            rank: The rank to name them at; unset, the labels themselves.

        Raises:
            UnreadableImage: If a picture cannot be read; `predict_rows` leaves those out instead.
        """
        names = np.array(self.names(rank), dtype=object)
        best = [names[p.argmax(-1).numpy()] for p in self._probabilities(images, rank)]
        return np.concatenate(best) if best else np.zeros(0, dtype=object)

    def predict_proba(
        self, images: Iterable[Picture], rank: str | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of every name, shape (n, C), columns as in `names(rank)`.

        Raises:
            UnreadableImage: If a picture cannot be read.
        """
        parts = [p.numpy() for p in self._probabilities(images, rank)]
        empty = np.zeros((0, len(self.names(rank))), dtype=np.float32)
        return np.concatenate(parts) if parts else empty

    def names(self, rank: str | None = None) -> tuple[str, ...]:
        """Return what is told apart at a rank, or the labels themselves.

        Raises:
            UsageError: If the labels have no such rank.
        """
        groups = self._groups(rank)
        return tuple(map(str, self.classes_)) if groups is None else tuple(groups.names)

    def predict_rows(
        self, paths: Iterable[str | Path], rank: str | None = None, k: int = 5
    ) -> Iterator[dict[str, str | float]]:
        """Yield the `k` best names of each picture, batch by batch; memory does not grow.

        The keys are columns of pybioclip: `file_name`, the ranks, `common_name`, `score` where
        labels have ranks, else `file_name`, `classification`, `score`. Pictures that cannot be read
        are left out and listed in `unreadable_`.

        Raises:
            UsageError: If the labels have no such rank, or `k` is less than 1.
        """
        if k < 1:
            raise UsageError(f"k = {k}", "ask for at least one name per picture")
        groups = self._groups(rank)
        columns = self._columns(rank, groups)
        self.unreadable_ = []
        return self._rows(paths, groups, columns, min(k, len(columns)))

    def _rows(
        self,
        paths: Iterable[str | Path],
        groups: Groups | None,
        columns: Sequence[Mapping[str, str]],
        k: int,
    ) -> Iterator[dict[str, str | float]]:
        for files, pixels in self._batches(paths, self._note):
            best = self._score(pixels, groups).topk(k, dim=-1)
            chosen = zip(files, best.indices.tolist(), best.values.tolist(), strict=True)
            for file, labels, scores in chosen:
                for label, score in zip(labels, scores, strict=True):
                    yield {"file_name": str(file), **columns[label], "score": score}

    def _columns(self, rank: str | None, groups: Groups | None) -> list[dict[str, str]]:
        """Return what a row says of each name: its ranks and its common name, or its class."""
        if self.tree_ is None or self.nodes_ is None:
            return [{"classification": str(name)} for name in self.classes_]
        tree, nodes = self.tree_, self.nodes_
        shown = tree.ranks if rank is None else tree.ranks[: tree.ranks.index(rank) + 1]
        if groups is not None:
            # Any member tells the coarser ranks of a group, of a bucket without a name as well.
            nodes = self.nodes_[np.unique(groups.codes, return_index=True)[1]]
        rows = []
        for i, node in enumerate(nodes.tolist()):
            above = tree.ancestors[node, : len(shown)]
            names = ["" if a < 0 else tree.name(int(a)) or "" for a in above]
            row = dict(zip(shown, names, strict=True))
            own = node if groups is None else int(groups.nodes[i])
            if groups is not None:
                row[shown[-1]] = groups.names[i]
            row["common_name"] = "" if own < 0 else tree.name(own, "common") or ""
            rows.append(row)
        return rows

    def _groups(self, rank: str | None) -> Groups | None:
        if not hasattr(self, "classes_"):
            raise UsageError("no labels yet", "call fit() first")
        if rank is None:
            return None
        if self.tree_ is None:
            raise UsageError(f"these labels have no ranks, so no {rank!r}", "leave the rank out")
        if rank not in self.tree_.ranks:
            ranks = ", ".join(self.tree_.ranks)
            raise UsageError(f"no rank {rank!r}; ranks: {ranks}", suggest(rank, self.tree_.ranks))
        return self.tree_.groups(rank, [] if self.nodes_ is None else self.nodes_)

    def _probabilities(self, images: Iterable[Picture], rank: str | None) -> Iterator[Tensor]:
        groups = self._groups(rank)
        for _, pixels in self._batches(images, None):
            yield self._score(pixels, groups)

    @torch.inference_mode()
    def _score(self, pixels: Tensor, groups: Groups | None) -> Tensor:
        network, _ = self._load()
        features = network.encode_image(pixels.to(self.label_features_.device), head=self.head_)
        logits = network.scale(self.head_) * features.float() @ self.label_features_.T
        probabilities = logits.softmax(-1)
        if groups is not None:
            probabilities = roll_up(probabilities, groups)
        return probabilities.float().cpu()

    def _batches(
        self, images: Iterable[Any], skip: Callable[[Any, UnreadableImage], None] | None
    ) -> Iterator[tuple[list[Any], Tensor]]:
        """Yield batches of readable pictures; the next one is read while this one is computed."""
        network, card = self._load()
        reader = get_domain(card["domain"]).read_image if "domain" in card else None

        def read(image: Picture) -> Tensor:
            picture = read_image(image, domain_reader=reader, side=network.preprocess.shortest)
            return prepare(picture, network.preprocess)

        source = iter([images] if _is_one(images) else images)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:

            def start() -> list[tuple[Any, Future[Tensor]]]:
                return [(i, pool.submit(read, i)) for i in islice(source, self.batch_size)]

            waiting = start()
            while waiting:
                current, waiting = waiting, start()
                kept, pixels = [], []
                for image, future in current:
                    try:
                        pixels.append(future.result())
                        kept.append(image)
                    except UnreadableImage as error:
                        if skip is None:
                            raise
                        skip(image, error)
                if kept:
                    yield kept, torch.stack(pixels)

    def _note(self, image: Any, error: UnreadableImage) -> None:
        self.unreadable_.append((str(image), error.reason))

    def _load(self) -> tuple[DomainClip, dict[str, Any]]:
        if self._network is None:
            if isinstance(self.model, DomainClip):
                self._network, self._card = self.model.eval(), {}
            else:
                folder = Path(self.model).expanduser()
                self._card = read_card(folder) if folder.is_dir() else {}
                self._network = load_model(self.model, device=pick_device(self.device))
        return self._network, self._card

    def _own_labels(self, card: Mapping[str, Any]) -> tuple[LabelTree, NDArray[Any]]:
        tree = None
        if not isinstance(self.model, DomainClip) and Path(self.model).expanduser().is_dir():
            tree = read_labels(self.model)
        if tree is None:
            raise UsageError("this model comes without labels", "say which labels to choose from")
        keys = card.get("candidates")
        if not keys:
            return tree, np.asarray(tree.leaves)
        return tree, np.array([tree.node(tuple(key)) for key in keys], dtype=np.int64)


def prepare(image: Image.Image, preprocess: Preprocess) -> Tensor:
    """Return the image tower's input for an RGB picture, shape (3, size, size), normalised.

    The shortest side becomes `preprocess.shortest`, then the centre is cut out: the scale at which
    the model was tested.
    """
    pre = preprocess
    return as_input(image, pre.shortest, pre.size, pre.mean, pre.std)


def _is_one(images: Any) -> bool:
    """Tell a single picture from several, as both are arrays or can be iterated."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in (3, 4))
    return isinstance(images, (str, bytes, Path, Image.Image))


def _prompts_of(card: Mapping[str, Any]) -> PromptSet:
    """Return the prompt set that a model was trained with, or the bare names."""
    if "domain" not in card:
        return PromptSet()
    sets = get_domain(card["domain"]).prompts
    return sets.get(str(card.get("prompts", "default")), sets["default"])
