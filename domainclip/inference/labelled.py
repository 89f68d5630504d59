"""Pictures whose label is known and is one to choose from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domainclip.data.samples import Samples
from domainclip.domains.names import fold
from domainclip.errors import DataError, LabelError

from .candidates import Candidates


def find_labelled(
    labels: Candidates, samples: Samples
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples whose label is one to choose from, and what stands for it.

    Returns:
        Rows of the samples, and for each its node in the tree of the labels, or its number where
        they have none.

    Raises:
        DataError: If there are none.
    """
    own = {fold(str(name)): i for i, name in enumerate(labels.names)}
    nodes, places = np.unique(samples.nodes, return_inverse=True)
    stands = np.full(len(nodes), -1, dtype=np.int64)
    for i, node in enumerate(nodes.tolist()):
        if labels.tree is None:
            names = samples.tree.all_names(node)
            stands[i] = next((own[fold(name)] for name in names if fold(name) in own), -1)
            continue
        try:
            stands[i] = labels.tree.node(samples.tree.key(node))
        except LabelError:
            named = labels.tree.find(samples.tree.name(node) or "")
            stands[i] = named[0] if len(named) == 1 else -1
    truth = stands[places]
    rows = np.flatnonzero(truth >= 0)
    if not len(rows):
        raise DataError(
            "no picture has a label to choose from",
            "give pictures of those labels, or choose from the labels of the pictures",
        )
    return rows, truth[rows]
