"""The report of a folder of captions: counts and examples with pictures, one page in one file."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from domainclip.data.images import UnreadableImage
from domainclip.data.samples import Samples, open_samples
from domainclip.domains.contract import Domain
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError, DomainclipError

from .audit import OUTCOMES, Audit, Row, TraitCount, count_traits, read_audit, totals

_TEMPLATE = Path(__file__).with_name("report.html")
_WORD = re.compile(r"\w+(?:['’\-]\w+)*")
_FRACTION = re.compile(r"(?<=:\d\d)\.\d+")
"""Of a second, in a time."""
SHORTEST = 0.005
"""Seconds that are told."""
_SHOWN = 12
"""Examples of each outcome."""
_SIDE = 192
"""Longest side of a picture in pixels."""
_LABELS = 40
"""Labels that are listed."""
_SCHEMATIC = (
    "The pictures are schematic: they were drawn by code to show that everything works. "
    "Nothing here tells how good captions of real pictures are."
)
_HEADINGS = {
    "rewritten": "Rewritten: what was taken out is struck through",
    "kept": "Kept as they were written",
    "rejected": "Rejected: left out of training, with the reason",
}


def report(
    folder: str | Path,
    out: str | Path,
    *,
    samples: Samples | None = None,
    price_in: float = 0.0,
    price_out: float = 0.0,
    tell: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Write a page about a folder of captions and return its counts.

    Args:
        folder: The captions' folder, or `folder@generation`.
        out: The page to write.
        samples: The pictures; None to open them again from where the captions say they came.
        price_in: Price of a million tokens read.
        price_out: Price of a million tokens written.
        tell: Called with each line that a person should know, such as a part set aside.

    Raises:
        DataError: If there are no captions, or the page cannot be written.
        UsageError: If there is no such generation.
    """
    audit = read_audit(folder)
    domain = _find_domain(audit)
    if samples is None and domain is not None:
        samples = _open_samples(audit, domain)
    traits: list[TraitCount] = []
    if samples is not None and samples.domain.knowledge is not None:
        from domainclip.knowledge.lexicon import Lexicon

        traits = count_traits(audit, samples, Lexicon(samples.domain.knowledge.words()))
    told = audit.summary(traits)
    if price_in or price_out:
        cost = told["tokens read"] * price_in + told["tokens written"] * price_out
        told["cost"] = round(cost / 1e6, 2)
    page = _page(audit, told, traits, samples, domain)
    path = Path(out)
    partial = path.with_suffix(f"{path.suffix}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    if tell is not None:
        for message in audit.messages:
            tell(message)
    return told


def strike(written: str, stored: str) -> str:
    """Return a written caption as HTML, the words that the stored one lacks struck through."""
    text = " ".join(written.split())
    words = list(_WORD.finditer(text))
    theirs = [word.lower() for word in _WORD.findall(stored)]
    match = SequenceMatcher(None, [m.group().lower() for m in words], theirs, autojunk=False)
    parts, end = [], 0
    for kind, first, last, _, _ in match.get_opcodes():
        if kind in ("delete", "replace"):
            start, stop = words[first].start(), words[last - 1].end()
            parts += [escape(text[end:start]), f"<del>{escape(text[start:stop])}</del>"]
            end = stop
    return "".join([*parts, escape(text[end:])])


def pick(rows: Sequence[Row], count: int = _SHOWN) -> list[Row]:
    """Pick examples that differ: each label and each verdict comes once before any comes again."""
    order = sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    seen: Counter[str] = Counter()
    picked: list[Row] = []
    left = order[:2000]
    while left and len(picked) < count:
        best = min(range(len(left)), key=lambda i: sum(seen[k] for k in _kinds(left[i])))
        row = left.pop(best)
        seen.update(_kinds(row))
        picked.append(row)
    return picked


def _kinds(row: Row) -> set[str]:
    return {row.label, *(note["check"] for note in row.notes if note["outcome"] != "flag")}


def _find_domain(audit: Audit) -> Domain | None:
    try:
        return get_domain(str(audit.generation.made_of.get("domain", "")))
    except DomainclipError:
        return None


def _open_samples(audit: Audit, domain: Domain) -> Samples | None:
    """Open the pictures where they were read from; None where they are no longer there."""
    for data in reversed(audit.generation.about.get("data") or []):
        try:
            return open_samples(
                domain,
                str(data.get("source", "builtin")),
                columns=data.get("columns") or None,
                seed=int(data.get("seed") or 0),
            )
        except (DomainclipError, OSError, ValueError) as error:
            audit.messages.append(f"no pictures: {error}")
    return None


def _page(
    audit: Audit,
    told: Mapping[str, Any],
    traits: Sequence[TraitCount],
    samples: Samples | None,
    domain: Domain | None,
) -> str:
    made = audit.generation.made_of
    builtin = samples is not None and samples.source == "builtin"
    notices = [domain.notice if domain else "", _SCHEMATIC if builtin else "", *audit.messages]
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in audit.rows:
        rows[row.outcome].append(row)
    show = _pictures(samples)
    sections = [
        _verdicts(audit),
        _truth(traits),
        *(_examples(rows[name], heading, show) for name, heading in _HEADINGS.items()),
        _lengths(audit),
        _labels(audit),
        _made(audit, told),
    ]
    by = " ".join(str(made[key]) for key in ("captioner", "model") if made.get(key))
    if made.get("captioner") == "bank":
        by = f"the bank ({made['model']})" if made.get("model") else "the bank"
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"Captions by {by}" if by else f"Captions of {audit.generation.name}"),
        notices="\n".join(f'<p class="notice">{escape(text)}</p>' for text in notices if text),
        tiles=_tiles(audit, traits),
        body="\n".join(section for section in sections if section),
    )


