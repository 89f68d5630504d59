"""`domainclip predict`: name what pictures show."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError

from . import output
from .choosing import read_bins, read_classes, read_descriptions, read_pairs
from .computing import batch_size_option, device_option, precision_option
from .framework import Command, option
from .looking import find_named, finish, interrupted, watched
from .output import Output, Style, format_options
from .record import Record
from .results import Results

if TYPE_CHECKING:
    from domainclip.inference.answering import Classifier
    from domainclip.inference.classify import ZeroShotClassifier

CERTAINTY = ("confidence", "error", "rejection")
ALIKE = ("bins", "coarse_to_fine", "precision", *CERTAINTY, "uncalibrated", "prior", "given",
         "prior_strength")  # fmt: skip
"""Options that rows depend on, beside model and labels."""


@click.command(
    "predict",
    cls=Command,
    help="Name what pictures show, with a trained model.",
    examples=(
        "domainclip predict photos/ --model runs/first --k 3",
        'domainclip predict a.jpg b.jpg --model runs/first --cls "cat,dog" --json',
        "domainclip predict photos/ --model runs/first --rank family --within Insecta",
        "domainclip predict crops.csv --model runs/first --rank all --output names.csv",
    ),
)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER|LIST...")
@option("Options", "--model", metavar="RUN|FOLDER|NAME",
        help="The trained model, or one of the zoo.")  # fmt: skip
@option("Options", "--classifier", "fewshot", metavar="FOLDER",
        help="A classifier of `domainclip fewshot`, with its own labels; the model is then the one "
        "that it was made with.")  # fmt: skip
@option("Options", "--rank",
        help="Name pictures at this rank of the labels; all for every rank.")  # fmt: skip
@option("Options", "--k", type=click.IntRange(1),
        help="How many names for each picture.  [default: 5; of --cls and --bins all]")  # fmt: skip
@option("Options", "--coarse-to-fine", is_flag=True,
        help="Choose the coarsest rank first and stay within it.")  # fmt: skip
@option("Certainty", "--confidence", type=click.FloatRange(0, 1, max_open=True), metavar="X",
        help="One name a picture, at the deepest rank at which answers are right as often as "
        "this.")  # fmt: skip
@option("Certainty", "--sets", "error", type=click.FloatRange(0, 1), metavar="X",
        help="All names that are probable enough for the true one to be missed no more often than "
        "this.")  # fmt: skip
@option("Certainty", "--reject", "rejection", type=click.FloatRange(0, 1), metavar="X",
        help="No name where a picture seems to show none of the labels; so often it may where it "
        "does.")  # fmt: skip
@option("Certainty", "--uncalibrated", is_flag=True,
        help="Leave out the calibration that the model has for these labels.")  # fmt: skip
@option("Certainty", "--prior", metavar="CSV",
        help="Weights of labels, known before the picture is seen: names, a column `weight`, and "
        "others for conditions, such as month.")  # fmt: skip
@option("Certainty", "--given", multiple=True, metavar="NAME=VALUE",
        help="What holds of the conditions of --prior; may be repeated.")  # fmt: skip
@option("Certainty", "--prior-strength", type=click.FloatRange(0), default=1.0, metavar="X",
        show_default=True, help="0 for no effect, 1 for Bayes' rule.")  # fmt: skip
@option("Labels", "--domain", metavar="NAME", help="Choose from the labels of this domain.")
@option("Labels", "--cls", "classes", metavar="LIST|FILE",
        help="Choose from these labels: a list with commas, a file of one a line, a CSV of ranks, "
        "or JSON of label -> sentences that say it.")  # fmt: skip
@option("Labels", "--bins", metavar="CSV",
        help="Choose from the labels of the first column, and name the bins of the "
        "second.")  # fmt: skip
@option("Labels", "--within", multiple=True, metavar="NAME",
        help="Choose only from labels under this name at any rank; may be repeated.")  # fmt: skip
@option("Labels", "--subset", metavar="FILE",
        help="Choose only from labels under the names of a list, such as that of a region: one a "
        "line, or the first column of a CSV.")  # fmt: skip
@option("Labels", "--descriptions", metavar="FILE|knowledge",
        help="Say labels by descriptions beside their names: JSON of label -> sentences, a CSV of "
        "both, or what `domainclip knowledge` gathered.")  # fmt: skip
@batch_size_option()
@device_option()
@precision_option()
@option("Output", "--format", "format_", type=click.Choice(["table", "csv", "json"]),
        help="The format, as --json and --csv.")  # fmt: skip
@option("Output", "--output", "file", metavar="FILE",
        help="Write to a file, in the format of its ending; a CSV that a stopped run has begun is "
        "gone on with.")  # fmt: skip
@option("Output", "--log", metavar="FILE",
        help="Write what was asked and with which model: JSON for .json, else text that is "
        "appended.")  # fmt: skip
@format_options
def command(
    out: Output,
    images: tuple[str, ...],
    model: str | None,
    fewshot: str | None,
    rank: str | None,
    k: int | None,
    format_: Style | None,
    file: str | None,
    log: str | None,
    **asked: Any,
) -> None:
    """Print the best names of each picture as they come."""
    if not (model or fewshot):
        raise click.UsageError("Missing option '--model', or '--classifier'.")
    chosen = [name for name in ("domain", "classes", "bins") if asked[name] is not None]
    if len(chosen) > 1:
        said = " and ".join({"classes": "--cls"}.get(name, f"--{name}") for name in chosen)
        raise UsageError(f"{said} both say what to choose from", "give one of them")
    from domainclip.inference.rows import shorten, tell_name

    record = Record(log) if log else None
    pictures = find_named(images)
    progress = not out.quiet and sys.stderr.isatty()
    classifier: Classifier
    if fewshot:
        classifier = open_fewshot(fewshot, model, asked)
    else:
        classifier = open_classifier(str(model), asked, progress=progress)
    if k is None:
        k = len(classifier.names()) if asked["classes"] or asked["bins"] else 5
    settings = {
        "model": classifier.encoder.digest, "labels": classifier.candidates_.digest,
        "classifier": fewshot, "rank": rank, "k": k, **{key: asked[key] for key in ALIKE},
    }  # fmt: skip
    results = Results(out, format_, file, settings)
    rows = classifier.predict_rows(
        _watched(_left(pictures, results), results), rank=rank, k=k,
        **{key: asked[key] for key in CERTAINTY},
    )  # fmt: skip
    if results.style == "quiet":
        told = len(pictures) > 1 or k > 1
        rows = ({"name": tell_name(row, with_file=told)} for row in rows)
    try:
        count = results.write(rows, shorten)
    except KeyboardInterrupt:
        if results.note is None:  # there is nothing to go on with
            raise
        interrupted()
    if not out.quiet:
        for line in (*classifier.promises_, classifier.notice_):
            if line:
                output.note(line)
    if record:
        record.write({
            "model": classifier.encoder.name, "classifier": fewshot,
            "digest": classifier.encoder.digest, "rank": rank, "k": k, **asked,
            "labels": len(classifier.candidates_), "labels_digest": classifier.candidates_.digest,
            "pictures": len(pictures), "rows": count, "unreadable": classifier.unreadable_,
            "output": file,
        })  # fmt: skip
    finish(classifier.unreadable_, len(pictures))


def open_fewshot(folder: str, model: str | None, asked: Mapping[str, Any]) -> Classifier:
    """Return a classifier as it was saved.

    Raises:
        UsageError: If something is asked of labels, which it brings along.
    """
    from domainclip.inference.fewshot.classifier import FewShotClassifier

    also = [f"--{key}" for key in ("domain", "bins", "within", "subset", "descriptions", "prior")
            if asked[key]]  # fmt: skip
    also += ["--cls"] * (asked["classes"] is not None)
    if also:
        raise UsageError(
            f"the classifier {folder} has its own labels", f"leave out {', '.join(also)}"
        )
    found = FewShotClassifier.load(
        folder, model, device=asked["device"], batch_size=asked["batch_size"]
    )
    found.encoder.precision, found.coarse_to_fine = asked["precision"], asked["coarse_to_fine"]
    return found


def open_classifier(model: str, asked: Mapping[str, Any], *, progress: bool) -> ZeroShotClassifier:
    """Return the classifier that the options of a command ask for, fitted to its labels."""
    from domainclip.inference.classify import ZeroShotClassifier
    from domainclip.inference.narrowing import read_list, say_unknown
    from domainclip.zoo.resolving import whole_name

    labels: Any = None
    if asked["classes"] is not None:
        labels = read_classes(asked["classes"])
    elif asked["domain"] is not None:
        labels = get_domain(asked["domain"]).labels()
    subset = read_list(asked["subset"]) if asked["subset"] else None
    descriptions = read_descriptions(asked["descriptions"]) if asked["descriptions"] else None
    classifier = ZeroShotClassifier(
        whole_name(model, asked["domain"] or ""), device=asked["device"],
        batch_size=asked["batch_size"], precision=asked["precision"],
        coarse_to_fine=asked["coarse_to_fine"], calibrated=not asked["uncalibrated"],
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        classifier.fit(
            labels,
            bins=read_bins(asked["bins"]) if asked["bins"] else None,
            within=asked["within"],
            subset=subset,
            descriptions=descriptions,
            progress=progress,
        )
    for one in warned:
        output.warning(str(one.message))
    if classifier.unknown_ and subset and classifier.candidates_.tree is not None:
        tree = classifier.candidates_.tree
        output.warning(
            f"{subset.source}: {len(classifier.unknown_)} of "
            f"{output.counted(len(subset.names), 'name')} {say_unknown(tree, classifier.unknown_)}"
        )
    if asked["prior"]:
        unknown = classifier.use_prior(
            asked["prior"], read_pairs("--given", asked["given"]), strength=asked["prior_strength"]
        )
        if unknown:
            output.warning(
                f"{asked['prior']}: {output.counted(len(unknown), 'name')} of no label to choose "
                f"from, such as {unknown[0]!r}"
            )
    elif asked["given"]:
        raise UsageError("--given says what holds of a prior, and there is none", "give --prior")
    return classifier


def _left(pictures: list[Any], results: Results) -> list[Any]:
    """Return the pictures that a file has no rows of yet."""
    if not results.done:
        return pictures
    from domainclip.inference.rows import tell_picture

    return [p for i, p in enumerate(pictures) if not results.is_done(tell_picture(p, i))]


def _watched(pictures: list[Any], results: Results) -> Iterable[Any]:
    """Show progress on stderr, unless rows on the same terminal show it already."""
    shown = results.file is None and results.out.stream.isatty()
    return pictures if results.style == "quiet" or shown else watched(pictures, "pictures")
