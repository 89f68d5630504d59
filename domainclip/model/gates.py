"""Weights for pairs that agree less than pairs usually do: noisy names and captions count less."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MOMENTUM = 0.99


class Gates(nn.Module):
    """ALIP's three gates, each against the running mean of its own similarity.

    Yang et al. 2023, ALIP (arXiv:2308.08428), equations 3 to 8: a gate is 1 where a similarity is
    above its running mean, and exp(similarity - mean)^2 where it is below. Each gate is closed by
    its own condition. The running means begin at 1 and take a hundredth of each batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.means: Tensor
        self.register_buffer("means", torch.ones(3))

    @torch.no_grad()
    def forward(self, images: Tensor, names: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight of each picture's name and of its caption, both of shape (n,).

        Args:
            images: The pictures under the names and the captions head, unit vectors (2, n, dim).
            names: Unit vectors of the names of these pictures, shape (n, dim).
            captions: Unit vectors of their captions, shape (n, dim).
        """
        found = torch.stack(
            [(names * captions).sum(1), (images[0] * names).sum(1), (images[1] * captions).sum(1)]
        ).float()
        if self.training and found.shape[1]:
            self.means.lerp_(found.mean(dim=1), 1 - _MOMENTUM)
        texts, name, caption = (found - self.means[:, None]).mul(2).exp().clamp(max=1.0)
        return texts * name, texts * caption
