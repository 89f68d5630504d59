"""Publishing a model: what would be sent, whether that may be, and the card that goes with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domainclip.errors import DataError, UsageError

from .facts import CALIBRATION, CONFIG, HEADS, WEIGHTS, Facts, gather, hide_paths
from .judging import Work, judge, propose_licence
from .licences import choose_licence, read_licence
from .model_card import Publication, write_model_card
from .provenance import CARD, Step, read_json

README = "README.md"
FILES = {
    CONFIG, WEIGHTS, HEADS, CARD, "labels.csv", CALIBRATION, "LICENSE", "NOTICE",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
    "merges.txt", "spiece.model",
}  # fmt: skip
"""What a model folder is published with; anything else that lies in it stays where it is."""


@dataclass(frozen=True)
class Piece:
    """A file that would be sent."""

    name: str
    size: int
    content: Path | bytes
    """Where it lies, or what it holds where it is written for publication."""


@dataclass(frozen=True)
class Plan:
    """What would be sent, and what has to be said of it first."""

    repo: str
    private: bool
    pieces: tuple[Piece, ...]
    card: str
    """The text of README.md."""
    licence: str
    left_out: tuple[str, ...]
    """Files of the folder that are not sent."""
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(piece.size for piece in self.pieces)

    def write(self, folder: Path) -> Path:
        """Write all pieces into a folder, made if needed, and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        for piece in self.pieces:
            content = piece.content
            told = content if isinstance(content, bytes) else content.read_bytes()
            partial = folder / f"{piece.name}.partial"
            partial.write_bytes(told)
            partial.replace(folder / piece.name)
        return folder


def plan_push(
    path: str | Path,
    repo: str,
    *,
    licence: str = "",
    author: str = "",
    data_licence: str = "",
    acknowledge: bool = False,
    private: bool = False,
    notes: str = "",
    half: bool = False,
) -> Plan:
    """Return what publishing a model would send; nothing is sent, and no network is used.

    Args:
        path: A run folder or a model folder.
        repo: `organisation/name` on the Hub.
        licence: What the model is published under; "" for that of the model it was made from, and
            MIT for one made of built-in pictures alone.
        author: Who publishes it; "" for the organisation.
        data_licence: Of pictures whose source says none.
        acknowledge: The publisher answers for works whose licence is not known.
        private: Only the organisation is to see it.
        notes: Markdown for the card's limits.
        half: Store the weights in half precision.

    Raises:
        UsageError: If the licence of a work that the model was made from forbids it, or is not
            known and nobody answers for it; each such work is named.
        DataError: If a file of the folder cannot be read.
    """
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo) or ".." in repo or "--" in repo:
        raise UsageError(
            f"{repo!r} is no name on the Hub", "give organisation/name: letters, digits, . _ and -"
        )
    facts = gather(path)
    shrunk = half and not facts.half
    calibrated = facts.calibrated and not shrunk  # rounded weights are another model
    facts = replace(facts, half=facts.half or half, calibrated=calibrated)
    works = list_works(facts.steps, data_licence)
    if not licence:
        licence = propose_licence(works) if _may_default(facts, works) else ""
        if not licence:
            raise UsageError(
                f"under which licence? {facts.place} does not say",
                _suggest(works) or "--licence MIT lets anyone use it; see docs/publishing.md",
            )
    chosen = choose_licence(licence)
    verdict = judge(chosen, works)
    if verdict.refused:
        raise UsageError("this may not be published: " + "; ".join(verdict.refused), verdict.way_on)
    if verdict.unknown and not acknowledge:
        raise UsageError(
            "licences that are not known: " + "; ".join(verdict.unknown),
            "name that of the pictures by --data-licence; where you have found out that you may "
            "publish, say so by --acknowledge",
        )
    said = Publication(repo, chosen, author, data_licence, notes)
    card = write_model_card(facts, said)
    pieces, left_out = _collect(facts, card, chosen.id, data_licence, shrunk)
    warnings = [f"you answer for what is not known: {one}" for one in verdict.unknown]
    warnings += verdict.warnings
    if not facts.metrics:
        warnings.append("no results lie beside the model: its card can tell none")
    if not author:
        warnings.append(f"--author is not given: the card names {repo.partition('/')[0]}")
    return Plan(repo, private, pieces, card, chosen.id, left_out, tuple(warnings))


def list_works(steps: Sequence[Step], data_licence: str = "") -> list[Work]:
    """Return what a model was made from: pictures by licence, and the models below it.

    Args:
        steps: Its chain, itself first.
        data_licence: Of its own pictures whose source says none.
    """
    works: list[Work] = []
    for depth, step in enumerate(steps):
        if depth and step.kind != "nothing":
            works.append(Work(f"the base model {step.name}", step.terms(), "model"))
        if step.kind != "run":
            continue
        licences = step.data_licences or {"": 0}
        whose = f" of {step.name}" if depth else ""
        for word, count in licences.items():
            said = word or ("" if depth else data_licence)
            many = f"{count:,} training pictures" if count else "the training pictures"
            works.append(Work(f"{many}{whose}", read_licence(said)))
    return works


def _may_default(facts: Facts, works: Sequence[Work]) -> bool:
    """Whether a licence can be taken without asking: drawings, or that of the base."""
    return facts.own.schematic or any(work.kind == "model" for work in works)


def _suggest(works: Sequence[Work]) -> str:
    proposed = propose_licence(works)
    return f"--licence {proposed} would go with what it was made from" if proposed else ""


def _collect(
    facts: Facts, card: str, licence: str, data_licence: str, half: bool
) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """Return the files to send and the names of those that are not."""
    pieces = [_piece(README, card.encode())]
    left_out = []
    for path in sorted(facts.place.iterdir()):
        if path.name == README:
            continue
        if path.name not in FILES or path.is_symlink() or not path.is_file():
            left_out.append(path.name)
        elif path.name == CARD:
            told = {**facts.card, "licence": licence}
            if data_licence and "" in (told.get("data_licences") or {}):
                told["data_licences"] = _name_licence(told["data_licences"], data_licence)
            pieces.append(_json_piece(path.name, told))
        elif path.name == CALIBRATION and not facts.calibrated:
            left_out.append(f"{path.name} (fitted to the weights before they were rounded)")
        elif path.name == CALIBRATION:
            pieces.append(_json_piece(path.name, hide_paths(read_json(path))))
        elif half and path.suffix == ".safetensors":
            pieces.append(_piece(path.name, halve(path)))
        else:
            pieces.append(Piece(path.name, path.stat().st_size, path))
    return tuple(pieces), tuple(left_out)


def _name_licence(counts: dict[str, int], data_licence: str) -> dict[str, int]:
    named = {word: count for word, count in counts.items() if word}
    known = read_licence(data_licence).id
    return {**named, known: named.get(known, 0) + counts[""]}


def halve(path: Path) -> bytes:
    """Return a file of weights in half precision, which takes half the place.

    Raises:
        DataError: If a weight is too large for it.
    """
    import numpy as np
    from safetensors.numpy import load_file, save

    state = {}
    for name, value in load_file(path).items():
        with np.errstate(over="ignore"):
            state[name] = value.astype(np.float16) if value.dtype == np.float32 else value
        if not np.isfinite(state[name]).all():
            raise DataError(
                f"{path}: {name} holds a number that half precision cannot", "leave out --half"
            )
    return bytes(save(state))


def _json_piece(name: str, value: Any) -> Piece:
    return _piece(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _piece(name: str, content: bytes) -> Piece:
    return Piece(name, len(content), content)
