"""Training of the token vectors in use alone, where most of a vocabulary never comes up.

A field uses some thousand of CLIP's 49,408 tokens, and every step would fill and go over a gradient
for all of them. The others keep their vectors either way, but for weight decay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional

from .clip import DomainClip


class UsedTokens(nn.Module):
    """Embeds tokens by the trained rows of those in use, and by fixed ones where another comes up.

    Args:
        whole: The embedding of the whole vocabulary.
        ids: Tokens in use, shape (k,).

    Attributes:
        rows: Their vectors, shape (k, width).
        ids: As given; a checkpoint has them, so that rows are not taken for those of other tokens.
    """

    ids: Tensor

    def __init__(self, whole: nn.Embedding, ids: Tensor) -> None:
        super().__init__()
        weight = whole.weight.detach()
        self.rows = nn.Parameter(weight[ids].clone())
        place = torch.full((len(weight),), -1)
        place[ids] = torch.arange(len(ids))
        self.register_buffer("ids", ids)
        self.place, self.rest = place, weight.clone()  # no buffers: DDP would send them each step

    def forward(self, tokens: Tensor) -> Tensor:
        """Return vectors of shape (*tokens.shape, width)."""
        place = self.place[tokens]
        found = functional.embedding(place.clamp(min=0), self.rows)
        return torch.where((place >= 0)[..., None], found, self.rest[tokens])

    def whole(self) -> nn.Embedding:
        """Return the embedding of the whole vocabulary, with the rows as they are now."""
        weight = self.rest.clone()
        weight[self.ids] = self.rows.detach()
        count, width = weight.shape
        return nn.Embedding(count, width, _weight=weight)


def keep_used_tokens(model: DomainClip, texts: Iterable[str]) -> None:
    """Have a model train the vectors of the tokens of some texts alone, in place.

    Nothing is done where that is not known to fit: another tokenizer than CLIP's, an embedding that
    is not trained, or half of the vocabulary in use.

    Args:
        model: The model.
        texts: Whatever may be read in training; words of it are enough.
    """
    whole = getattr(model.text_tower, "token_embedding", None)
    if type(whole) is not nn.Embedding or not whole.weight.requires_grad:
        return
    if type(model.tokenizer) is not SimpleTokenizer:
        return
    ids = find_tokens(model.tokenizer, (*model.prefixes.values(), *texts))
    if 2 * len(ids) < whole.num_embeddings:
        tower: Any = model.text_tower
        tower.token_embedding = UsedTokens(whole, ids)


def restore_tokens(model: DomainClip) -> None:
    """Give a model its whole vocabulary back; one that has it is left alone."""
    tower: Any = model.text_tower
    used = getattr(tower, "token_embedding", None)
    if isinstance(used, UsedTokens):
        tower.token_embedding = used.whole()


def find_tokens(tokenizer: SimpleTokenizer, texts: Iterable[str]) -> Tensor:
    """Return the ids of all tokens of some texts, those of padding, start and end included.

    CLIP's tokens never reach over a blank, so each word is looked at once.
    """
    words = {word for text in texts for word in text.split()}
    found = {0, *tokenizer.all_special_ids}
    for word in words:
        found.update(tokenizer.encode(word))
    return torch.tensor(sorted(found))
