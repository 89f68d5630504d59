"""Which method, under which settings: what names most held pictures rightly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import UsageError, suggest

from .captions import CAPS
from .centroid import CENTROID
from .logistic import LOGISTIC
from .support import Fitted, Held, Method, Settings, Support, find_accuracy
from .temperature import find_temperature
from .tip import TIP
from .trained import TIP_TRAINED

AUTO = "auto"
METHODS: dict[str, Method] = {
    "centroid": CENTROID,
    "tip": TIP,
    "caps": CAPS,
    "logistic": LOGISTIC,
    "tip-trained": TIP_TRAINED,
}
"""The simplest first: of equally good ones the first is taken."""
HELD_SHARE = 0.25
"""Share of each label's pictures to choose on, where there are no others for it."""
MOST_HELD = 5000
"""Pictures that are chosen on; of more a part is drawn."""


@dataclass(frozen=True)
class Tried:
    """What one method gave on the pictures that were chosen on."""

    method: str
    accuracy: float | None
    """Share of them named rightly; None where there were none."""
    settings: Settings
    seconds: float


@dataclass(frozen=True)
class Chosen:
    """The method that is used from now on."""

    method: str
    fitted: Fitted
    temperature: float
    """What scores are divided by before they become probabilities."""
    table: tuple[Tried, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return the table as rows for people."""
        return [{**vars(tried), "chosen": tried.method == self.method} for tried in self.table]


def list_wanted(method: str) -> list[str]:
    """Return the methods that a name means: itself, or all for `auto`.

    Raises:
        UsageError: If there is no such method.
    """
    if method == AUTO:
        return [*METHODS]
    if method not in METHODS:
        known = (AUTO, *METHODS)
        raise UsageError(
            f"no few-shot method {method!r}",
            suggest(method, known) or f"methods: {', '.join(known)}",
        )
    return [method]


def hold_out(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which pictures to choose on, shape (N,): a quarter of each label's, one at least.

    A label with a single picture keeps it to be learned from.

    Args:
        labels: The label of each picture, shape (N,).
        seed: Seed of the choice.
    """
    rng = np.random.default_rng([seed, 1])
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        held[own[: min(max(1, round(HELD_SHARE * len(own))), len(own) - 1)]] = True
    return held


def choose_method(
    support: Support,
    held: Held | None,
    method: str = AUTO,
    seed: int = 0,
    watch: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> Chosen:
    """Try the methods that the data allows, and keep the best.

    Without held pictures of its own a part of the support is held out; then the chosen one learns
    from all of it, under the settings that were chosen.

    Args:
        support: The pictures to learn from.
        held: The pictures to choose on; None to hold some of the support out.
        method: One of `METHODS`, or `auto` for all.
        seed: Seed of what is drawn.
        watch: Wraps the names of the methods, to show how far it is.

    Raises:
        UsageError: If there is no such method, or the data lacks what it needs.
    """
    names = [name for name in list_wanted(method) if not find_lack(support, name)]
    if not names:
        raise UsageError(f"the method {method} needs {find_lack(support, method)}", _WAYS[method])
    learned, judges = support, held
    if held is None:
        out = hold_out(support.labels, seed)
        learned = support.take(np.flatnonzero(~out))
        judges = Held(support.features[out], support.labels[out])
    assert judges is not None
    if not len(judges):
        return _take_first(support, names[0], seed)
    if len(judges) > MOST_HELD:
        rows = np.random.default_rng([seed, 2]).choice(len(judges), MOST_HELD, replace=False)
        judges = Held(judges.features[rows], judges.labels[rows])
    table, best, most = [], names[0], -1.0
    for name in watch(names):
        began = time.perf_counter()
        seen, shown = _view(learned, judges, name)
        fitted = METHODS[name].search(seen, shown, seed)
        accuracy = find_accuracy(fitted, shown)
        took = time.perf_counter() - began
        table.append(Tried(name, accuracy, dict(fitted.settings), round(took, 3)))
        if accuracy > most:
            best, most, kept, sure = name, accuracy, fitted, find_temperature(fitted, shown)
    if held is None:
        kept = METHODS[best].fit(_narrow(support, best), dict(kept.settings), seed)
    return Chosen(best, kept, sure, tuple(table))


def find_lack(support: Support, name: str) -> str:
    """Return what a method needs and the support does not have; "" where it has everything."""
    here = {"texts": support.texts, "captions": support.captions}
    return " and ".join(need for need in METHODS[name].needs if here[need] is None)


_WAYS = {
    "caps": "give captions of the pictures, or choose another method",
    "tip": "give labels by their names",
    "tip-trained": "give labels by their names",
}


def _take_first(support: Support, name: str, seed: int) -> Chosen:
    """Take a method unjudged: each label has a single picture, and there is no other."""
    began = time.perf_counter()
    fitted = METHODS[name].fit(_narrow(support, name), None, seed)
    took = round(time.perf_counter() - began, 3)
    return Chosen(name, fitted, 1.0, (Tried(name, None, dict(fitted.settings), took),))


def _view(support: Support, held: Held, name: str) -> tuple[Support, Held]:
    """Return both as a method sees them."""
    seen = _narrow(support, name)
    return seen, replace(held, features=held.features[:, : seen.features.shape[1]])


def _narrow(support: Support, name: str) -> Support:
    return support if "captions" in METHODS[name].needs else support.by_names()
