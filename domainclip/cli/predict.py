"""`domainclip predict`: name what pictures show."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError

from . import output
from .framework import Command, Option
from .output import Output, Style, format_options, open_output

if TYPE_CHECKING:
    from domainclip.domains.labels import LabelTree

DEVICES = ("auto", "cpu", "cuda", "mps")
PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".jp2")
"""Files of a folder that are taken for pictures; a file that is named itself is always taken."""


@click.command(
    "predict",
    cls=Command,
    help="Name what pictures show, with a trained model.",
    examples=(
        "domainclip predict photos/ --model runs/first --k 3",
        'domainclip predict a.jpg b.jpg --model runs/first --cls "cat,dog" --json',
    ),
)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER...")
@click.option("--model", required=True, cls=Option, metavar="RUN|FOLDER", help="The trained model.")
@click.option("--rank", cls=Option, help="Name pictures at this rank of the labels.")
@click.option(
    "--cls",
    "classes",
    cls=Option,
    metavar="LIST|FILE",
    help="Choose from these labels: a list with commas, a file of one a line, or a CSV of ranks.",
)
@click.option("--domain", cls=Option, metavar="NAME", help="Choose from the labels of this domain.")
@click.option("--k", type=click.IntRange(1), default=5, show_default=True, cls=Option,
              help="How many names for each picture.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, cls=Option,
              help="Pictures per forward pass.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, cls=Option,
              type=click.Choice(DEVICES), help="Where to compute.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(["table", "csv", "json"]), cls=Option,
              section="Output", help="The format, as --json and --csv.")  # fmt: skip
@click.option("--output", "file", cls=Option, section="Output", metavar="FILE",
              help="Write to a file, in the format of its ending.")  # fmt: skip
@format_options
def command(
    out: Output,
    images: tuple[str, ...],
    model: str,
    rank: str | None,
    classes: str | None,
    domain: str | None,
    k: int,
    batch_size: int,
    device: str,
    format_: Style | None,
    file: str | None,
) -> None:
    """Print the best names of each picture as they come."""
    if classes and domain:
        raise UsageError("--cls and --domain both say what to choose from", "give one of them")
    paths = list(find_pictures(images))
    if not paths:
        raise UsageError(f"no picture in {', '.join(images)}", "name files, or folders of pictures")
    labels = read_classes(classes) if classes else _labels_of(domain)
    from domainclip.inference.classify import ZeroShotClassifier

    classifier = ZeroShotClassifier(model, device=device, batch_size=batch_size).fit(labels)
    with _destination(out, format_, file) as target:
        rows = classifier.predict_rows(_watched(paths, target), rank=rank, k=k)
        if target.quiet:
            told = len(paths) > 1 or k > 1
            rows = ({"name": _name(row, with_file=told)} for row in rows)
        target.rows(rows)
    notice = getattr(classifier, "notice_", "")
    if notice and not out.quiet:
        output.note(notice)
    for path, reason in classifier.unreadable_:
        output.warning(f"{path}: {reason}" if path not in reason else reason)
    if classifier.unreadable_:
        left_out = len(classifier.unreadable_)
        output.error(f"{left_out} of {output.counted(len(paths), 'picture')} could not be read")
        sys.exit(1)


def find_pictures(names: Sequence[str]) -> Iterator[str]:
    """Yield files as they are named, and the pictures of folders; `-` reads names from stdin."""
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        elif path.is_dir():
            for found in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
                if found.suffix.lower() in PICTURES and not hidden and found.is_file():
                    yield str(found)
        else:
            yield name


def read_classes(text: str) -> list[str] | LabelTree:
    """Return the labels of `--cls`: a CSV or TSV of ranks, a file of one label a line, or a list.

    Raises:
        UsageError: If there is no label in it.
    """
    path = Path(text).expanduser()
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        from domainclip.domains.labels import LabelTree

        return LabelTree.from_csv(path)
    if path.is_file():
        names = path.read_text(encoding="utf-8-sig").splitlines()
    else:
        names = next(csv.reader([text], skipinitialspace=True), [])
    labels = [name.strip() for name in names if name.strip()]
    if not labels:
        raise UsageError(f"--cls {text}: no label", 'give a list such as "cat,dog", or a file')
    if len(labels) == 1 and not path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        raise UsageError(f"--cls {text}: no such file", "give a list with commas, or a file")
    return labels


def _labels_of(domain: str | None) -> LabelTree | None:
    return None if domain is None else get_domain(domain).labels()


def _watched(paths: list[str], target: Output) -> Iterable[str]:
    """Show progress on stderr, unless rows on the same terminal show it already."""
    if target.quiet or target.stream.isatty() or not sys.stderr.isatty():
        return paths
    from tqdm import tqdm

    return tqdm(paths, unit=" pictures", dynamic_ncols=True)


def _name(row: Mapping[str, Any], *, with_file: bool) -> str:
    """Return the deepest name of a row, after its file and a tab where several could be meant."""
    names = [str(v) for k, v in row.items() if k not in ("file_name", "common_name", "score")]
    name = next((name for name in reversed(names) if name), "")
    return f"{row['file_name']}\t{name}" if with_file else name


@contextlib.contextmanager
def _destination(out: Output, style: Style | None, file: str | None) -> Iterator[Output]:
    """Yield where rows go: stdout, or a file in the format asked for or of its ending."""
    if file is None:
        yield Output(style) if style else out
        return
    ending = Path(file).suffix.lower().removeprefix(".")
    by_name: Style = "json" if ending == "json" else "csv"
    asked = out.style if out.asked else None
    with open_output(file) as stream:
        yield Output(style or asked or by_name, stream)
    if not out.quiet:
        output.note(f"written to {file}")
