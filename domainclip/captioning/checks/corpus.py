"""Checks over all captions of a generation: the same words for many pictures, poor scores.

One caption cannot tell these, so they come after a run; their verdicts lie beside the parts.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from domainclip.data.captions import VERDICTS, caption_files, find_generation, read_rows
from domainclip.data.images import UnreadableImage
from domainclip.data.samples import Samples
from domainclip.errors import DataError

from .context import Verdict

if TYPE_CHECKING:
    from domainclip.model.clip import DomainClip

COLUMNS = ("sample_id", "outcome", "check", "reason")
MANY = 5
"""Pictures that one caption may fit."""
BATCH = 32
"""Pictures that are scored at a time."""
_WORD = re.compile(r"[^\W_]+")
_ARTICLES = {"a", "an", "the"}


def check_corpus(
    folder: str | Path,
    *,
    samples: Samples | None = None,
    model: DomainClip | None = None,
    quantile: float = 0.05,
    many: int = MANY,
    keep_scores: bool = True,
) -> dict[str, list[Verdict]]:
    """Check all captions of a generation against each other and write the verdicts beside them.

    Args:
        folder: The captions' folder, or `folder@generation`.
        samples: Where the pictures are, for scores.
        model: Scores how well picture and caption go together; None to leave scores out.
        quantile: Share of the lowest scores to reject.
        many: Pictures of different labels from which on an equal caption is flagged.
        keep_scores: Without a model, let what an earlier check said of scores stand.

    Returns:
        The verdicts of captions that did not pass, by sample id.

    Raises:
        DataError: If there are no captions, or the verdicts cannot be written.
    """
    generation = find_generation(folder)[0].folder
    captions = newest_captions(generation)
    found: defaultdict[str, list[Verdict]] = defaultdict(list)
    for one, verdict in find_duplicates(captions, many=many).items():
        found[one].append(verdict)
    if model is not None and samples is not None:
        texts = {one: caption for one, (caption, _) in captions.items()}
        scores = score_captions(model, samples, texts)
        for one, verdict in reject_lowest(scores, quantile).items():
            found[one].append(verdict)
    elif keep_scores:
        for one, verdict in _scored_before(generation).items():
            if one in captions:
                found[one].append(verdict)
    write_verdicts(generation, found)
    return dict(found)


def _scored_before(generation: Path) -> dict[str, Verdict]:
    file = generation / VERDICTS
    found: dict[str, Verdict] = {}
    for batch in read_rows([file] if file.is_file() else [], COLUMNS):
        for one, outcome, check, reason in zip(*batch.values(), strict=True):
            if check == "score":
                found[one] = Verdict(check, outcome, reason)
    return found


def newest_captions(generation: Path) -> dict[str, tuple[str, str]]:
    """Return the newest caption of each sample and its label, rejected ones left out."""
    newest: dict[str, tuple[str, str, str]] = {}
    columns = ("sample_id", "caption", "label", "time")
    for batch in read_rows(caption_files(generation), columns):
        for one, caption, label, time in zip(*batch.values(), strict=True):
            if (time or "") >= newest.get(one, ("",))[0]:
                newest[one] = (time or "", (caption or "").strip(), label or "")
    return {one: (caption, label) for one, (_, caption, label) in newest.items() if caption}


def normalise(text: str) -> str:
    """Return the words of a text in lower case, without articles and punctuation."""
    return " ".join(w for w in _WORD.findall(text.lower()) if w not in _ARTICLES)


def find_duplicates(
    captions: Mapping[str, tuple[str, str]], *, many: int = MANY
) -> dict[str, Verdict]:
    """Flag captions that stand, but for articles and points, on many pictures of several labels.

    Args:
        captions: Sample id -> caption and label.
        many: Pictures from which on they count.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one, (caption, _) in captions.items():
        groups[normalise(caption)].append(one)
    found: dict[str, Verdict] = {}
    for ids in groups.values():
        labels = {captions[one][1] for one in ids}
        if len(ids) >= many and len(labels) > 1:
            reason = f"the same words stand on {len(ids)} pictures of {len(labels)} labels"
            found |= dict.fromkeys(ids, Verdict("duplicate", "flag", reason))
    return found


def score_captions(
    model: DomainClip, samples: Samples, captions: Mapping[str, str]
) -> dict[str, float]:
    """Return the cosine of picture and caption by the caption head, for each sample there is.

    Pictures that cannot be read have no score.
    """
    from domainclip.captioning.scoring import picture_features, text_features

    rows = {one: i for i, one in enumerate(samples.ids)}
    scores: dict[str, float] = {}
    wanted = [one for one in captions if one in rows]
    for start in range(0, len(wanted), BATCH):
        ids = wanted[start : start + BATCH]
        pictures, shown = [], []
        for one in ids:
            try:
                pictures.append(samples.picture(rows[one], model.preprocess.shortest)[0])
            except UnreadableImage:
                continue
            shown.append(one)
        if not shown:
            continue
        images = picture_features(model, pictures)
        texts = text_features(model, [captions[one] for one in shown])
        scores |= dict(zip(shown, (images * texts).sum(dim=-1).tolist(), strict=True))
    return scores


def reject_lowest(
    scores: Mapping[str, float],
    quantile: float,
    outcome: Literal["flag", "reject"] = "reject",
) -> dict[str, Verdict]:
    """Reject, or flag, the captions whose score lies under a quantile of all scores."""
    if not scores or quantile <= 0:
        return {}
    bar = float(np.quantile(np.fromiter(scores.values(), float, len(scores)), quantile))
    return {
        one: Verdict(
            "score", outcome, f"score {score:.3f}, under the {quantile:.0%} quantile {bar:.3f}"
        )
        for one, score in scores.items()
        if score < bar
    }


def write_verdicts(generation: Path, verdicts: Mapping[str, Sequence[Verdict]]) -> Path:
    """Write the verdicts of a generation whole or not at all, in place of earlier ones.

    Raises:
        DataError: If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (one, verdict.outcome, verdict.check, verdict.reason)
        for one, several in sorted(verdicts.items())
        for verdict in several
    ]
    columns = _transposed(rows)
    table = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in COLUMNS]))
    path = generation / VERDICTS
    partial = path.with_name(f".{VERDICTS}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _transposed(rows: Iterable[tuple[str, str, str, str]]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for row in rows:
        for name, value in zip(COLUMNS, row, strict=True):
            columns[name].append(value)
    return columns
