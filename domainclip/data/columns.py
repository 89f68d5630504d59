"""Which column of a table plays which part: guessed by name, or told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from domainclip.domains.contract import Domain
from domainclip.errors import UsageError, suggest

GUESSES: dict[str, tuple[str, ...]] = {
    "image": ("file_name", "file", "image", "image_path", "image_file", "path", "file_path", "img"),
    "id": ("id", "sample_id", "uuid"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "group_id", "subject", "subject_id", "slide", "slide_id", "source_image"),
    "licence": ("license", "licence", "rights"),
    "weight": ("weight", "sample_weight", "pair_weight"),
    "captions": ("captions", "sentences", "texts"),
    "caption": ("caption", "text", "description", "txt"),
    "common": ("common", "common_name", "vernacular_name", "class_text", "label_text"),
    "label": ("label", "label_name", "class", "class_name", "category", "category_name", "cls"),
}
"""Names by part, in order; capitals, spaces, dots, dashes and underscores do not count.

The names of one field come from its domain: its ranks, and its `columns`.
"""


@dataclass(frozen=True)
class Columns:
    """The part that each column plays."""

    parts: Mapping[str, str]
    """Part, of `GUESSES`, -> column."""
    ranks: Mapping[str, str]
    """Rank -> column, coarsest first."""
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say it, one line a part."""
        said = [f"{part} <- {column}" for part, column in {**self.ranks, **self.parts}.items()]
        return [*said, f"not used: {', '.join(self.unused)}"] if self.unused else said


def guess_columns(
    names: Sequence[str], domain: Domain, given: Mapping[str, str] | None = None
) -> Columns:
    """Find the part of each column.

    Args:
        names: The columns there are.
        domain: Its ranks, and its `columns` after our own guesses, are looked for too.
        given: Part or rank -> column, which wins over any guess.

    Raises:
        UsageError: If `given` names a part or a column that there is not.
    """
    given = dict(given or {})
    _check_given(given, names, domain)
    found: dict[str, str] = dict(given)
    left = [name for name in names if name not in given.values()]

    def take(part: str, wanted: Iterable[str]) -> None:
        by_plain = {_plain(name): name for name in reversed(left)}
        for name in wanted:
            if part not in found and _plain(name) in by_plain:
                found[part] = by_plain[_plain(name)]
                left.remove(found[part])

    ranks = [rank for rank in domain.ranks if rank not in GUESSES]  # "group" keeps its meaning
    for rank in ranks:
        take(rank, (rank, *domain.columns.get(rank, ())))
    guessed = [rank for rank in ranks if rank in found and rank not in given]
    for part, wanted in GUESSES.items():
        take(part, (*wanted, *domain.columns.get(part, ())))
    # one column that is called like a rank and like a label ("class") is the label
    if len(guessed) == 1 and guessed[0] in GUESSES["label"] and "label" not in found:
        found["label"] = found.pop(guessed[0])
    return Columns(
        {part: found[part] for part in GUESSES if part in found},
        {rank: found[rank] for rank in ranks if rank in found},
        tuple(left),
    )


def _check_given(given: Mapping[str, str], names: Sequence[str], domain: Domain) -> None:
    known = (*GUESSES, *domain.ranks)
    for part, column in given.items():
        if part not in known:
            raise UsageError(
                f"data.columns: there is no part {part!r}; there are {', '.join(known)}",
                suggest(part, known),
            )
        if column not in names:
            raise UsageError(
                f"data.columns: {part} is to be read from the column {column!r}, which the data "
                f"does not have; it has {', '.join(names) or 'none'}",
                suggest(column, names),
            )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
