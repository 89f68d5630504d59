"""Pulling a model: fetched at its commit, checked, made a model folder, and put in its place.

Nothing is where commands look for models before it is whole. What was fetched waits in a hidden
folder, so that a pull which is stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domainclip import __version__
from domainclip.domains.registry import find_domains, get_domain
from domainclip.errors import DataError, DomainclipError, UsageError

from .card import Card
from .catalogue import get_card, refuse_blocked
from .fetching import Fetch, copies_of, gather_from_hub
from .hub import is_offline
from .needed import ARCHITECTURE, WEIGHTS
from .pins import PARTS, Found, expect, remember, source_of
from .store import CARD, FORMAT, RECORD, Place, list_files, read_json, size_of, write_json

Say = Callable[[str], None]
OPTIONS = {"text_source": "--text FOLDER", "label_vectors": "--label-vectors FOLDER"}
"""How `zoo import` is given the parts that not all models have."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def pull(
    name: str,
    *,
    domain: str = "",
    accept_licence: bool = False,
    offline: bool = False,
    label_vectors: bool = False,
    say: Say = lambda text: None,
    progress: bool = False,
) -> Path:
    """Return the folder of a model, which is fetched and converted where it is not there yet.

    Args:
        name: `domain/model`, or `model` alone.
        domain: The field to look in first for a short name.
        accept_licence: The user accepts what its licence restricts.
        offline: Use no network.
        label_vectors: Fetch the label vectors of its publishers, too.
        say: Told what a person who waits wants to know.
        progress: Draw a progress bar on standard error.

    Raises:
        UsageError: If there is no such model, it cannot be loaded, or its licence has to be
            accepted first.
        DataError: If what came is not what it has to be.
        DomainclipError: If it cannot be had now: network, access, space.
    """
    card = _open_card(name, domain, label_vectors=label_vectors)
    place = Place(card.name)
    with place.locked(say), _with_room(place):
        place.clear()
        if card.by_hand and not place.record():
            raise UsageError(say_by_hand(card), f"domainclip zoo import {card.name} FILE")
        due = [] if card.by_hand else _due(card, place, label_vectors)
        if not due:
            say(f"{card.name} is there already")
            return place.folder
        check_licence(card, place, accept_licence, f"domainclip zoo pull {card.name}")
        _refuse_offline(card, place, due, offline)
        fetch = Fetch(card, place, say, progress)
        found = gather_from_hub(fetch, due)
        _make(card, place, found, accept_licence, say)
    return place.folder


def import_model(
    name: str,
    given: Mapping[str, Path],
    *,
    domain: str = "",
    accept_licence: bool = False,
    say: Say = lambda text: None,
) -> Path:
    """Make a model of files that are on this disk, with the checks and conversion of a pull.

    Args:
        name: `domain/model`, or `model` alone.
        given: `source`, `text_source` or `label_vectors` -> the folder, or the one file.
        domain: The field to look in first for a short name.
        accept_licence: The user accepts what its licence restricts.
        say: Told what a person wants to know.

    Raises:
        UsageError: If there is no such model, it cannot be loaded, its licence has to be accepted
            first, or a part of it is not given.
        DataError: If a file is missing or is not what it has to be.
    """
    card = _open_card(name, domain, label_vectors="label_vectors" in given)
    place = Place(card.name)
    if card.text_source is not None and "text_source" not in given:
        raise UsageError(
            f"the text tower of {card.name} comes from {card.text_source.repo}",
            "give the folder of its files with --text",
        )
    check_licence(card, place, accept_licence, f"domainclip zoo import {card.name}")
    with place.locked(say), _with_room(place):
        place.clear()
        fetch = Fetch(card, place, say, False)
        with copies_of(fetch, {k: v for k, v in given.items() if source_of(card, k)}) as found:
            _make(card, place, found, accept_licence, say, imported=True)
    return place.folder


def check_licence(card: Card, place: Place, accepted: bool, command: str) -> None:
    """Refuse a model whose licence restricts until the user accepts it.

    Raises:
        UsageError: With what it restricts.
    """
    if not card.restricted or accepted or place.record().get("accepted"):
        return
    said = [f"its licence is {card.licence}"]
    said += ["no commercial use"] * (card.commercial == "no")
    said += ["changed models may not be passed on"] * (card.derivatives == "no")
    said += ["its publishers want to know who uses it"] * card.gated
    page = card.page or f"the pages of {card.source.repo}"
    raise UsageError(
        f"{card.name} is restricted: {'; '.join(said)}",
        f"read {page}, and where you accept that: {command} --accept-license",
    )


def say_by_hand(card: Card) -> str:
    """Say where a checkpoint that lies on no hub is to be had."""
    return f"{card.name} is on no hub: fetch its file as {card.page} says, then import it"


def _open_card(name: str, domain: str, *, label_vectors: bool) -> Card:
    card = get_card(name, domain)
    refuse_blocked(card)
    if label_vectors and card.label_vectors is None:
        raise UsageError(
            f"no label vectors of {card.name} are known",
            "leave out --label-vectors; those of your labels are computed when first needed",
        )
    return card


def _due(card: Card, place: Place, label_vectors: bool) -> list[str]:
    """Return the parts that are to be fetched: none where the model is there as it has to be."""
    record = place.record()
    parts = [part for part in PARTS[:2] if source_of(card, part)]
    for part in parts:
        wanted = expect(card, part, place).revision
        there = (record.get(part) or {}).get("revision")
        if there is None or (wanted and there not in ("", wanted)):
            break
    else:
        parts = []
    if label_vectors and (parts or "label_vectors" not in record):
        parts.append("label_vectors")
    return parts


