"""Which split each picture is in: as the data says, or made without one group in two splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domainclip.errors import DataError, suggest

ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "test_unseen": "test_unseen",
}
"""What splits are called in the wild -> what they are called here."""


def split_name(said: str) -> str | None:
    """Return our name of a split, or None if it is no split."""
    return ALIASES.get(said.strip().lower().replace("-", "_"))


def read_splits(said: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our names of the splits that the data gives, and messages.

    Raises:
        DataError: If a value is no split.
    """
    names = {value: split_name(value) for value in dict.fromkeys(said) if value.strip()}
    wrong = [value for value, name in names.items() if name is None]
    if wrong:
        known = ("train", "val", "test", "test_unseen")
        raise DataError(
            f"the split column has {', '.join(map(repr, wrong[:5]))}; "
            f"splits are {', '.join(known)}",
            suggest(wrong[0], ALIASES) or "rename them, or name another column: data.columns.split",
        )
    blank = sum(not value.strip() for value in said)
    messages = [f"{blank} rows name no split and are trained on"] if blank else []
    return [names.get(value) or "train" for value in said], messages


def torn_groups(splits: Sequence[str], groups: Sequence[str]) -> str:
    """Say which groups are in two splits; "" where none is."""
    where: dict[str, set[str]] = {}
    for split, group in zip(splits, groups, strict=True):
        if group:
            where.setdefault(group, set()).add(split)
    torn = {group: found for group, found in where.items() if len(found) > 1}
    if not torn:
        return ""
    shown = "; ".join(f"{g!r} in {' and '.join(sorted(torn[g]))}" for g in list(torn)[:5])
    more = f"; and {len(torn) - 5} more" if len(torn) > 5 else ""
    return f"{len(torn)} group{'s are' if len(torn) > 1 else ' is'} in two splits: {shown}{more}"


def make_splits(
    given: Sequence[str] | None,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    val_share: float,
    test_share: float,
    seed: int,
) -> tuple[list[str], list[str]]:
    """Return the split of each picture, with those that are missing held out from `train`.

    Args:
        given: Splits as the data gives them, by our names; None for none.
        labels: Label of each picture; each label keeps its share where there are no groups.
        groups: Group of each picture, "" where it has none; a group stays together.
        val_share: Share of the training pictures to hold out for validation.
        test_share: Share of all pictures to hold out as test.
        seed: Seed of the choice.

    Returns:
        Splits and messages.

    Raises:
        DataError: If no picture is left to train on.
    """
    splits = np.array(given if given is not None else ["train"] * len(labels), dtype=object)
    if len(splits) and not (splits == "train").any():
        raise DataError(
            f"no picture is in the split train; there are {', '.join(sorted(set(splits)))}",
            "name the split column by data.columns.split, or drop it and let splits be made",
        )
    messages = []
    for name, share in (("test", test_share), ("val", val_share)):
        if (splits == name).any():
            continue
        pool = np.flatnonzero(splits == "train")
        chosen = _hold_out(
            [labels[i] for i in pool.tolist()],
            [groups[i] for i in pool.tolist()],
            share,
            [seed, len(name)],
        )
        splits[pool[chosen]] = name
        by = "whole groups" if any(groups) else "the same share of each label"
        messages.append(f"{name}: {len(chosen)} of {len(pool)} pictures held out, {by}")
    return [str(split) for split in splits], messages


def _hold_out(
    labels: Sequence[str], groups: Sequence[str], share: float, seed: Sequence[int]
) -> NDArray[np.int64]:
    """Return the indices of pictures to hold out."""
    if any(groups):
        return _hold_out_groups(labels, groups, share, seed)
    rng = np.random.default_rng(seed)
    codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]
    chosen = []
    for code in range(codes.max() + 1):
        members = rng.permutation(np.flatnonzero(codes == code))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen.append(members[:count])
    return np.sort(np.concatenate(chosen))


def _hold_out_groups(
    labels: Sequence[str], groups: Sequence[str], share: float, seed: Sequence[int]
) -> NDArray[np.int64]:
    from sklearn.model_selection import GroupShuffleSplit

    # a picture of no group is a group of its own
    said = [f"g{group}" if group else f"i{i}" for i, group in enumerate(groups)]
    if len(set(said)) < 2:
        raise DataError(
            f"all pictures are of one group, {groups[0]!r}; none can be held out",
            "name another column by data.columns.group, or give a split column",
        )
    codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]
    state = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    cuts = GroupShuffleSplit(n_splits=16, test_size=share, random_state=state)

    def quality(cut: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[int, int, float]:
        kept, held = (np.unique(codes[part]).size for part in cut)
        return kept, held, -abs(len(cut[1]) - share * len(codes))

    # of several cuts the one that leaves the most labels on both sides
    return np.sort(max(cuts.split(codes, codes, said), key=quality)[1])
