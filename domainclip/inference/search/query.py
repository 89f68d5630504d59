"""The vector of a query: a text, a picture, or a picture and how it should differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import UsageError

Vector = NDArray[np.float32]


def compose(
    picture: Vector | None, text: Vector | None, minus: Vector | None = None, weight: float = 0.5
) -> Vector:
    """Return the unit vector of a query.

    It is the direction of (1 - w) picture + w (text - minus), all of them unit vectors. Without
    `minus` at w = 0.5 it is the mean of picture and text, the "image + text" baseline of composed
    retrieval (Saito et al. 2023, Pic2Word, arXiv:2302.03084). With `minus`, which says what the
    picture shows and should not, it is picture + lambda (text - minus), lambda = w / (1 - w), as
    Couairon et al. 2022 (Embedding Arithmetic of Multimodal Queries for Image Retrieval,
    arXiv:2112.03162) transform pictures by differences of texts. As cosines to a picture vary more
    than those to a text, a small change may need a larger w. Without a picture the text
    stands in its place: (1 - w) text - w minus.

    Args:
        picture: Unit vector of a picture, shape (dim,).
        text: Unit vector of what is looked for, or of the change.
        minus: Unit vector of what should not be there.
        weight: w, from 0, the picture alone, to 1, the change alone.

    Raises:
        UsageError: If nothing is asked, the weight is no share, or the parts cancel out.
    """
    if picture is None and text is None:
        raise UsageError("nothing to look for", "give a text, a picture, or both")
    if not 0 <= weight <= 1:
        raise UsageError(f"weight {weight:g}", "0 is the picture alone, 1 the change alone")
    start = text if picture is None else picture
    assert start is not None
    change = np.zeros_like(start)
    if picture is not None and text is not None:
        change = change + text
    if minus is not None:
        change = change - minus
    query = (1 - weight) * start + weight * change if change.any() else start
    length = float(np.linalg.norm(query))
    if length < 1e-6:
        raise UsageError("what is asked for and what is taken away cancel out", "change the weight")
    return np.asarray(query / length, dtype=np.float32)
