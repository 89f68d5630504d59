"""What an export changes on pictures of known labels: its accuracy, and how often it agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domainclip.data.images import UnreadableImage
from domainclip.data.samples import Samples
from domainclip.errors import DataError
from domainclip.inference.candidates import Candidates
from domainclip.inference.encoding import prepare
from domainclip.inference.labelled import find_labelled
from domainclip.inference.pictures import read_picture
from domainclip.inference.prompts import embed_labels
from domainclip.model.clip import DomainClip
from domainclip.zoo.export.towers import SourceTowers, Towers

AT_ONCE = 64


def measure_change(
    model: DomainClip, head: str, found: Towers, labels: Candidates, samples: Samples
) -> dict[str, Any]:
    """Name pictures by a model and by its export, each with label vectors of its own text tower.

    Vectors of several sentences are pooled as mean of unit vectors, whatever the prompts say: some
    programs give no others.

    Args:
        model: The model.
        head: The head that was exported.
        found: The export, loaded by its program.
        labels: What is chosen from.
        samples: Pictures of known labels; those of other labels are left out.

    Returns:
        Numbers of pictures and labels, `top1_before`, `top1_after`, the part of pictures that are
        named alike, and the largest difference of a number of the pictures' vectors.

    Raises:
        DataError: If no picture has a label to choose from, or none can be read.
    """
    source = SourceTowers(model, head)
    rows, truth = find_labelled(labels, samples)
    said = [labels.texts(row) for row in range(len(labels))]
    before, after = (
        embed_labels(_Reader(model, towers), said, head=head) for towers in (source, found)
    )
    right, alike, largest, count = np.zeros(2, dtype=np.int64), 0, 0.0, 0
    for places, pixels in _read(model, samples, rows):
        ours, theirs = source.encode_image(pixels), found.encode_image(pixels)
        largest = max(largest, float((ours - theirs).abs().max()))
        best = [(v @ m.T).argmax(dim=-1).numpy() for v, m in ((ours, before), (theirs, after))]
        right += [int(_is_right(labels, names, truth[places]).sum()) for names in best]
        alike += int((best[0] == best[1]).sum())
        count += len(places)
    if not count:
        raise DataError("none of the pictures can be read", "check them: domainclip data inspect")
    return {
        "pictures": count, "unreadable": len(rows) - count, "labels": len(labels),
        "top1_before": float(right[0] / count), "top1_after": float(right[1] / count),
        "agreement": alike / count, "largest_difference": largest,
    }  # fmt: skip


class _Reader:
    """The text tower of a program, as labels are embedded with: prefixes are put before texts."""

    def __init__(self, model: DomainClip, towers: Towers) -> None:
        self.model, self.towers = model, towers

    def tokenize(self, texts: Sequence[str], head: str = "names") -> Tensor:
        """Return token ids of shape (n, context)."""
        return self.towers.tokenize(self.model.say(texts, head))

    def encode_text(self, tokens: Tensor, normalize: bool = True) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return self.towers.encode_text(tokens)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return one on the CPU, where all programs are run."""
        yield nn.Parameter(torch.zeros(1))


def _read(
    model: DomainClip, samples: Samples, rows: NDArray[np.int64]
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield places in `rows` with their pixels, some at a time; what cannot be read is left out."""
    reader, pre = samples.domain.read_image, model.preprocess
    numbered = iter(enumerate(rows.tolist()))
    while some := [*islice(numbered, AT_ONCE)]:
        kept, pixels = [], []
        for place, row in some:
            try:
                given = samples.read(row).image
                picture = read_picture(given, reader=reader, side=pre.shortest)
            except UnreadableImage:
                continue
            kept.append(place)
            pixels.append(prepare(picture, pre))
        if kept:
            yield kept, torch.stack(pixels)


def _is_right(
    labels: Candidates, best: NDArray[np.int64], truth: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether names are the truth or lie below it."""
    if labels.tree is None or labels.nodes is None:
        return np.asarray(best == truth)
    lines = labels.tree.ancestors[labels.nodes[best]]
    return np.asarray((lines == truth[:, None]).any(axis=1))
