"""From a finished run to its report: which pictures, which errors, which next commands."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from domainclip.data.batches import PictureSet
from domainclip.data.datamodule import PictureData
from domainclip.domains.contract import Domain
from domainclip.evaluation.report import write_report
from domainclip.plot import Example, contact_sheet

from .final import FinalTest, Tested
from .metrics import read_history
from .tokens import CutTexts

_SHEET = 24
_EXAMPLES = 12
_TITLE = 30
"""Characters of a caption below its picture."""


def report_run(
    folder: Path,
    tested: FinalTest,
    data: PictureData,
    domain: Domain,
    environment: dict[str, Any],
    next_commands: Sequence[str],
    *,
    schematic: bool,
    remarks: Sequence[str] = (),
) -> Path:
    """Write `report.html` of a run folder and return its path."""
    main = next((part for part in tested.parts if part.split == "test"), None)
    best: list[Example] = []
    worst: list[Example] = []
    if main is not None:
        right, wrong = main.tally.predictions().best_and_worst(_EXAMPLES)
        best, worst = (_examples(main, data, rows) for rows in (right, wrong))
    return write_report(
        folder,
        title=f"{domain.title}: {folder.name}",
        recipe_yaml=(folder / "recipe.yaml").read_text(encoding="utf-8"),
        environment=environment,
        rows=tested.rows,
        history=read_history(folder / "metrics.jsonl"),
        confusions=[main.tally.confusion(rank) for rank in _shown(main)] if main else [],
        best=best,
        worst=worst,
        sheet=_sheet(data),
        error_distance=main.tally.error_distance() if main else None,
        next_commands=next_commands,
        notice=domain.notice,
        schematic=schematic,
        remarks=remarks,
    )


def say_cut(drawn: CutTexts, said: CutTexts, length: int) -> list[str]:
    """Say how many texts of training and of the tests were longer than the text tower takes."""
    lines = []
    if drawn.cut:
        lines.append(
            f"{drawn.cut:,} of {drawn.texts:,} drawn texts were cut at {length} tokens; "
            "text.parts draws shorter ones, model.context_length may give more room"
        )
    if said.cut:
        lines.append(
            f"{said.cut:,} of {said.texts:,} texts of the tests were cut at {length} tokens"
        )
    return lines


def _shown(part: Tested) -> tuple[str, ...]:
    """Return the coarsest and the finest rank that tell something apart."""
    ranks = part.tally.ranks
    return ranks if len(ranks) < 2 else (ranks[0], ranks[-1])


def _examples(part: Tested, data: PictureData, rows: NDArray[np.int64]) -> list[Example]:
    found, split = part.tally.predictions(), data.splits[part.split]
    if not len(rows):
        return []
    return [
        Example(
            image=image,
            truth=_name(data, int(found.truth[row])),
            names=tuple(_name(data, int(node)) for node in found.nodes[row]),
            scores=tuple(float(score) for score in found.scores[row]),
            right=bool(found.right[row]),
            id=split.ids[row],
        )
        for row, image in zip(rows.tolist(), split.read(rows), strict=True)
    ]


def _sheet(data: PictureData) -> Figure:
    """Return a contact sheet of training pictures, one of each label as far as they go round.

    Without labels they are named by the beginnings of their captions.
    """
    train: PictureSet = data.splits["train"]
    _, first = np.unique(train.nodes, return_index=True)
    first = first if data.labelled else np.arange(len(train))
    rows = np.sort(first[np.linspace(0, len(first) - 1, min(_SHEET, len(first))).astype(int)])
    if data.labelled:
        names = [_name(data, int(node)) for node in train.nodes[rows]]
    else:
        captions = data.reference_captions("train")
        names = [textwrap.shorten(captions[row], _TITLE, placeholder="…") for row in rows]
    return contact_sheet(list(train.read(rows)), names)


def _name(data: PictureData, node: int) -> str:
    return data.tree.name(node, "common") or data.tree.name(node) or ""
