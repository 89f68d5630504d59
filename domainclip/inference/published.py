"""Label vectors that came with a model: ready for its own labels, as its publishers say them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import DataError
from domainclip.model.folder import model_folder
from domainclip.zoo.label_vectors import KEY, VECTORS

from .encoding import Encoder


def find_published(encoder: Encoder, head: str) -> NDArray[Any] | None:
    """Return the vectors of a model's own labels, shape (n, dim), mapped; None where it has none.

    They lie in the folder of the model and nowhere else, so that no other model can be given them.

    Args:
        encoder: The model.
        head: The head that they will be compared under; they are of `names`.

    Raises:
        DataError: If they are not of the labels of the folder, or cannot be read.
    """
    told = encoder.card.get(KEY)
    if told is None or encoder.folder is None or head != "names":
        return None
    file = model_folder(encoder.folder) / VECTORS
    if told.get("labels") != encoder.card.get("labels"):
        raise DataError(f"{file} is of other labels than those of its folder", "pull it again")
    try:
        found: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} cannot be read: {error}", "pull it again") from error
    return found
