"""The files of a model, brought into its download folder from the hub or from this disk."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainclip.errors import DataError, UsageError

from .card import Card
from .hub import Hub, Listing, digest_file
from .needed import choose_files, choose_text_files, find_shards, is_index, place_of
from .pins import Expected, Found, expect
from .store import Place

if TYPE_CHECKING:
    from tqdm import tqdm

SPARE = 1.1
"""A model folder is about as large as the weights that it is made of."""


@dataclass(frozen=True)
class Fetch:
    """A model that is being fetched."""

    card: Card
    place: Place
    say: Callable[[str], None]
    progress: bool

    def choose(self, part: str, names: Collection[str], where: str) -> list[str]:
        """Return the files that are needed of a repository."""
        expected = expect(self.card, part, self.place)
        if part == "source":
            return choose_files(self.card, names, where)
        return choose_text_files(expected.source, names, where)

    def folder(self, part: str) -> Path:
        """Return where the files of a repository go."""
        return self.place.downloads / part


def gather_from_hub(fetch: Fetch, parts: Sequence[str]) -> dict[str, Found]:
    """Fetch what is needed of each repository.

    Raises:
        DomainclipError: If it cannot be had now; what came is kept.
        DataError: If what came is not what it has to be.
    """
    hub = Hub(fetch.say)
    listings: dict[str, tuple[Expected, Listing, list[str]]] = {}
    for part in parts:
        expected = expect(fetch.card, part, fetch.place)
        source = expected.source
        listing = hub.look(source.repo, source.repo_type, expected.revision)
        names = fetch.choose(part, listing.files, source.repo)
        for name in names:
            if listed := listing.files[name].sha256:
                expected.check(name, listed)
        listings[part] = expected, listing, names
    sizes = {part: sum(listed.files[n].size or 0 for n in names)
             for part, (_, listed, names) in listings.items()}  # fmt: skip
    _check_room(fetch, sum(sizes.values()))
    for part, (_, listing, names) in listings.items():
        count = f"{len(names)} file{'s' * (len(names) > 1)}"
        fetch.say(
            f"fetching {count}, {sizes[part] / 1e6:,.1f} MB, of {listing.repo} at "
            f"{listing.commit[:12]}"
        )
    found = {}
    with _bar(sum(sizes.values()), fetch.progress) as bar:
        for part, (expected, listing, names) in listings.items():
            found[part] = _fetch_all(fetch, hub, part, expected, listing, names, bar)
    return found


@contextlib.contextmanager
def copies_of(fetch: Fetch, given: Mapping[str, Path]) -> Iterator[dict[str, Found]]:
    """Copy what is needed from folders or files of the user; no copy is left where that fails.

    Raises:
        UsageError: If a folder or file does not exist.
        DataError: If a file is missing or is not what it has to be; it names the user's own.
    """
    begun: list[Path] = []
    try:
        yield _copy(fetch, given, begun)
    except DataError as error:
        raise DataError(_name_own(error.message, fetch, given), error.hint) from error
    finally:
        for folder in begun:
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds what a pull has begun
            fetch.place.downloads.rmdir()


def _name_own(text: str, fetch: Fetch, given: Mapping[str, Path]) -> str:
    """Return a text that names the files that the user gave instead of their copies."""
    for part, path in given.items():
        copy = re.escape(str(fetch.folder(part)))
        tail = "" if path.is_dir() else r"/[^\s:]+"
        text = re.sub(copy + tail, str(path).replace("\\", r"\\"), text)
    return text


def _copy(fetch: Fetch, given: Mapping[str, Path], begun: list[Path]) -> dict[str, Found]:
    """Copy what is needed from folders or files of the user; tell each folder that is begun.

    Raises:
        UsageError: If a folder or file does not exist.
        DataError: If a file is missing or is not what it has to be.
    """
    found = {}
    for part, path in given.items():
        expected = expect(fetch.card, part, fetch.place)
        here = _files_of(path, expected)
        wanted = [*expected.source.files]
        names = {next((w for w in wanted if place_of(w, here) == name), name) for name in here}
        chosen = fetch.choose(part, names, str(path))
        if is_index(chosen[-1]):
            chosen += find_shards(here[chosen[-1]], here)
        sha256 = {}
        begun.append(fetch.folder(part))
        shutil.rmtree(fetch.folder(part), ignore_errors=True)
        for name in chosen:
            to = fetch.folder(part) / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here[place_of(name, here) or name], to)
            sha256[name] = digest_file(to)
            expected.check(name, sha256[name])
        known = expected.knows(sha256)
        if not known:
            fetch.say(
                f"no checksum is known of {_say_files(expected, chosen)}: taken as it is, and what "
                "comes later has to match it"
            )
        source = expected.source
        revision = expected.revision if known else ""
        found[part] = Found(source.repo, source.repo_type, revision, sha256)
    return found


def _fetch_all(
    fetch: Fetch,
    hub: Hub,
    part: str,
    expected: Expected,
    listing: Listing,
    names: list[str],
    bar: tqdm[Any],
) -> Found:
    sha256: dict[str, str] = {}
    for name in names:  # grows where the weights are in several files
        to = fetch.folder(part) / name
        sha256[name] = hub.fetch(listing, name, to, lambda n: _tick(bar, n))
        try:
            expected.check(name, sha256[name])
        except DataError:
            to.unlink()
            raise
        if is_index(name):
            shards = [one for one in find_shards(to, listing.files) if one not in names]
            more = sum(listing.files[one].size or 0 for one in shards)
            _check_room(fetch, more)
            bar.total = (bar.total or 0) + more
            names += shards
    return Found(listing.repo, listing.repo_type, listing.commit, sha256)


def _files_of(path: Path, expected: Expected) -> dict[str, Path]:
    """Return the files below a folder by name; one file alone is taken for the one that is needed.

    Raises:
        UsageError: If there is none, or several are needed.
    """
    path = path.expanduser()
    if path.is_dir() and expected.source.repo:
        return {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
    if not path.is_file():
        raise UsageError(f"{path}: no such file" + " or folder" * bool(expected.source.repo))
    wanted = expected.source.files
    if not expected.source.repo and not wanted:
        return {path.name: path}
    if len(wanted) != 1:
        what = ", ".join(wanted) or "its configuration, weights and tokenizer"
        raise UsageError(
            f"{expected.source.repo} is more than one file: {what}",
            "give the folder that holds them",
        )
    return {wanted[0]: path}


def _say_files(expected: Expected, names: Sequence[str]) -> str:
    repo = expected.source.repo
    return f"all these files of {repo}" if repo else ", ".join(names)


def _check_room(fetch: Fetch, size: int) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DataError: If the disk has not room enough for the files and what is made of them.
    """
    folder = fetch.place.downloads
    folder.mkdir(parents=True, exist_ok=True)
    here = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    need = int(size * (1 + SPARE)) - here
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DataError(
            f"{fetch.card.name} needs {need / 1e6:,.0f} MB in {folder.parent}, and "
            f"{free / 1e6:,.0f} MB are free",
            "make room, or set DOMAINCLIP_HOME to a larger disk",
        )


def _tick(bar: tqdm[Any], count: int) -> None:
    bar.update(count)


def _bar(total: int, shown: bool) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=total, unit="B", unit_scale=True, desc="fetching", file=sys.stderr,
        dynamic_ncols=True, disable=not shown,
    )  # fmt: skip
