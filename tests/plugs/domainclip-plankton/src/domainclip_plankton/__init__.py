"""Plankton under the microscope, schematic: a small complete domain in one module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from domainclip.domains.contract import BuiltinData, Domain, PromptSet, Traits, TraitSheet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from domainclip.domains.labels import LabelTree

# phylum, genus, common name, outline, ornament, spines, seen
_ROWS = (
    ("Bacillariophyta", "Coscinodiscus", "sieve diatom", "round", "dots", "no", True),
    ("Bacillariophyta", "Navicula", "ship diatom", "boat-shaped", "ribs", "no", True),
    ("Bacillariophyta", "Rhizosolenia", "bristle diatom", "needle-shaped", "ribs", "two", True),
    ("Bacillariophyta", "Chaetoceros", "hairy diatom", "boat-shaped", "dots", "many", True),
    ("Dinophyta", "Tripos", "horned dinoflagellate", "boat-shaped", "plates", "two", True),
    ("Radiozoa", "Acanthometra", "star radiolarian", "round", "plates", "many", True),
    ("Dinophyta", "Peridinium", "lake dinoflagellate", "boat-shaped", "dots", "two", False),
    ("Radiozoa", "Hexacontium", "lattice radiolarian", "round", "ribs", "many", False),
)
_TINTS = {"brown": (150, 110, 60), "green": (90, 150, 80), "clear": (170, 180, 175)}
_FIELDS = {"bright": 232, "dark": 28}
_WIDTH = {"round": 1.0, "boat-shaped": 0.45, "needle-shaped": 0.16}
_SPINES = {"no": 0, "two": 2, "many": 14}


def labels() -> LabelTree:
    """Return the two-level tree of the eight genera."""
    from domainclip.domains.labels import LabelTree

    columns = {"phylum": [row[0] for row in _ROWS], "genus": [row[1] for row in _ROWS]}
    return LabelTree.from_columns(columns, DOMAIN.ranks, common=[row[2] for row in _ROWS])


def sheets() -> tuple[TraitSheet, ...]:
    """Return what all individuals of a genus share."""
    return tuple(
        TraitSheet(
            label=(phylum, genus),
            traits={"outline": outline, "ornament": ornament, "spines": spines},
            seen=seen,
        )
        for phylum, genus, _, outline, ornament, spines, seen in _ROWS
    )


def individual(sheet: TraitSheet, rng: np.random.Generator) -> dict[str, str]:
    """Draw colour and illumination, which differ from cell to cell."""
    return {"tint": str(rng.choice(sorted(_TINTS))), "field": str(rng.choice(sorted(_FIELDS)))}


def draw(traits: Traits, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one cell of shape (size, size, 3), at three times the size and then reduced."""
    import cv2

    side = size * 3
    image = np.full((side, side, 3), _FIELDS[traits["field"]], np.uint8)
    tint = np.array(_TINTS[traits["tint"]]) + rng.integers(-15, 16, 3)
    line = tuple(int(c) for c in np.clip(tint * 0.55, 0, 255))
    centre = rng.uniform(0.44, 0.56, 2) * side
    long, turn = rng.uniform(0.27, 0.34) * side, rng.uniform(0, 180)
    short = long * _WIDTH[traits["outline"]]

    def place(along: float, across: float) -> tuple[int, int]:
        angle = np.radians(turn)
        x = along * long * np.cos(angle) - across * short * np.sin(angle)
        y = along * long * np.sin(angle) + across * short * np.cos(angle)
        return int(centre[0] + x), int(centre[1] + y)

    thick = max(1, side // 90)
    count = _SPINES[traits["spines"]]
    for k in range(count):
        angle = 2 * np.pi * k / count
        root, tip = (
            (np.cos(angle), np.sin(angle)),
            1 + 0.45 * long / np.hypot(long * np.cos(angle), short * np.sin(angle)),
        )
        cv2.line(image, place(*root), place(root[0] * tip, root[1] * tip), line, thick)
    axes = (int(long), int(short))
    middle = (int(centre[0]), int(centre[1]))
    fill = tuple(int(c) for c in np.clip(tint, 0, 255))
    cv2.ellipse(image, middle, axes, turn, 0, 360, fill, -1, cv2.LINE_AA)
    cv2.ellipse(image, middle, axes, turn, 0, 360, line, 2 * thick, cv2.LINE_AA)
    steps = np.linspace(-0.7, 0.7, 7)
    if traits["ornament"] == "ribs":
        for a in steps:
            reach = 0.85 * np.sqrt(1 - a * a)
            cv2.line(image, place(a, -reach), place(a, reach), line, thick)
    elif traits["ornament"] == "dots":
        for a in steps:
            for b in steps:
                if a * a + b * b < 0.7:
                    cv2.circle(image, place(a, b), thick, line, -1)
    else:
        for a, b in ((0, 0.9), (0.9, 0), (0.64, 0.64), (0.64, -0.64)):
            cv2.line(image, place(-a, -b), place(a, b), line, thick)
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.int16)
    noise = rng.integers(-6, 7, small.shape)
    return np.clip(small + noise, 0, 255).astype(np.uint8)


def captions(traits: Traits, rng: np.random.Generator) -> tuple[str, ...]:
    """Say one picture, the full sentence first."""
    body = _body(traits)
    return (f"A {traits['tint']} cell in {traits['field']} field, {body}.", f"A cell, {body}.")


def describe(traits: Traits) -> tuple[str, ...]:
    """Say a genus by what its cells share."""
    return (f"A cell, {_body(traits)}.",)


def _body(traits: Traits) -> str:
    return f"{traits['outline']}, with {traits['ornament']} and {traits['spines']} spines"


def augment(size: int, crop: float = 0.8) -> Callable[..., Mapping[str, Any]]:
    """Return crops in all eight orientations: a cell has no upper side."""
    import albumentations as A

    return A.Compose([A.RandomResizedCrop((size, size), (crop, 1)), A.D4(p=1)])


DOMAIN = Domain(
    name="plankton",
    title="Plankton",
    summary="Single cells of the plankton under the light microscope, schematic.",
    ranks=("phylum", "genus"),
    labels=labels,
    vocabularies={"formal": "genus name", "common": "common name"},
    prompts={"default": PromptSet(templates=("a micrograph of {}.",))},
    noun="cell",
    augment=augment,
    builtin=BuiltinData(
        sheets=sheets,
        individual=individual,
        draw=draw,
        captions=captions,
        describe=describe,
        sizes={"train": 240, "val": 60, "test": 120, "test_unseen": 40},
    ),
    columns={"label": ("genus",), "group": ("station",)},
)