def _tiles(audit: Audit, traits: Sequence[TraitCount]) -> str:
    """Say the main counts large, and the outcomes as one bar."""
    total = max(1, len(audit.rows))
    tiles = [(f"{len(audit.rows):,}", "captions")]
    tiles += [(f"{audit.outcomes[name] / total:.1%}", name) for name in OUTCOMES]
    for count in totals(traits)[:1]:
        if count.precision is not None and count.precision_written is not None:
            said = f"trait precision, {count.precision_written:.1%} as written"
            tiles.append((f"{count.precision:.1%}", said))
    boxes = "".join(
        f'<div class="tile"><b>{escape(number)}</b><span>{escape(said)}</span></div>'
        for number, said in tiles
    )
    bar = "".join(
        f'<i class="{name}" style="width:{100 * audit.outcomes[name] / total:.2f}%"'
        f' title="{name}: {audit.outcomes[name]:,}"></i>'
        for name in OUTCOMES
    )
    return f'<div class="tiles">{boxes}</div><div class="split">{bar}</div>'


def _verdicts(audit: Audit) -> str:
    heads = ("flag", "drop-claim", "reject")
    if not audit.checks:
        return "<h2>Verdicts</h2><p>No check has anything to say.</p>"
    lines = [
        [check, *(f"{counts[name]:,}" if counts[name] else "" for name in heads)]
        for check, counts in audit.checks.items()
    ]
    note = (
        "Captions by check and outcome. Flagged ones are kept; of others a claim was dropped and "
        "the caption rewritten from the rest; rejected ones are left out of training."
    )
    table = _table(["check", "flagged", "claims dropped", "rejected"], lines)
    return f'<h2>Verdicts</h2>{table}<p class="soft">{note}</p>'


def _truth(traits: Sequence[TraitCount]) -> str:
    """Say how true the captions are, trait by trait."""
    if not any(count.stored or count.written for count in traits):
        return ""
    lines = []
    for count in [*totals(traits), *traits]:
        kind = "label" if count.shared else "individual"
        lines.append(
            [
                count.trait,
                "" if count.trait.startswith("traits of") else kind,
                _share(count.precision_written),
                _share(count.precision),
                _share(count.recall),
                f"{count.stored:,}",
            ]
        )
    note = (
        "Precision: share of the claims that are true of the picture, as they were written and "
        "after the checks. Recall: share of the pictures of which the caption says the trait "
        "rightly. No knowledge of a label can check traits of the individual."
    )
    heads = ["trait", "of the", "precision as written", "precision", "recall", "claims"]
    return f'<h2>Against the truth</h2>{_table(heads, lines, 2)}<p class="soft">{note}</p>'