def _refuse_offline(card: Card, place: Place, due: list[str], offline: bool) -> None:
    """Say what is missing where there is no network, and how to get it.

    Raises:
        DomainclipError: If the network is switched off.
    """
    if not (offline or is_offline()):
        return
    missing, ways = [], []
    for part in due:
        source = source_of(card, part)
        assert source is not None
        pin = read_json(place.pins).get(part) or {}
        files = source.files or tuple(pin.get("sha256", ())) or _usual(card, part)
        revision = source.revision or str(pin.get("revision", ""))
        at = f" at {revision[:12]}" if revision else ""
        missing.append(f"{', '.join(files)} of {source.repo}{at}")
        kind = " --repo-type dataset" if source.repo_type == "dataset" else ""
        commit = f" --revision {revision}" if revision else ""
        ways.append(f"hf download {source.repo}{kind}{commit} --local-dir FOLDER")
    given = " ".join(OPTIONS[part] for part in due if part in OPTIONS)
    why = "by --offline" if offline else "by HF_HUB_OFFLINE"
    begun = size_of(place.downloads) if place.downloads.is_dir() else 0
    here = f" ({begun / 1e6:,.1f} MB of that are here)" if begun else ""
    raise DomainclipError(
        f"{card.name} is not here, and the network is switched off {why}; missing: "
        f"{'; '.join(missing)}{here}",
        f"where there is a network: {'; '.join(ways)}; then here: domainclip zoo import "
        f"{card.name} FOLDER {given}".rstrip(),
    )


def _usual(card: Card, part: str) -> tuple[str, ...]:
    """Return what a repository is expected to hold, before anybody has seen it."""
    if part != "source" or card.kind == "checkpoint":
        return ("config.json", "the files of its tokenizer")
    first, *others = WEIGHTS[card.kind]
    pickled = "".join(f" (or {name})" for name in others if name.endswith(".bin"))
    return (ARCHITECTURE[card.kind][0], f"{first}{pickled}")


def _make(
    card: Card,
    place: Place,
    found: Mapping[str, Found],
    accepted: bool,
    say: Say,
    *,
    imported: bool = False,
) -> None:
    """Make a model folder of fetched files, and put it in its place."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record: dict[str, Any] = place.record()
    try:
        if "source" in found:
            from .convert import convert

            say(f"converting {card.name}")
            record = {
                "format": FORMAT,
                "name": card.name,
                "title": card.title,
                "licence": card.licence,
                "commercial": card.commercial,
                "derivatives": card.derivatives,
                "trained_on": card.trained_on,
                "accepted": now if accepted and card.restricted else record.get("accepted"),
                "pulled": now,
                "imported": imported,
                "domainclip": __version__,
            }
            text = place.downloads / "text_source" if "text_source" in found else None
            told = {part: one.as_dict() for part, one in found.items() if part != "label_vectors"}
            provenance = {"name": card.name, **found["source"].as_dict(), "pulled": now, **told}
            convert(
                card, place.downloads / "source", place.new, text_files=text, provenance=provenance
            )
            record["notice"] = _keep_notice(card, place.new)
            for difference in read_json(place.new / CARD).get("card_differs", ()):
                say(f"{card.name}: {difference}; the files are followed")
        else:
            shutil.copytree(place.folder, place.new, copy_function=_link)
        if "label_vectors" in found:
            from .label_vectors import add_vectors

            say("sorting label vectors")
            count = add_vectors(card, place.downloads / "label_vectors", place.new)
            say(f"{count:,} labels have ready vectors")
        record |= {part: one.as_dict() for part, one in found.items()}
        record["files"] = list_files(place.new)
        (place.new / RECORD).unlink(missing_ok=True)  # it may be the old one, linked
        write_json(place.new / RECORD, record)
        remember(place, found)
        place.put()
    finally:
        shutil.rmtree(place.new, ignore_errors=True)


def _keep_notice(card: Card, folder: Path) -> str:
    """Have a model say the notice of its card with every result, else that of its domain."""
    notice = card.notice
    if not notice and card.domain in find_domains():
        notice = get_domain(card.domain).notice
    told = read_json(folder / CARD)
    write_json(folder / CARD, {**told, "notice": notice})
    return notice


def _link(here: str, there: str) -> None:
    """Have a file in a second folder without a second copy, where the disk knows that."""
    try:
        os.link(here, there)
    except OSError:
        shutil.copy2(here, there)


@contextlib.contextmanager
def _with_room(place: Place) -> Iterator[None]:
    """Say what to do where the disk is full."""
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        free = shutil.disk_usage(_existing(place.downloads)).free
        raise DataError(
            f"no space is left for {place.name} in {place.folder.parent} ({free / 1e6:,.0f} MB "
            "are free)",
            "make room, or set DOMAINCLIP_HOME to a larger disk; the same command then goes on, "
            f"and domainclip zoo rm {place.name} removes what was fetched",
        ) from error


def _is_full(error: BaseException | None) -> bool:
    """Return whether an error comes of a full disk, or of one that takes no file so large."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    told = re.search(r"os error (\d+)", str(error))  # how safetensors says it
    return bool(told and int(told[1]) in FULL) or _is_full(error.__cause__)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())
