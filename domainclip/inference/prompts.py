"""From labels to text features: how a label is said at zero-shot, and one vector for each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.errors import LabelError
from domainclip.texts.labels import say_label

_ZERO_SHOT_VIEWS = ("formal", "common", "formal_common", "path_common")


class TextEncoder(Protocol):
    """What is needed of a model to turn texts into features."""

    def tokenize(self, texts: Sequence[str], head: str = "names") -> Tensor:
        """Return token ids of shape (n, context_length) of texts for a head."""
        ...

    def encode_text(self, tokens: Tensor, normalize: bool = True) -> Tensor:
        """Return text features of shape (n, dim)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the weights, which tell the device."""
        ...


def label_texts(tree: LabelTree, node: int, prompts: PromptSet | None = None) -> list[str]:
    """Return every sentence that says one label at zero-shot.

    The formal name, the common name and both together are put through each template, and so is the
    path of all ranks with the common name, or without one where the label has none.
    """
    prompts = prompts or PromptSet()
    views = say_label(tree, node)
    names = [views[view] for view in _ZERO_SHOT_VIEWS if view in views]
    if "path_common" not in views:
        names.append(views["path"])
    return list(dict.fromkeys(s for name in dict.fromkeys(names) for s in prompts.say(name)))


@torch.no_grad()
def embed_labels(
    model: TextEncoder,
    texts_per_label: Sequence[Sequence[str]],
    pooling: Literal["normalise-mean", "mean-normalise"] = "normalise-mean",
    batch_size: int = 512,
    head: str = "names",
) -> Tensor:
    """Return one unit vector for each label, pooled over its texts, shape (C, dim), float32.

    A text that several labels share is encoded once. The model is used in the mode that it is in.

    Args:
        model: Tokenises and encodes.
        texts_per_label: The sentences that say each label.
        pooling: The pooling order of the prompt set: published numbers depend on it.
        batch_size: Texts per forward pass.
        head: The head that they will be compared under.

    Raises:
        LabelError: If a label has no text.
    """
    empty = [i for i, texts in enumerate(texts_per_label) if not texts]
    if empty:
        raise LabelError(
            f"label {empty[0] + 1} of {len(texts_per_label)} has no text", "say it in some way"
        )
    # Texts of one length side by side: a batch is computed only as far as its longest text.
    unique = sorted({t for texts in texts_per_label for t in texts}, key=lambda t: (len(t), t))
    index = {text: i for i, text in enumerate(unique)}
    device = next(iter(model.parameters())).device
    features = []
    for start in range(0, len(unique), batch_size):
        tokens = model.tokenize(unique[start : start + batch_size], head).to(device)
        batch = model.encode_text(tokens, normalize=False).float()
        features.append(
            functional.normalize(batch, dim=-1) if pooling == "normalise-mean" else batch
        )
    if not features:
        return torch.zeros(0, 0, device=device)
    every = torch.cat(features)
    texts = torch.tensor([index[t] for texts in texts_per_label for t in texts], device=device)
    counts = torch.tensor([len(t) for t in texts_per_label], device=device)
    label = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    pooled = torch.zeros(len(counts), every.shape[1], device=device)
    pooled.index_add_(0, label, every[texts])
    return functional.normalize(pooled / counts[:, None], dim=-1)
