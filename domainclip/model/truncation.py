"""Finds texts that do not fit into a model's text tower."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .clip import DomainClip


def find_cut(
    model: DomainClip, texts: Sequence[str], tokens: Tensor, head: str = "names"
) -> NDArray[np.bool_]:
    """Return which texts the tokenizer cut, shape (n,).

    A text was cut exactly if one more token of room gives anything but padding; only texts that
    come close to filling the context are tokenised again.

    Args:
        model: The model whose tokenizer was used.
        texts: The texts.
        tokens: Their token ids as `model.tokenize` gave them, shape (n, context_length).
        head: The head that they are for.
    """
    cut = np.zeros(len(texts), dtype=bool)
    length = tokens.shape[1] + 1
    padding = int(torch.mode(model.tokenizer([""], context_length=length)[0]).values)
    # Two places, since some tokenizers blank out the end token.
    full = np.flatnonzero((tokens[:, -2:] != padding).any(dim=1).numpy())
    if len(full):
        said = model.say([texts[i] for i in full.tolist()], head)
        longer = model.tokenizer(said, context_length=length)
        short = tokens[torch.from_numpy(full)]
        behind = (longer[:, :-1] == short).all(dim=1) & (longer[:, -1] == padding)
        before = (longer[:, 1:] == short).all(dim=1) & (longer[:, 0] == padding)
        cut[full] = ~(behind | before).numpy()
    return cut
