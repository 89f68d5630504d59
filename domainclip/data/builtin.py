"""Built-in data: a domain's schematic pictures, drawn from trait sheets by seeded code and kept."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import BuiltinData, Domain, LabelKey, Sample, TraitSheet
from domainclip.errors import DataError, UsageError, suggest

from .packed import Packed, fill, fingerprint
from .shift import SHIFT, shift_picture

SPLITS = ("train", "val", "test", "test_unseen")


def sample_builtin(
    domain: Domain, split: str, index: int, *, size: int, seed: int, shifted: bool = False
) -> Sample:
    """Draw one picture of a domain's built-in data; it depends on the arguments alone.

    Args:
        domain: The domain.
        split: One of `SPLITS`.
        index: Number of the picture in its split, from 0.
        size: Side in pixels; 0 for everything but the picture, which then stays empty.
        seed: Seed of the whole set.
        shifted: Show the same under other light, haze, noise and pose.
    """
    sheets = split_sheets(domain.builtin, split)
    return _sample(domain.builtin, sheets, split, index, size, seed, shifted)


def split_sheets(builtin: BuiltinData, split: str) -> tuple[TraitSheet, ...]:
    """Return the sheets that a split draws from: the unseen ones for `test_unseen`, else the seen.

    Raises:
        UsageError: If there is no such split.
        DataError: If no sheet belongs to it.
    """
    if split not in SPLITS:
        raise UsageError(
            f"built-in data has no split {split!r}; it has {', '.join(SPLITS)}",
            suggest(split, SPLITS),
        )
    sheets = tuple(s for s in builtin.sheets() if s.seen == (split != "test_unseen"))
    if not sheets:
        raise DataError(f"no trait sheet belongs to the split {split!r}")
    return sheets


@dataclass(frozen=True)
class Drawn:
    """One split of a domain's built-in data, drawn; balanced over its labels."""

    split: str
    pictures: Packed

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids."""
        return tuple(_id(self.split, i) for i in range(len(self)))

    @property
    def labels(self) -> list[LabelKey]:
        """The label of each picture."""
        return [tuple(note["label"]) for note in self._notes]

    @property
    def captions(self) -> list[tuple[str, ...]]:
        """The captions of each picture, the reference caption first."""
        return [tuple(note["captions"]) for note in self._notes]

    @property
    def traits(self) -> list[dict[str, str]]:
        """The true traits of each picture, those of its label and its own."""
        return [note["traits"] for note in self._notes]

    @property
    def _notes(self) -> list[dict[str, Any]]:
        return [note or {} for note in self.pictures.notes]


def load_builtin(
    domain: Domain,
    split: str,
    *,
    size: int,
    seed: int,
    count: int | None = None,
    shifted: bool = False,
    quiet: bool = False,
) -> Drawn:
    """Draw one split in parallel, or open it where it was drawn before.

    Args:
        domain: The domain.
        split: One of `SPLITS`.
        size: Side of a picture in pixels.
        seed: Seed of the whole set.
        count: Number of pictures; None for the domain's own.
        shifted: Show the same under other light, haze, noise and pose.
        quiet: Show no progress bar.

    Raises:
        UsageError: If there is no such split.
        DataError: If the pictures cannot be written.
    """
    builtin = domain.builtin
    sheets = split_sheets(builtin, split)
    n = builtin.sizes[split] if count is None else count
    made = (domain.name, split, size, seed, n, plug_digest(builtin))
    name = fingerprint("builtin", *made, *[SHIFT] * shifted)
    job = _Draw(builtin, sheets, split, size, seed, shifted)
    title = f"drawing {split.replace('_', ' ')}"
    return Drawn(split, fill(name, job, n, size, title=title, quiet=quiet))


def plug_digest(builtin: BuiltinData) -> str:
    """Return a digest of the code and data files of the package that draws the pictures."""
    module = sys.modules[builtin.draw.__module__]
    if not module.__file__:
        return ""
    file = Path(module.__file__)
    files = [file]
    if module.__package__:
        skipped = {"__pycache__", ".ipynb_checkpoints"}
        files = [p for p in file.parent.rglob("*") if p.is_file() and not skipped & {*p.parts}]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(file.parent).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Draw:
    """The job of drawing one split."""

    builtin: BuiltinData
    sheets: Sequence[TraitSheet]
    split: str
    size: int
    seed: int
    shifted: bool

    def __call__(self, index: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        sample = _sample(
            self.builtin, self.sheets, self.split, index, self.size, self.seed, self.shifted
        )
        note = {
            "label": sample.label,
            "captions": sample.captions,
            "traits": dict(sample.traits),
        }
        return np.asarray(sample.image), note


def _sample(
    builtin: BuiltinData,
    sheets: Sequence[TraitSheet],
    split: str,
    index: int,
    size: int,
    seed: int,
    shifted: bool,
) -> Sample:
    sheet = sheets[index % len(sheets)]
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    # streams of their own, so that what is said of a picture does not depend on its size
    drawing, saying = rng.spawn(2)
    traits: Mapping[str, str] = {**sheet.traits, **builtin.individual(sheet, rng)}
    image = builtin.draw(traits, drawing, size) if size else b""
    if shifted and not isinstance(image, bytes):
        image = shift_picture(np.asarray(image), rng.spawn(1)[0])
    return Sample(
        id=_id(split, index),
        image=image,
        label=sheet.label,
        split=split,
        captions=builtin.captions(traits, saying),
        traits=traits,
    )


def _id(split: str, index: int) -> str:
    return f"{split}/{index:06d}"
