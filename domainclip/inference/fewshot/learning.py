"""From labelled pictures to a support to learn from and pictures to choose on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, LabelError, UsageError
from domainclip.inference.candidates import Candidates, choose_from_names, choose_from_tree
from domainclip.inference.label_cache import find_labels
from domainclip.inference.own_labels import own_prompts
from domainclip.inference.pictures import Picture, are_features
from domainclip.inference.prompts import embed_labels

from .choosing import METHODS, list_wanted
from .drawing import gather, queue_pictures
from .galleries import BOTH, BothHeads, Gallery, GivenPictures, GivenVectors
from .sampled import SamplePictures
from .support import Held, Support, Vectors

Pictures: TypeAlias = Iterable[Picture] | NDArray[Any] | Tensor | SamplePictures
Names: TypeAlias = Sequence[str] | NDArray[Any]
"""The label of each picture: its name, or its node in a tree."""
SHOWN = 3
"""Labels that a message names."""


@dataclass(frozen=True)
class Asked:
    """What a classifier is to learn by."""

    method: str
    shots: int
    seed: int
    progress: bool


@dataclass(frozen=True)
class Learned:
    """What was found of the pictures."""

    support: Support
    held: Held | None
    """Pictures to choose on; None where there are none of their own."""
    candidates: Candidates
    head: str
    """What the vectors are under: `names`, or `BOTH`."""
    ids: tuple[str, ...]
    """What tells each picture of the support."""
    messages: list[str]
    unreadable: list[tuple[str, str]]


def learn(
    encoder: BothHeads,
    asked: Asked,
    images: Pictures,
    labels: Names,
    val: tuple[Pictures, Names] | None = None,
    tree: LabelTree | None = None,
    captions: Sequence[Sequence[str]] | None = None,
) -> Learned:
    """Draw pictures of each label, and turn them, their captions and the labels into vectors.

    Args:
        encoder: The model.
        asked: How many pictures, for which method.
        images: The pictures to draw from.
        labels: The label of each: its name, or with `tree` its node.
        val: Pictures to choose on, and their labels.
        tree: What the labels are nodes of.
        captions: Captions of each picture, or None.

    Raises:
        UsageError: If the parts do not go together.
        LabelError: If there are less than two labels.
        DataError: If no picture of a label can be read.
    """
    gallery = _open(encoder, images, captions)
    codes, classes = _code(labels, gallery, tree)
    candidates = _choose(classes, tree, own_prompts(encoder))
    judges = None if val is None else _open(encoder, val[0], None)
    queues = queue_pictures(codes, asked.seed)
    first = np.concatenate([queue[: asked.shots or None] for queue in queues])
    wanted = list_wanted(asked.method)
    told = "caps" in wanted and any(map(any, gallery.captions(first)))
    looked = not isinstance(gallery, GivenVectors) and not isinstance(judges, GivenVectors)
    head = BOTH if told and looked and encoder.head("captions") == "captions" else "names"
    title = "pictures to learn from" if asked.progress else ""
    drawn, features = gather(gallery, queues, asked.shots, head, title)
    messages = _check_drawn(drawn, queues, asked.shots, candidates)
    rows = np.concatenate(drawn)
    own = np.repeat(np.arange(len(drawn)), [len(some) for some in drawn])
    texts, scale = None, 100.0
    if any(METHODS[name].needs for name in wanted):
        texts = find_labels(encoder, candidates, "names", progress=asked.progress).features.numpy()
        scale = float(encoder.network.scale("names").detach())
        check_width(features, texts.shape[1] * (2 if head == BOTH else 1))
    said = _embed_captions(encoder, gallery.captions(rows), own, candidates) if told else None
    held = None
    if val is not None and judges is not None:
        title = "pictures to choose on" if asked.progress else ""
        held = _hold(judges, val[1], classes, tree, head, title, messages)
        if held is not None:
            check_width(held.features, features.shape[1])
    names = gallery.names
    return Learned(
        Support(features, own, texts, said, scale),
        held,
        candidates,
        head,
        tuple(names[row] for row in rows),
        messages,
        [*gallery.unreadable, *(judges.unreadable if judges is not None else ())],
    )


def check_width(features: Vectors, width: int) -> None:
    """Refuse vectors of another length.

    Raises:
        UsageError: If they are not of `width` numbers.
    """
    if len(features) and features.shape[1] != width:
        raise UsageError(
            f"these vectors have {features.shape[1]} numbers, not {width}",
            "a floating array of two dimensions is taken for unit vectors of pictures, one a row, "
            "of the same model and heads",
        )


def _open(
    encoder: BothHeads, images: Pictures, captions: Sequence[Sequence[str]] | None
) -> Gallery:
    if isinstance(images, SamplePictures):
        return images
    if are_features(images):
        return GivenVectors(images, captions)
    return GivenPictures(encoder, images, captions)


def _code(
    labels: Names, gallery: Gallery, tree: LabelTree | None
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the number of each picture's label, and the labels in order."""
    _check_length(labels, gallery)
    _check_kind(labels, tree)
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    if len(classes) < 2:
        names = classes if tree is None else [tree.name(int(node)) for node in classes]
        only = f"all pictures have the label {str(names[0])!r}" if len(classes) else "no picture"
        raise LabelError(f"{only}, so there is nothing to tell apart", "two labels are the least")
    return codes.astype(np.int64), classes


