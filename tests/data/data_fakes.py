"""A small field and small folders of pictures, made on the spot."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from domainclip.domains.contract import BuiltinData, Domain, PromptSet, TraitSheet
from domainclip.domains.labels import LabelTree

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
RANKS = ("kingdom", "family", "species")


def sheets() -> tuple[TraitSheet, ...]:
    rows = [("red", "small"), ("green", "small"), ("blue", "large"), ("red", "large")]
    return tuple(
        TraitSheet(
            label=("K", size, f"{colour} {size}"),
            traits={"colour": colour, "size": size},
            seen=i < 3,
        )
        for i, (colour, size) in enumerate(rows)
    )


def individual(sheet: TraitSheet, rng: np.random.Generator) -> dict[str, str]:
    return {"side": str(rng.choice(["left", "right"]))}


def draw(traits: Mapping[str, str], rng: np.random.Generator, size: int) -> np.ndarray:
    image = np.full((size, size, 3), COLOURS[traits["colour"]], np.uint8)
    image[: size // 4] = rng.integers(0, 255, 3)
    return image


def captions(traits: Mapping[str, str], rng: np.random.Generator) -> tuple[str, ...]:
    word = rng.choice(["thing", "object"])
    return (f"a {traits['size']} {traits['colour']} {word} on the {traits['side']}",)


def describe(traits: Mapping[str, str]) -> tuple[str, ...]:
    return (f"a {traits['size']} {traits['colour']} thing",)


def labels() -> LabelTree:
    rows = [sheet.label for sheet in sheets()]
    return LabelTree.from_columns(
        {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}, RANKS
    )


def augment(size: int, crop: float = 0.8) -> Callable[..., Mapping[str, Any]]:
    import albumentations as A

    return A.Compose(
        [
            A.RandomResizedCrop((size, size), (crop, 1)),
            A.HorizontalFlip(),
            A.RandomBrightnessContrast(),
        ]
    )


def make_domain(**changes: Any) -> Domain:
    values: dict[str, Any] = {
        "name": "fake",
        "title": "Fake things",
        "summary": "Things for tests.",
        "ranks": RANKS,
        "labels": labels,
        "vocabularies": {"formal": "name", "common": "name"},
        "prompts": {"default": PromptSet()},
        "noun": "thing",
        "augment": augment,
        "builtin": BuiltinData(
            sheets=sheets,
            individual=individual,
            draw=draw,
            captions=captions,
            describe=describe,
            sizes={"train": 30, "val": 6, "test": 9, "test_unseen": 4},
        ),
    }
    return Domain(**{**values, **changes})


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
    """Write a picture of noise that differs by seed; the suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def class_folders(
    root: Path, classes: Sequence[str] = ("ant", "bee"), n: int = 10, split: str = ""
) -> Path:
    """Write n pictures a class below `root/[split/]class`."""
    for c, name in enumerate(classes):
        for i in range(n):
            seed = sum(split.encode()) * 10_000 + c * 1000 + i
            picture(root / split / name / f"{name}_{i}.png", seed)
    return root


def write_csv(path: Path, rows: Sequence[Mapping[str, str]], delimiter: str = ",") -> Path:
    """Write rows as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG that says it is huge and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )
