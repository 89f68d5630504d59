"""What a calibration promises, in words: how often answers were wrong when it was fitted."""

from __future__ import annotations

from .backoff import NEVER, BackOff
from .conformal import Conformal
from .rejection import Rejection
from .store import Calibration


def say_backoff(found: BackOff, calibration: Calibration) -> str:
    """Return the risk and the coverage that backing off at a level was fitted for."""
    begin = f"confidence {found.level:g}, {_say_fitted(calibration)}: "
    if found.threshold >= NEVER:
        return f"{begin}no answers were right so often, so nothing is named"
    said = f"{begin}{found.coverage:.1%} got a name, {found.risk:.1%} of the names were wrong"
    return said if found.assured else f"{said}; too few pictures to assure it of others"


def say_sets(found: Conformal, calibration: Calibration) -> str:
    """Return how often sets missed the true name, and how large they were."""
    return (
        f"sets that may miss {found.error:.0%}, {_say_fitted(calibration)}: {found.missed:.1%} "
        f"missed the true name, {found.size:.1f} names a picture"
    )


def say_rejection(found: Rejection, calibration: Calibration) -> str:
    """Return how often pictures were rejected with their label to choose from, and without."""
    begin = f"none of these at {found.rate:g}, {_say_fitted(calibration)}: "
    if found.threshold is None:
        return f"{begin}too few pictures, so nothing is rejected"
    return (
        f"{begin}{found.rejected:.1%} were rejected, and {found.found:.1%} where their label was "
        "held out"
    )


def _say_fitted(calibration: Calibration) -> str:
    return f"fitted to {calibration.pictures} pictures of {calibration.choices} labels"
