"""Stored captions: what each column means, and the reader that joins them to pictures by id."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from domainclip.domains.names import fold
from domainclip.errors import DataError, UsageError, suggest

COLUMNS: dict[str, str] = {
    "sample_id": "Id of the picture; captions are joined to data by it, and by nothing else.",
    "caption": "The caption after the checks; empty where it was rejected.",
    "label": 'Lineage of the picture\'s label, "a > b > c".',
    "split": "Split of the picture.",
    "picture": "Digest of the picture's content.",
    "captioner": 'Who wrote it: "bank", "openai" or "transformers".',
    "model": "The model that wrote it; empty for none.",
    "model_revision": "Revision of that model, where it has one.",
    "generation": "The generation it belongs to: one captioner, model, prompt and settings.",
    "prompt_hash": "Digest of what was asked, the picture left out; empty where nothing was.",
    "knowledge_revision": "Digest of the knowledge that was used.",
    "settings": "Sampling settings, as JSON.",
    "seed": "Seed of the picture's draws.",
    "tokens_in": "Tokens read by the model, the picture's included.",
    "tokens_out": "Tokens written by the model.",
    "seconds": "Seconds from the question to the answer.",
    "time": "When it was written: UTC, ISO 8601.",
    "written": "What the captioner wrote, before the checks.",
    "outcome": '"kept", "rewritten" or "rejected".',
    "checks": "Verdicts as a JSON list of {check, outcome, reason}.",
    "dropped": "Statements that the checks dropped.",
    "details": "What the captioner noted, as JSON: the endpoint, the sentences picked.",
}
"""Column -> what it holds. `sample_id` and `caption` are the two that others may rely on."""

_TYPES = {
    "seed": pa.int64(),
    "tokens_in": pa.int64(),
    "tokens_out": pa.int64(),
    "seconds": pa.float64(),
    "dropped": pa.list_(pa.string()),
}
SCHEMA = pa.schema(
    [
        pa.field(name, _TYPES.get(name, pa.string()), metadata={"comment": said})
        for name, said in COLUMNS.items()
    ]
)
"""Arrow schema of a part; the meaning of each column travels with it."""

ABOUT = "generation.json"
JOURNALS, PARTS = "journal-*.jsonl", "part-*.parquet"
VERDICTS = "verdicts.parquet"
"""Verdicts of the checks over all captions: sample_id, outcome, check, reason."""
BAD = ".bad"


@dataclass(frozen=True)
class Generation:
    """Captions of one captioner, model, prompt and settings: one folder below the store's."""

    folder: Path
    about: Mapping[str, Any] = field(repr=False)
    """`made_of` in words, `created` and `last_run` in UTC, `data` it was made for."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def made_of(self) -> Mapping[str, Any]:
        """What makes it this generation and no other, in words."""
        found = self.about.get("made_of")
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class StoredCaptions:
    """Captions of a list of pictures."""

    captions: list[tuple[str, ...]]
    """Captions of each picture, one a folder at most, in the order of the folders."""
    generation: str
    """The generations that were read, "a, b"."""
    messages: list[str]
    """What people should know: other generations, parts set aside, pictures without a caption."""

    @property
    def found(self) -> int:
        """Pictures that have a caption."""
        return sum(map(bool, self.captions))


def read_captions(
    folders: Sequence[str | Path],
    ids: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    limited: bool = False,
) -> StoredCaptions:
    """Join stored captions to pictures by sample id.

    Args:
        folders: Folders that `domainclip caption` wrote; the newest generation of each is read, or
            that of `folder@generation`. A Parquet file with `sample_id` and `caption` is read too.
        ids: Sample ids of the pictures.
        labels: Lineage of each picture's label, "a > b > c"; a caption that was written for a label
            of another name is left out. None to take them all.
        limited: Whether `data.limit` left pictures out, which explains captions without one.

    Raises:
        DataError: If there are no captions in a folder.
        UsageError: If a folder has no such generation.
    """
    rows = {one: row for row, one in enumerate(ids)}
    own = None if labels is None else [fold(label.rpartition(" > ")[2]) for label in labels]
    captions: list[tuple[str, ...]] = [()] * len(ids)
    names: list[str] = []
    messages: list[str] = []
    for spec in folders:
        files, name, said, rejected = _find(str(spec))
        names.append(name)
        messages += said
        newest: dict[int, tuple[str, str, str]] = {}
        strangers: set[str] = set()
        columns = ("sample_id", "caption", "label", "time")
        for batch in read_rows(files, columns, messages):
            for one, caption, label, time in zip(*batch.values(), strict=True):
                row = rows.get(one)
                if row is None:
                    strangers.add(str(one))
                elif (time or "") >= newest.get(row, ("",))[0]:
                    newest[row] = (time or "", (caption or "").strip(), label or "")
        other = {
            row
            for row, (_, caption, label) in newest.items()
            if own and caption and label and fold(label.rpartition(" > ")[2]) != own[row]
        }
        poor = {rows[one] for one in rejected & rows.keys()} - other
        out = other | poor
        found = {row: said[1] for row, said in newest.items() if said[1] and row not in out}
        for row, caption in found.items():
            captions[row] += (caption,)
        counts = _say_found(str(spec), name, len(found), len(ids), strangers, limited, other, poor)
        messages.append(counts)
    return StoredCaptions(captions, ", ".join(names), messages)


def _say_found(
    spec: str,
    name: str,
    found: int,
    total: int,
    strangers: Collection[str],
    limited: bool,
    other: Collection[int],
    poor: Collection[int],
) -> str:
    said = f"captions of {spec} ({name}): {found:,} of {total:,} pictures have one"
    if strangers:
        said += f"; {len(strangers):,} belong to no picture here, such as {min(strangers)!r}"
        said += " (data.limit leaves pictures out)" * limited
    if other:
        said += f"; {len(other):,} were written for another label and are left out"
    if poor:
        said += f"; {len(poor):,} were rejected for their score and are left out"
    return said


def find_generation(spec: str | Path) -> tuple[Generation, tuple[Generation, ...]]:
    """Return the generation that `folder` or `folder@generation` means, and the others beside it.

    A name may be cut short where it stays unique; the newest is the one that was last run.

    Raises:
        DataError: If there is no caption store.
        UsageError: If there is no such generation.
    """
    folder, asked = _split(str(spec))
    if (folder / ABOUT).is_file() and not asked:
        return Generation(folder, _about(folder)), ()
    every = list_generations(folder)
    if not every:
        raise DataError(
            f"no captions in {folder}", f"domainclip caption --domain NAME --out {folder}"
        )
    if not asked:
        return every[0], tuple(every[1:])
    chosen = [one for one in every if one.name == asked]
    chosen = chosen or [one for one in every if one.name.startswith(asked)]
    if len(chosen) != 1:
        names = [one.name for one in chosen or every]
        problem = "several generations" if chosen else "no generation"
        hint = suggest(asked, names) or f"there are {', '.join(names)}"
        raise UsageError(f"{folder} has {problem} {asked!r}", hint)
    return chosen[0], tuple(one for one in every if one is not chosen[0])


def list_generations(folder: str | Path) -> list[Generation]:
    """Return the generations of a store, the one that was last run first.

    Those without a caption, as of a server that never answered, come after all others.
    """
    found = [Generation(p.parent, _about(p.parent)) for p in Path(folder).glob(f"*/{ABOUT}")]
    return sorted(
        found, key=lambda one: (_has_rows(one.folder), _last_run(one), one.name), reverse=True
    )


def caption_files(folder: Path) -> list[Path]:
    """Return journals and parts of a generation, in the order to read them.

    Journals come first: a row that moves into a part meanwhile is then read twice, never missed.
    """
    return sorted(folder.glob(JOURNALS)) + sorted(folder.glob(PARTS))


def read_rows(
    files: Sequence[Path], columns: Sequence[str], messages: list[str] | None = None
) -> Iterator[dict[str, list[Any]]]:
    """Yield rows by column, a file at a time; a corrupt part is set aside.

    Args:
        files: Journals and parts.
        columns: The columns wanted; one that a part does not have comes as None.
        messages: Takes a line for each part that is set aside.
    """
    for file in files:
        if file.suffix == ".jsonl":
            yield _journal_batch(file, columns)
            continue
        try:
            batch = _part_batch(file, columns)
        except FileNotFoundError:
            continue
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, PermissionError):
                raise DataError(f"no permission to read {file}") from error
            if isinstance(error, MemoryError) or getattr(error, "errno", None):
                raise DataError(f"{file} cannot be read: {error}") from error  # it may be whole
            if messages is not None:
                messages.append(set_aside(file, error))
            continue
        yield batch


def set_aside(file: Path, error: Exception) -> str:
    """Rename a corrupt part so that it is no longer read, and say so."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    try:
        file.rename(file.with_name(file.name + BAD))
    except OSError:
        return f"{file} is corrupt and left out ({reason})"
    return f"{file} is corrupt; set aside as {file.name}{BAD}, the rest is used ({reason})"


