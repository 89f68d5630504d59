"""Pictures that a command looks at: which, how far it is, and what could not be read."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from domainclip.errors import UsageError

from . import output

if TYPE_CHECKING:
    from domainclip.data.samples import Samples
    from domainclip.domains.contract import Domain
    from domainclip.inference.encoding import Encoder


def find_named(names: Sequence[str]) -> list[Any]:
    """Return the pictures and boxes that arguments name.

    Raises:
        UsageError: If there are none.
    """
    from domainclip.inference.pictures import find_pictures

    found = list(find_pictures(names))
    if not found:
        raise UsageError(f"no picture in {', '.join(names)}", "name files, or folders of pictures")
    return found


def open_as_trained(
    encoder: Encoder,
    field: Domain,
    data: str,
    *,
    splits: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    limit: int = 0,
) -> Samples:
    """Open data in the splits that a model was trained under, which its test pictures rely on."""
    from domainclip.data.samples import open_samples

    recipe = encoder.card.get("provenance", {}).get("recipe", {})
    return open_samples(
        field, data, splits=splits, columns=columns, limit=limit,
        size=encoder.network.preprocess.shortest, seed=int(recipe.get("seed", 0)),
    )  # fmt: skip


def tell_samples(samples: Samples) -> None:
    """Say on stderr how the data was read: in one line, which column plays which part."""
    roles = [line.split(" <- ") for line in samples.messages if " <- " in line]
    if roles:
        named = [part if part == column else f"{part} <- {column}" for part, column in roles]
        output.note(f"columns: {', '.join(named)}")
    for line in samples.messages:
        if " <- " not in line:
            output.note(line)


def watched(items: list[Any], kind: str) -> Iterable[Any]:
    """Show progress on stderr, where a person sees it, from the first item on."""
    if not sys.stderr.isatty():
        return items
    return _bar(items, kind)


def _bar(items: list[Any], kind: str) -> Iterator[Any]:
    from tqdm import tqdm

    yield from tqdm(items, unit=f" {kind}", dynamic_ncols=True)


def interrupted() -> NoReturn:
    """Say how a long job is taken up again, and end."""
    output.error("interrupted", f"to go on: {shlex.join(['domainclip', *sys.argv[1:]])}")
    sys.exit(130)


def finish(unreadable: Sequence[tuple[str, str]], asked: int) -> None:
    """List the pictures that were left out and, if there are any, end with exit code 1."""
    for path, reason in unreadable:
        output.warning(f"{path}: {reason}" if path not in reason else reason)
    if unreadable:
        total = output.counted(asked, "picture")
        output.error(f"{len(unreadable)} of {total} could not be read")
        sys.exit(1)