def _check_length(labels: Names, gallery: Gallery) -> None:
    if len(labels) != len(gallery.names):
        raise UsageError(
            f"{len(labels)} labels for {len(gallery.names)} pictures", "give one label a picture"
        )


def _check_kind(labels: Names, tree: LabelTree | None) -> None:
    named = all(isinstance(label, str) for label in labels)
    if tree is None and not named:
        raise UsageError("labels are names", "numbers are nodes of a tree: give the tree with them")
    if tree is not None and named and len(labels):
        raise UsageError("with a tree, labels are its nodes", "leave out the tree, or give nodes")


def _choose(classes: NDArray[Any], tree: LabelTree | None, prompts: PromptSet) -> Candidates:
    if tree is None:
        return choose_from_names([str(name) for name in classes], prompts)
    return choose_from_tree(tree, classes.astype(np.int64), prompts)


def _check_drawn(
    drawn: Sequence[NDArray[np.int64]],
    queues: Sequence[NDArray[np.int64]],
    shots: int,
    candidates: Candidates,
) -> list[str]:
    """Refuse labels without a picture; say which have fewer than were asked for.

    Raises:
        DataError: If no picture of a label can be read.
    """
    empty = [i for i, rows in enumerate(drawn) if not len(rows)]
    if empty:
        count, name = len(queues[empty[0]]), candidates.names[empty[0]]
        raise DataError(
            f"no picture of {name!r} can be read, of {count}"
            + (f", nor any of {len(empty) - 1} more labels" if len(empty) > 1 else ""),
            "put others in their place, or leave the label out",
        )
    few = [i for i, rows in enumerate(drawn) if len(rows) < shots]
    if not few:
        return []
    named = ", ".join(f"{candidates.names[i]} ({len(drawn[i])})" for i in few[:SHOWN])
    more = f" and {len(few) - SHOWN} more" if len(few) > SHOWN else ""
    return [
        f"{len(few)} of {len(drawn)} labels have fewer than {shots} pictures to learn from, and "
        f"all of them are taken: {named}{more}"
    ]


def _embed_captions(
    encoder: BothHeads,
    captions: Sequence[Sequence[str]],
    labels: NDArray[np.int64],
    candidates: Candidates,
) -> Vectors:
    """Return one unit vector for each picture's captions, shape (N, dim).

    A picture without one gets those of its label, else what is said of the label: images and texts
    lie too far apart for its own vector to stand in.
    """
    of_label: dict[int, list[str]] = {}
    for label, several in zip(labels.tolist(), captions, strict=True):
        of_label.setdefault(label, []).extend(several)
    said = [
        [text for text in several if text.strip()] or of_label[label] or candidates.texts(label)
        for label, several in zip(labels.tolist(), captions, strict=True)
    ]
    return np.asarray(embed_labels(encoder.network, said, head="captions").cpu().numpy())


def _hold(
    gallery: Gallery,
    labels: Names,
    classes: NDArray[Any],
    tree: LabelTree | None,
    head: str,
    title: str,
    messages: list[str],
) -> Held | None:
    """Return pictures to choose on, those of other labels left out; None where none is left."""
    _check_length(labels, gallery)
    _check_kind(labels, tree)
    number = {label: i for i, label in enumerate(classes.tolist())}
    codes = np.array([number.get(label, -1) for label in np.asarray(labels).tolist()], dtype=int)
    rows = np.flatnonzero(codes >= 0)
    if len(rows) < len(codes):
        messages.append(
            f"{len(codes) - len(rows)} of {len(codes)} validation pictures have labels that are "
            "not learned, and are left out"
        )
    if len(rows):
        features, good = gallery.encode(rows, head, title)
        if good.any():
            return Held(features, codes[rows[good]])
    messages.append("no validation picture is left: a part of the support is held out instead")
    return None
