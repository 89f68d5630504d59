"""The calibration of a model, as it is kept in the model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from domainclip.errors import DataError, UsageError, suggest
from domainclip.model.folder import model_folder, write_json

from .backoff import BackOff
from .conformal import Conformal
from .rejection import Rejection
from .temperature import Temperatures

FILE, FORMAT = "calibration.json", 1
SAME = 1e-9
"""Numbers closer than this are the same."""


@dataclass(frozen=True)
class Fitted:
    """What a calibration is for: it holds for no other model, labels or head."""

    model: str
    """Digest of the model."""
    labels: str
    """Digest of the labels to choose from and of what is said of them."""
    head: str


@dataclass(frozen=True)
class RankFigures:
    """How honest the best name of each picture is at a rank, before and after."""

    rank: str
    pictures: int
    right: float
    """How often it is right, after."""
    said_before: float
    """Its mean probability."""
    said: float
    error_before: float
    """Expected calibration error."""
    error: float
    floor: float
    """The error that perfect probabilities would show on so many pictures, by chance."""


@dataclass(frozen=True)
class Calibration:
    """Everything that was fitted, and on what."""

    fitted: Fitted
    temperatures: Temperatures
    backoff: tuple[BackOff, ...]
    conformal: tuple[Conformal, ...]
    rejection: tuple[Rejection, ...]
    ranks: tuple[RankFigures, ...]
    pictures: int
    choices: int
    """Labels to choose from."""
    shown: int
    """How many of these the pictures show. Labels that they do not show can be quite unlike, above
    all where the model was trained on the shown ones alone: then nothing holds for them."""
    source: str
    """Where the pictures came from, for people."""
    date: str
    """The day, as 2026-01-31."""

    def find_backoff(self, level: float) -> BackOff:
        """Return the threshold that was fitted for a level, or for the next stricter one.

        Raises:
            UsageError: If none is as strict.
        """
        strict = [one for one in self.backoff if one.level >= level - SAME]
        if not strict:
            raise _none_so_strict("level", level, [one.level for one in self.backoff])
        return min(strict, key=lambda one: one.level)

    def find_conformal(self, rank: str, error: float) -> Conformal:
        """Return the threshold that was fitted for an error rate, or for the next stricter one.

        Args:
            rank: One of the ranks, or the finest one for the labels themselves.
            error: The error rate.

        Raises:
            UsageError: If none is as strict, or there is no such rank.
        """
        here = [one for one in self.conformal if one.rank == rank]
        if not here:
            ranks = list(dict.fromkeys(one.rank for one in self.conformal))
            raise UsageError(
                f"no sets were fitted for the rank {rank!r}; there are {', '.join(ranks)}",
                suggest(rank, ranks),
            )
        strict = [one for one in here if one.error <= error + SAME]
        if not strict:
            raise _none_so_strict("error", error, [one.error for one in here])
        return max(strict, key=lambda one: one.error)

    def find_rejection(self, rate: float) -> Rejection:
        """Return the threshold that was fitted for a rate of false rejections, or a lower one.

        Raises:
            UsageError: If none is as low.
        """
        strict = [one for one in self.rejection if one.rate <= rate + SAME]
        if not strict:
            raise _none_so_strict("rejection rate", rate, [one.rate for one in self.rejection])
        return max(strict, key=lambda one: one.rate)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON; `parse` reads it."""
        return asdict(self)

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Calibration:
        """Return what `as_dict` said.

        Raises:
            KeyError, TypeError: If something is missing or unknown.
        """
        told = dict(said)
        temperatures = {key: tuple(part) for key, part in told.pop("temperatures").items()}
        parts: dict[str, Any] = {
            "fitted": Fitted(**told.pop("fitted")),
            "temperatures": Temperatures(**temperatures),
            "backoff": tuple(BackOff(**one) for one in told.pop("backoff")),
            "conformal": tuple(Conformal(**one) for one in told.pop("conformal")),
            "rejection": tuple(Rejection(**one) for one in told.pop("rejection")),
            "ranks": tuple(RankFigures(**one) for one in told.pop("ranks")),
        }
        return cls(**parts, **told)


def _none_so_strict(what: str, asked: float, there: Sequence[float]) -> UsageError:
    fitted = ", ".join(f"{one:g}" for one in there) or "none"
    return UsageError(
        f"nothing was fitted for a {what} as strict as {asked:g}; there are {fitted}",
        "domainclip calibrate fits others",
    )


def save_calibration(calibration: Calibration, folder: str | Path) -> Path:
    """Keep a calibration in a model folder, in the place of one for the same model and labels.

    Those for other labels stay; those of another model go.

    Returns:
        The file.
    """
    file = model_folder(folder) / FILE
    own = calibration.fitted
    kept = [one for one in _read(file) if one.fitted != own and one.fitted.model == own.model]
    written = [one.as_dict() for one in (*kept, calibration)]
    write_json(file, {"format": FORMAT, "calibrations": written})
    return file


def find_calibration(folder: str | Path, wanted: Fitted) -> Calibration | str:
    """Return the calibration of a model folder for a model and labels, or why there is none.

    Args:
        folder: A model folder or a run folder.
        wanted: What it has to be for.

    Raises:
        DataError: If the file is damaged.
    """
    file = model_folder(folder) / FILE
    if not file.is_file():
        return "this model is not calibrated"
    found = _read(file)
    for one in found:
        if one.fitted == wanted:
            return one
    if not any(one.fitted.model == wanted.model for one in found):
        return f"{file} is for another model: its weights have changed since"
    if any(one.fitted.labels == wanted.labels for one in found):
        return f"{file} is for another head than {wanted.head}"
    return f"{file} is for other labels, or for labels that are said otherwise"


def _read(file: Path) -> list[Calibration]:
    if not file.is_file():
        return []
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise DataError(
                f"{file} has the format {said['format']}, which this version does not read",
                "domainclip calibrate writes it anew once it is gone",
            )
        return [Calibration.parse(one) for one in said["calibrations"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} is damaged ({type(error).__name__}: {error})",
            "remove it; domainclip calibrate writes it anew",
        ) from error