def _examples(rows: Sequence[Row], heading: str, show: Callable[[str], str]) -> str:
    if not rows:
        return ""
    cards = []
    for row in pick(rows):
        notes = "".join(
            f'<li class="{escape(note["outcome"])}"><b>{escape(note["check"])}</b> '
            f"{escape(note['reason'])}</li>"
            for note in row.notes
        )
        if row.outcome == "rewritten":
            said = f"<p>{strike(row.written, row.caption)}</p><p><b>{escape(row.caption)}</b></p>"
        elif row.outcome == "rejected":
            said = f'<p class="wrong">{escape(row.written) or "(nothing)"}</p>'
        else:
            said = f"<p><b>{escape(row.caption)}</b></p>"
        cards.append(
            f'<article>{show(row.id)}<div><div class="soft">{escape(row.name)} · '
            f"{escape(row.id)}</div>{said}<ul>{notes}</ul></div></article>"
        )
    more = f"{len(cards)} of {len(rows):,}"
    title = f'{escape(heading)} <span class="soft">{more}</span>'
    return f'<h2>{title}</h2><div class="cards">{"".join(cards)}</div>'


def _lengths(audit: Audit) -> str:
    """Draw how many captions have how many words, and count tokens."""
    if not audit.words:
        return ""
    width = max(1, -(-max(audit.words) // 24))
    bins = Counter(words // width for words in audit.words)
    top = max(bins.values())
    bars = []
    for i in range(max(bins) + 1):
        height = 100 * bins[i] / top
        last = (i + 1) * width - 1
        span = f"{i * width}" if width == 1 else f"{i * width}–{last}"
        bars.append(f'<i style="height:{height:.1f}%" title="{span} words: {bins[i]:,}"></i>')
    labels = f"<span>0</span><span>{(max(bins) + 1) * width - 1} words</span>"
    return (
        f'<h2>Lengths</h2><div class="bars">{"".join(bars)}</div><div class="axis">{labels}</div>'
    )


def _labels(audit: Audit) -> str:
    shown = list(audit.labels.items())[:_LABELS]
    lines = [
        [
            label,
            f"{counts.total():,}",
            *(f"{counts[name]:,}" if counts[name] else "" for name in OUTCOMES),
        ]
        for label, counts in shown
    ]
    more = len(audit.labels) - len(shown)
    note = f'<p class="soft">{more:,} more labels.</p>' if more else ""
    table = _table(["label", "captions", *OUTCOMES], lines)
    return (
        f"<h2>Labels</h2><details><summary>{len(audit.labels):,} labels, those with most "
        f"rejected first</summary>{table}{note}</details>"
    )


def _made(audit: Audit, told: Mapping[str, Any]) -> str:
    about = audit.generation.about
    facts = dict(audit.generation.made_of)
    if isinstance(facts.get("settings"), Mapping):  # the bank's choice is its model's name
        settings = facts["settings"].items()
        facts["settings"] = {k: v for k, v in settings if (k, v) != ("choice", facts.get("model"))}
    last = str(about.get("last_run") or "")
    facts |= {"generation": audit.generation.name, "last run": _FRACTION.sub("", last)}
    facts |= {key: told[key] for key in ("tokens read", "tokens written", "cost") if told.get(key)}
    seconds = sorted(row.seconds for row in audit.rows if row.seconds)
    if seconds and seconds[len(seconds) // 2] >= SHORTEST:
        facts["seconds a caption"] = f"{seconds[len(seconds) // 2]:.2f} (median)"
    said = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(_plain(value))}</dd>"
        for key, value in facts.items()
        if value not in ("", None, {})
    )
    return f"<h2>How they were made</h2><dl>{said}</dl>"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a table of which the first columns are texts and the others numbers."""

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = ("" if i < texts else ' class="number"' for i in range(len(cells)))
        inner = zip(cells, kinds, strict=True)
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in inner)

    body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in lines)
    head = row(heads, "th")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _pictures(samples: Samples | None) -> Callable[[str], str]:
    """Return what makes the HTML of a sample's picture: a small JPEG within the page."""
    places = {one: i for i, one in enumerate(samples.ids)} if samples is not None else {}

    def show(one: str) -> str:
        if samples is None or one not in places:
            return '<div class="none">no picture</div>'
        try:
            picture = samples.picture(places[one], _SIDE)[0].convert("RGB")
        except UnreadableImage:
            return '<div class="none">unreadable</div>'
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=82)
        coded = base64.b64encode(data.getvalue()).decode()
        return f'<img alt="{escape(one)}" src="data:image/jpeg;base64,{coded}">'

    return show
