"""Token ids of the texts that training draws: each is tokenised once, as long as it is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domainclip.model.clip import DomainClip
from domainclip.model.truncation import find_cut

KEPT = 2**16
"""Texts of which the token ids stay in memory, about a kilobyte each."""


@dataclass(frozen=True)
class CutTexts:
    """Texts that were used, and how many of them the tokenizer had to cut."""

    texts: int = 0
    cut: int = 0

    def __add__(self, other: CutTexts) -> CutTexts:
        """Return both counts together."""
        return CutTexts(self.texts + other.texts, self.cut + other.cut)


class TokenCache:
    """Tokenises texts for their heads, and keeps those that were used last.

    Args:
        most: How many it keeps.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[str, str], tuple[Tensor, bool]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many texts are kept."""
        return len(self._kept)

    def tokenize(
        self, model: DomainClip, texts: Sequence[tuple[str, str]], keep: Sequence[bool]
    ) -> tuple[Tensor, NDArray[np.bool_]]:
        """Return token ids of shape (n, context_length), and whether each text was cut, (n,).

        Args:
            model: Its tokenizer, prefixes and context length.
            texts: (text, head that it is for), at least one.
            keep: Whether each is likely to be asked for again.
        """
        new: dict[tuple[str, str], tuple[Tensor, bool]] = {}
        for head in sorted({head for _, head in texts}):
            missing = [t for t in dict.fromkeys(texts) if t[1] == head and t not in self._kept]
            if missing:
                plain = [text for text, _ in missing]
                tokens = model.tokenize(plain, head)
                cut = find_cut(model, plain, tokens, head).tolist()
                new.update(zip(missing, zip(tokens, cut, strict=True), strict=True))
        found = [self._kept.get(text) or new[text] for text in texts]
        for text, (ids, cut), wanted in zip(texts, found, keep, strict=True):
            if text in self._kept:
                self._kept.move_to_end(text)
            elif wanted:  # a copy: a row would keep all of its batch in memory
                self._kept[text] = ids.clone(), cut
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return torch.stack([ids for ids, _ in found]), np.array([cut for _, cut in found])
