"""Temperatures by rank: how sharply the children of a node are told apart.

A label's probability is the product, down its path, of p(child | parent), so that no parent is ever
less likely than its child. With S(g) the log of the sum of exp(logit) over the labels of a group g,
and n(g) how many these are,

    p(child | parent) = softmax over the children of S(child) / T + size * log n(child),
    T = base * (s / s0)^spread * (m / m0)^margin,

where s is the standard deviation of a picture's logits over all labels, and m is 1 more than its
best logit is above the second. With base 1 and the rest 0 at every rank this is the softmax over
labels, summed up.

- One base for all is temperature scaling (Guo et al. 2017, arXiv:1706.04599); one for each rank is
  the scale of a nest in the nested logit model (McFadden 1978, "Modelling the choice of residential
  location"), whose inclusive value S is.
- Pictures that are dark or blurred have logits that lie close together, yet their softmax is still
  too sure; it is flattened further by what s and m say. Temperatures that follow the picture by few
  numbers are those of Balanya et al. 2022 (arXiv:2208.00461), who take the entropy.
- S grows with the number of labels in a group, whatever they are; the size takes that back.

Among labels of one parent the order stays that of their logits.

A level is fitted in two turns: the size by the likelihood of the true child; then, with that size,
the rest by how likely it is that the likeliest child is the true one or is not, as that is what
people read (top-label calibration: Gupta and Ramdas 2022, arXiv:2107.08353). A picture counts as
much as its true parent is probable: the children of an improbable one hardly matter to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .hierarchy import FLOOR, Hierarchy, Level, add_groups

Batches = Callable[[], Iterable[Tensor]]
"""Gives the logits of the same pictures in the same order each time, some pictures at once."""

PRIOR = (1.0, 5.0, 5.0, 1.0)
"""Standard deviations of log base, spread, margin and size before anything is seen, around 0."""
WIDEST = 3.0
"""Bound of log base either way: 20 times sharper or flatter."""


@dataclass(frozen=True)
class Temperatures:
    """What was fitted for the levels of a hierarchy, coarsest first."""

    names: tuple[str, ...]
    """The levels."""
    base: tuple[float, ...]
    spread: tuple[float, ...]
    margin: tuple[float, ...]
    size: tuple[float, ...]
    spreads: tuple[float, float, float]
    """Least, middle and greatest s that was seen; s0 is the middle one, and beyond the others T
    stays what it is there."""
    margins: tuple[float, float, float]
    """The same of m."""

    def apply(self, hierarchy: Hierarchy, logits: Tensor) -> Tensor:
        """Return the log of each label's calibrated probability, shape (m, n), single precision.

        A softmax of them, summed up to any rank, gives calibrated probabilities of that rank.

        Args:
            hierarchy: The labels.
            logits: Shape (m, n).
        """
        logits, shape = measure_shape(logits)
        spread, margin = self._compare(shape)
        done = logits.new_zeros(len(logits), 1)
        sums, above = hierarchy.add_up(logits), 1
        told = zip(self.base, self.spread, self.margin, self.size, strict=True)
        for level, (base, by_spread, by_margin, size) in zip(hierarchy.levels, told, strict=True):
            sharper = (-by_spread * spread - by_margin * margin).exp_().div_(base)
            flat = sums.pop(0).mul_(sharper[:, None])
            flat.add_(size * level.sizes.to(flat.device).log())
            flat.sub_(flat.amax(dim=-1, keepdim=True)).clamp_(min=FLOOR)
            parents = level.parents.to(flat.device)
            totals = add_groups(flat.exp(), parents, above).log_()
            done = flat.add_((done - totals).index_select(-1, parents))
            above = len(level)
        return done

    def _compare(self, shape: Tensor) -> Tensor:
        """Return log(s / s0) and log(m / m0), shape (2, m)."""
        parts = zip(shape, (self.spreads, self.margins), strict=True)
        return torch.stack([one.clamp(low, high).div(mid).log() for one, (low, mid, high) in parts])


def measure_shape(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits below the best one, and the spread s and the margin m of each picture.

    Args:
        logits: Shape (m, n).

    Returns:
        A new tensor of the same shape, single precision, whose best of each row is 0; shape (2, m).
    """
    logits = logits.float()
    logits = logits - logits.mean(dim=-1, keepdim=True)
    spread = torch.linalg.vector_norm(logits, dim=-1) / logits.shape[-1] ** 0.5
    best = logits.topk(min(2, logits.shape[-1]), dim=-1).values
    shape = torch.stack([spread.clamp_min(1e-6), 1 + best[:, 0] - best[:, -1]])
    return logits.sub_(best[:, :1]), shape


class _Choice(NamedTuple):
    """The children of the true parent of a picture at one level."""

    picture: int
    scores: Tensor
    """Shape (n_children,)."""
    sizes: Tensor
    """Labels in each child, shape (n_children,)."""
    right: int
    """Which of them is the true one."""


