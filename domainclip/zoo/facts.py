"""What the folder of a model tells of it, gathered for the card that it is published with."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from domainclip.domains.contract import Domain
from domainclip.domains.registry import find_domains, get_domain
from domainclip.errors import DataError

from .provenance import CARD, MODEL, Step, find_model, read_json, walk

CALIBRATION = "calibration.json"
CONFIG, WEIGHTS, HEADS = "open_clip_config.json", "open_clip_model.safetensors", "heads.safetensors"
EMISSIONS = "emissions.csv"
"""What CodeCarbon leaves in the folder that it is told to write to."""


@dataclass(frozen=True)
class Facts:
    """A model, as its folder and the run around it tell."""

    place: Path
    """The model folder."""
    run: Path | None
    """The run folder that it lies in."""
    card: dict[str, Any]
    """`domainclip.json`, without paths of this disk."""
    config: dict[str, Any]
    """`open_clip_config.json`."""
    metrics: dict[str, Any]
    """`metrics.json` of the run; {} where there is none."""
    steps: tuple[Step, ...]
    """Where it comes from, itself first."""
    parameters: int
    """Numbers in the towers."""
    half: bool
    """Whether the weights are stored in half precision."""
    calibrated: bool
    """Whether a calibration goes along, which holds for these very weights."""
    emissions: dict[str, str]
    """The last line of CodeCarbon's file; {} where nothing was measured."""

    @property
    def own(self) -> Step:
        """The model's own step."""
        return self.steps[0]

    @cached_property
    def domain(self) -> Domain | None:
        """Its field, where that is installed."""
        name = self.card.get("domain")
        return get_domain(name) if name in find_domains() else None

    @property
    def labels(self) -> int:
        """How many labels it was trained to tell apart; 0 for captions alone."""
        return len(self.card.get("candidates") or ())


def gather(path: str | Path) -> Facts:
    """Read what is known of a model.

    Args:
        path: A run folder or a model folder.

    Raises:
        UsageError: If there is no model.
        DataError: If one of its files cannot be read.
    """
    place = find_model(path)
    inside = place.name == MODEL and (place.parent / "recipe.yaml").is_file()
    run = place.parent if inside else None
    shapes = _read_header(place / WEIGHTS)
    if (place / HEADS).is_file():
        _read_header(place / HEADS)
    card = hide_paths(read_json(place / CARD))
    metrics = run / "metrics.json" if run else None
    return Facts(
        place=place,
        run=run,
        card=card,
        config=read_json(place / CONFIG),
        metrics=read_json(metrics) if metrics else {},
        steps=tuple(_without_paths(step) for step in walk(place)),
        parameters=sum(size for _, size in shapes.values()),
        calibrated=(place / CALIBRATION).is_file(),
        half=any(kind in ("F16", "BF16") for kind, _ in shapes.values()),
        emissions=_read_emissions(run / EMISSIONS) if run else {},
    )


def hide_paths(value: Any) -> Any:
    """Return JSON with the paths of this disk cut to their last part: they tell of a person."""
    if isinstance(value, dict):
        return {key: "" if key == "out" else hide_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [hide_paths(one) for one in value]
    return hide_path(value) if isinstance(value, str) else value


def hide_path(text: str) -> str:
    """Return a text that is a path of this disk as its last part, any other as it is."""
    prefix, rest = "", text
    for known in ("local-dir:", "file://"):
        if text.startswith(known):
            prefix, rest = known, text.removeprefix(known)
    if re.match(r"[A-Za-z]:[\\/]|\\\\", rest):
        return prefix + PureWindowsPath(rest).name
    if rest.startswith(("/", "~", "./", "../")):
        return prefix + PurePosixPath(rest).name
    return text


def _without_paths(step: Step) -> Step:
    return replace(
        step,
        name=hide_path(step.name),
        data=tuple(map(hide_path, step.data)),
        captions=tuple(map(hide_path, step.captions)),
        recipe=hide_paths(step.recipe),
    )


def _read_header(path: Path) -> dict[str, tuple[str, int]]:
    """Return kind and size of each tensor of a file, which must be whole."""
    from safetensors import SafetensorError, safe_open

    found = {}
    try:
        with safe_open(path, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                part = opened.get_slice(name)
                size = 1
                for side in part.get_shape():
                    size *= side
                found[name] = (str(part.get_dtype()), size)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read as safetensors: {' '.join(str(error).split())}",
            "the model was not written to its end; save or train it again",
        ) from error
    return found


def _read_emissions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as opened:
            rows = [row for row in csv.DictReader(opened) if row.get("emissions")]
        for row in rows:
            float(row["emissions"])
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is not what CodeCarbon writes: {error}") from error
    return rows[-1] if rows else {}
