"""Counts what is in a folder of captions: outcomes, verdicts, lengths, cost, and truth if known."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainclip.data.captions import (
    VERDICTS,
    Generation,
    caption_files,
    find_generation,
    read_rows,
)

if TYPE_CHECKING:
    from domainclip.data.samples import Samples
    from domainclip.knowledge.lexicon import Lexicon

READ = (
    "sample_id", "caption", "label", "split", "written", "outcome", "checks", "dropped",
    "tokens_in", "tokens_out", "seconds", "time",
)  # fmt: skip
TRUTH = 2000
"""Pictures with known traits that are compared with their captions, at most."""
OUTCOMES = ("kept", "rewritten", "rejected")


@dataclass(frozen=True)
class Row:
    """One stored caption."""

    id: str
    caption: str
    label: str
    """Lineage, "a > b > c"."""
    written: str
    outcome: str
    notes: tuple[Mapping[str, str], ...]
    """Verdicts other than "pass": check, outcome, reason."""
    dropped: tuple[str, ...]
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The label's own name."""
        return self.label.rpartition(" > ")[2]


@dataclass
class TraitCount:
    """How one trait is told in captions whose truth is known."""

    trait: str
    shared: bool
    """Whether all individuals of a label share it, so that a trait sheet tells it."""
    pictures: int = 0
    """Pictures that have the trait."""
    written: int = 0
    written_true: int = 0
    stored: int = 0
    stored_true: int = 0
    said_true: int = 0
    """Pictures of which a stored caption says the trait rightly."""

    @property
    def precision_written(self) -> float | None:
        """Share of its claims that were true as they were written."""
        return self.written_true / self.written if self.written else None

    @property
    def precision(self) -> float | None:
        """Share of its claims that are true after the checks."""
        return self.stored_true / self.stored if self.stored else None

    @property
    def recall(self) -> float | None:
        """Share of the pictures with the trait of which the caption says it rightly."""
        return self.said_true / self.pictures if self.pictures else None

    def add(self, other: TraitCount) -> None:
        """Add the counts of another trait."""
        for name in ("pictures", "written", "written_true", "stored", "stored_true", "said_true"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Audit:
    """Everything that a report tells of a generation."""

    generation: Generation
    rows: list[Row] = field(repr=False)
    messages: list[str]
    """Parts that were set aside, other generations."""
    later: dict[str, list[Mapping[str, str]]] = field(default_factory=dict, repr=False)
    """Verdicts of the checks over all captions, by sample id."""

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """Captions by outcome of the checks, those over all captions too."""
        counts = Counter(row.outcome for row in self.rows)
        return {name: counts[name] for name in OUTCOMES}

    @cached_property
    def checks(self) -> dict[str, Counter[str]]:
        """Check -> outcome -> captions; a check counts once a caption and outcome."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in self.rows:
            said = {(n["check"], n["outcome"]) for n in (*row.notes, *self.later.get(row.id, ()))}
            for check, outcome in said:
                found[check][outcome] += 1
        return dict(sorted(found.items(), key=lambda item: (-item[1].total(), item[0])))

    @cached_property
    def labels(self) -> dict[str, Counter[str]]:
        """Label -> captions by outcome, those with most rejected and rewritten first."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in self.rows:
            found[row.label][row.outcome] += 1
        return dict(
            sorted(
                found.items(),
                key=lambda item: (-item[1]["rejected"], -item[1]["rewritten"], item[0]),
            )
        )

    @cached_property
    def words(self) -> list[int]:
        """Words of each stored caption."""
        return [len(row.caption.split()) for row in self.rows if row.caption]

    def summary(self, traits: Sequence[TraitCount] = ()) -> dict[str, Any]:
        """Return the counts as keys and values of one level."""
        told: dict[str, Any] = {
            "generation": self.generation.name,
            "captions": len(self.rows),
            **self.outcomes,
            "median words": round(statistics.median(self.words)) if self.words else 0,
            "tokens read": sum(row.tokens_in for row in self.rows),
            "tokens written": sum(row.tokens_out for row in self.rows),
        }
        for check, counts in self.checks.items():
            told |= {f"{check}: {outcome}": n for outcome, n in sorted(counts.items())}
        for count in totals(traits):
            told[f"{count.trait}: precision as written"] = _rounded(count.precision_written)
            told[f"{count.trait}: precision"] = _rounded(count.precision)
            told[f"{count.trait}: recall"] = _rounded(count.recall)
        return told


def read_audit(folder: str | Path) -> Audit:
    """Read all rows of a generation, the newest of each sample.

    Raises:
        DataError: If there are no captions.
        UsageError: If there is no such generation.
    """
    generation, others = find_generation(folder)
    messages = [f"another generation lies beside it: {other.name}" for other in others]
    newest: dict[str, tuple[str, Row]] = {}
    for batch in read_rows(caption_files(generation.folder), READ, messages):
        for values in zip(*batch.values(), strict=True):
            raw = dict(zip(READ, values, strict=True))
            time = raw["time"] or ""
            if time >= newest.get(raw["sample_id"], ("",))[0]:
                newest[raw["sample_id"]] = (time, _row(raw))
    later = _read_later(generation.folder, messages)
    rows = [_judged(newest[one][1], later.get(one, ())) for one in sorted(newest)]
    return Audit(generation, rows, messages, later)


def count_traits(audit: Audit, samples: Samples, lexicon: Lexicon) -> list[TraitCount]:
    """Compare captions with the true traits of their pictures, by trait.

    Only pictures whose traits are known count, as those of built-in data are, and at most `TRUTH`.
    """
    shared = {name for sheet in samples.domain.builtin.sheets() for name in sheet.traits}
    places = {one: i for i, one in enumerate(samples.ids)}
    counts: dict[str, TraitCount] = {}
    step = max(1, len(audit.rows) // TRUTH)
    for row in audit.rows[::step]:
        if row.id not in places:
            continue
        truth = samples.facts(places[row.id]).traits
        for trait in truth:
            counts.setdefault(trait, TraitCount(trait, trait in shared)).pictures += 1
        for name, text in (("written", row.written), ("stored", row.caption)):
            right: set[str] = set()
            for claim in lexicon.claims(" ".join((text or "").split())):
                if claim.trait not in counts:
                    continue
                count = counts[claim.trait]
                true = (truth.get(claim.trait) == claim.value) != claim.negated
                setattr(count, name, getattr(count, name) + 1)
                if true:
                    setattr(count, f"{name}_true", getattr(count, f"{name}_true") + 1)
                    right.add(claim.trait)
            if name == "stored":
                for trait in right & truth.keys():
                    counts[trait].said_true += 1
    return sorted(counts.values(), key=lambda count: (not count.shared, count.trait))


def totals(traits: Iterable[TraitCount]) -> list[TraitCount]:
    """Return the sums over the traits of labels and over those of individuals."""
    sums = (TraitCount("traits of labels", True), TraitCount("traits of individuals", False))
    for count in traits:
        sums[0 if count.shared else 1].add(count)
    return [total for total in sums if total.pictures]


def _row(raw: Mapping[str, Any]) -> Row:
    return Row(
        id=raw["sample_id"],
        caption=raw["caption"] or "",
        label=raw["label"] or "",
        written=raw["written"] or raw["caption"] or "",
        outcome=raw["outcome"] or ("kept" if raw["caption"] else "rejected"),
        notes=tuple(_read_notes(raw["checks"])),
        dropped=tuple(raw["dropped"] or ()),
        tokens_in=raw["tokens_in"] or 0,
        tokens_out=raw["tokens_out"] or 0,
        seconds=raw["seconds"] or 0.0,
    )


def _judged(row: Row, later: Iterable[Mapping[str, str]]) -> Row:
    """Return a row as rejected where a check over all captions rejects it: it is not used."""
    rejects = [note for note in later if note["outcome"] == "reject"]
    if not rejects or row.outcome == "rejected":
        return row
    return replace(row, caption="", outcome="rejected", notes=(*row.notes, *rejects))


def _read_notes(said: Any) -> list[dict[str, str]]:
    """Read the verdicts of a row, which journals may hold as a list and parts as JSON."""
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except ValueError:
            said = []
    notes = said if isinstance(said, list) else []
    names = ("check", "outcome", "reason")
    return [{name: str(n.get(name, "")) for name in names} for n in notes if isinstance(n, dict)]


def _read_later(folder: Path, messages: list[str]) -> dict[str, list[Mapping[str, str]]]:
    """Read the verdicts of the checks over all captions, where there are any."""
    from .checks.corpus import COLUMNS

    path = folder / VERDICTS
    found: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
    for batch in read_rows([path] if path.is_file() else [], COLUMNS, messages):
        for values in zip(*batch.values(), strict=True):
            note = dict(zip(COLUMNS, values, strict=True))
            found[note.pop("sample_id")].append(note)
    return dict(found)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