class Choices:
    """What temperatures are fitted on: at each level, the children of each picture's true parent.

    Nothing else is kept of the logits, so labels may be a million.

    Args:
        hierarchy: The labels.
        batches: The logits of n pictures.
        truth: Group of each picture at each level, shape (n, n_levels), -1 where it is not known.
    """

    def __init__(self, hierarchy: Hierarchy, batches: Batches, truth: NDArray[np.int64]) -> None:
        self.hierarchy = hierarchy
        self._found: list[list[_Choice]] = [[] for _ in hierarchy.levels]
        children = [_order_children(level) for level in hierarchy.levels]
        shapes: list[Tensor] = []
        start = 0
        for logits in batches():
            logits, shape = measure_shape(logits)
            shapes.append(shape.cpu().double())
            above = np.zeros(len(logits), dtype=np.int64)
            for number, sums in enumerate(hierarchy.add_up(logits)):
                here = truth[start : start + len(logits), number]
                self._add(number, sums.cpu(), children[number], above, here, start)
                above = here
            start += len(logits)
        self.shape = torch.cat(shapes, dim=1)

    def _add(
        self,
        number: int,
        sums: Tensor,
        children: tuple[Tensor, Tensor],
        above: NDArray[np.int64],
        here: NDArray[np.int64],
        start: int,
    ) -> None:
        order, starts = children
        for row in np.flatnonzero((above >= 0) & (here >= 0)).tolist():
            among = order[starts[above[row]] : starts[above[row] + 1]]
            if len(among) > 1:
                right = int((among == int(here[row])).nonzero()[0, 0])
                sizes = self.hierarchy.levels[number].sizes[among]
                choice = _Choice(start + row, sums[row, among], sizes, right)
                self._found[number].append(choice)

    def fit(self, pictures: NDArray[np.bool_] | None = None) -> Temperatures:
        """Fit temperatures, one level after the other from the coarsest on.

        Args:
            pictures: Which ones to fit on, shape (n,); None for all.
        """
        seen = self.shape.quantile(torch.tensor([0, 0.5, 1], dtype=torch.float64), dim=1)
        ratios = (self.shape / seen[1, :, None]).log()
        fitted, weights = [], torch.ones(self.shape.shape[1], dtype=torch.float64)
        for choices in self._found:
            some = [c for c in choices if pictures is None or pictures[c.picture]]
            fitted.append(_fit_level(some, ratios, weights))
        base, spread, margin, size = zip(*fitted, strict=True)
        spreads, margins = ((low, mid, high) for low, mid, high in seen.T.tolist())
        return Temperatures(self.hierarchy.names, base, spread, margin, size, spreads, margins)


def _order_children(level: Level) -> tuple[Tensor, Tensor]:
    """Return the groups of a level by parent, and where the children of each parent begin."""
    order = torch.argsort(level.parents, stable=True)
    bounds = torch.arange(int(level.parents.max()) + 2)
    return order, torch.searchsorted(level.parents[order], bounds)


def _fit_level(
    choices: Sequence[_Choice], ratios: Tensor, weights: Tensor
) -> tuple[float, float, float, float]:
    """Return base, spread, margin and size that make what is true likeliest.

    Args:
        choices: The choices of one level; without any, the base is 1 and the rest 0.
        ratios: log(s / s0) and log(m / m0) of each picture, shape (2, n).
        weights: Probability of the true parent of each picture, shape (n,); it becomes that of the
            true child.
    """
    if not choices:
        return 1.0, 0.0, 0.0, 0.0
    lengths = torch.tensor([len(choice.scores) for choice in choices])
    rows = torch.repeat_interleave(torch.arange(len(choices)), lengths)
    scores = torch.cat([choice.scores for choice in choices]).double()
    sizes = torch.cat([choice.sizes for choice in choices]).double().log()
    right = lengths.cumsum(0) - lengths + torch.tensor([choice.right for choice in choices])
    pictures = torch.tensor([choice.picture for choice in choices])
    (spread, margin), weight = ratios[:, pictures], weights[pictures] / weights[pictures].sum()
    told = torch.zeros(4, dtype=torch.float64, requires_grad=True)  # log base, then the others
    doubt = 0.5 / torch.tensor(PRIOR, dtype=torch.float64) ** 2 / len(choices)

    def find_likely() -> tuple[Tensor, Tensor]:
        """Return the log of the probabilities of the true and of the likeliest child."""
        sharper = (-_bound(told[0]) - told[1] * spread - told[2] * margin).exp()
        flat = scores * sharper[rows] + told[3] * sizes
        best = torch.full_like(sharper, -torch.inf).scatter_reduce(0, rows, flat, "amax")
        total = torch.zeros_like(sharper).index_add(0, rows, (flat - best[rows]).exp()).log()
        return flat[right] - best - total, -total

    def find_top() -> Tensor:
        true, best = find_likely()
        return torch.where(true >= best, best, torch.log1p(-best.exp().clamp(max=1 - 1e-9)))

    def search(likely: Callable[[], Tensor], free: Tensor) -> None:
        """Make likelier what is given, by those numbers that are free: 1, the others 0."""
        steps = torch.optim.LBFGS(
            [told], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
        )

        def find_loss() -> Tensor:
            steps.zero_grad()
            loss = (doubt * told**2).sum() - (weight * likely()).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            assert told.grad is not None
            told.grad.mul_(free)
            return loss

        steps.step(find_loss)  # type: ignore[no-untyped-call]

    search(lambda: find_likely()[0], torch.tensor([1, 1, 1, 1]))
    search(find_top, torch.tensor([1, 1, 1, 0]))
    with torch.no_grad():
        weights[pictures] *= find_likely()[0].exp()
    log_base, by_spread, by_margin, by_size = told.detach()
    return float(_bound(log_base).exp()), float(by_spread), float(by_margin), float(by_size)


def _bound(log_base: Tensor) -> Tensor:
    return WIDEST * (log_base / WIDEST).tanh()
