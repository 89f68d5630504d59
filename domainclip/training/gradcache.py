"""Features computed chunk by chunk, so that a batch of any size trains in the memory of a chunk.

Gao et al. 2021, GradCache (arXiv:2101.06983), section 3: all features without a graph, the loss of
the whole batch with its gradient on the features, then each chunk once more with a graph, which
this gradient is sent back through. Randomness is replayed, so both passes see the same features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Context = Callable[[], AbstractContextManager[object]]
"""Gives what a forward pass runs under, such as autocast."""
_Generators = tuple[Tensor, Tensor | None]


class ChunkedFeatures:
    """The features of one tower for a whole batch, and the way back of their gradient.

    Args:
        tower: What computes the features, shape (k, ...) -> (k, dim); its parameters get gradients.
        modules: The modules behind it, whose batch statistics count each chunk once.
        chunks: The inputs.
    """

    def __init__(
        self,
        tower: Callable[[Tensor], Tensor],
        modules: Sequence[nn.Module],
        chunks: Sequence[Tensor],
    ) -> None:
        self.tower, self.modules, self.chunks = tower, modules, chunks
        self._states: list[_Generators] = []
        found = []
        with torch.no_grad():
            for chunk in chunks:
                self._states.append(_generators(chunk))
                found.append(tower(chunk).float())
        self.features = torch.cat(found).requires_grad_()

    def backward(self, context: Context) -> None:
        """Send the gradient that `features` got back through the tower, chunk by chunk."""
        grads = self.features.grad
        if grads is None or not any(p.requires_grad for m in self.modules for p in m.parameters()):
            return
        after = _generators(self.features)
        sizes = [len(chunk) for chunk in self.chunks]
        with _statistics_kept(self.modules):
            for chunk, state, grad in zip(
                self.chunks, self._states, torch.split(grads, sizes), strict=True
            ):
                _set_generators(state, chunk)
                with context():
                    features = self.tower(chunk).float()
                torch.autograd.backward(features, grad)
        _set_generators(after, self.features)


def has_batch_statistics(*modules: nn.Module) -> bool:
    """Return whether a module, as it is, normalises by the statistics of the pictures at hand."""
    parts = (part for module in modules for part in module.modules())
    return any(part.training and _is_batch_norm(part) for part in parts)


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


@contextmanager
def _statistics_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Leave running statistics as they are: the first pass has counted each chunk already."""
    norms: list[Any] = [p for m in modules for p in m.modules() if _is_batch_norm(p)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        # In eval mode running statistics are what is normalised by, and stay as they are.
        norm.track_running_stats = norm.track_running_stats and not norm.training
    try:
        yield
    finally:
        for norm, before in zip(norms, tracked, strict=True):
            norm.track_running_stats = before


def _generators(at: Tensor) -> _Generators:
    """Return the state of the generators that a pass may draw from: the CPU's, and the device's."""
    if at.is_cuda:
        return torch.get_rng_state(), torch.cuda.get_rng_state(at.device)
    return torch.get_rng_state(), torch.mps.get_rng_state() if at.is_mps else None


def _set_generators(state: _Generators, at: Tensor) -> None:
    of_cpu, of_device = state
    torch.set_rng_state(of_cpu)
    if of_device is not None and at.is_mps:
        torch.mps.set_rng_state(of_device)
    elif of_device is not None:
        torch.cuda.set_rng_state(of_device, at.device)