def read_journal(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a journal and the bytes they take; a torn last line is left out."""
    rows: list[dict[str, Any]] = []
    whole = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        with suppress(ValueError):  # a line that a full disk or a lost block damaged
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("sample_id"), str):
                rows.append(row)
        whole += len(line)
    return rows, whole


def _journal_batch(file: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    try:
        rows = read_journal(file.read_bytes())[0]
    except FileNotFoundError:
        rows = []
    return {name: [row.get(name) for row in rows] for name in columns}


def _part_batch(file: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    with pq.ParquetFile(file, page_checksum_verification=True) as part:
        known = [name for name in columns if name in part.schema_arrow.names]
        table = part.read(columns=known)  # all of it, so that none of a corrupt part is used
    given = table.to_pydict()
    return {name: given.get(name, [None] * len(table)) for name in columns}


def read_rejected(folder: Path, messages: list[str] | None = None) -> set[str]:
    """Return the samples whose captions the checks over all captions of a generation rejected."""
    found: set[str] = set()
    file = folder / VERDICTS
    if file.is_file():
        for batch in read_rows([file], ("sample_id", "outcome"), messages):
            pairs = zip(batch["sample_id"], batch["outcome"], strict=True)
            found |= {one for one, outcome in pairs if outcome == "reject"}
    return found


def _find(spec: str) -> tuple[list[Path], str, list[str], set[str]]:
    """Return the files that a folder means, what they are called, messages, rejected samples."""
    file = Path(spec).expanduser()
    if file.is_file() and file.suffix == ".parquet":
        _check_columns(file)
        return [file], file.stem, [], set()
    chosen, others = find_generation(spec)
    said = []
    if others:
        listed = ", ".join(f"{one.name} ({say_generation(one)})" for one in others[:4])
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        way = f"{chosen.folder.parent}@{others[0].name} picks another"
        said = [f"{spec}: generation {chosen.name} is read, not {listed}{more}; {way}"]
    rejected = read_rejected(chosen.folder, said)
    return caption_files(chosen.folder), chosen.name, said, rejected


def say_generation(generation: Generation) -> str:
    """Say who wrote a generation and when, in a few words."""
    made = generation.made_of
    parts = (made.get("captioner"), made.get("model"), str(_last_run(generation))[:10])
    return ", ".join(str(part) for part in parts if part) or "not said by whom"


def _check_columns(file: Path) -> None:
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as Parquet ({error})") from error
    missing = [name for name in ("sample_id", "caption") if name not in names]
    if missing:
        raise DataError(f"{file} has no column {' and no '.join(missing)}; it has {names}")


def _split(spec: str) -> tuple[Path, str]:
    if Path(spec).expanduser().exists() or "@" not in spec:
        return Path(spec).expanduser(), ""
    folder, _, asked = spec.rpartition("@")
    return Path(folder or ".").expanduser(), asked


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _has_rows(folder: Path) -> bool:
    with suppress(OSError):
        return any(file.stat().st_size for file in caption_files(folder))
    return True  # somebody is at work there


def _last_run(generation: Generation) -> str:
    return str(generation.about.get("last_run") or generation.about.get("created") or "")
