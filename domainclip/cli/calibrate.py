"""`domainclip calibrate`: make the probabilities of a model mean what they say."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from domainclip.errors import UsageError

from . import output
from .computing import batch_size_option, device_option
from .framework import Command, option
from .looking import open_as_trained, tell_samples
from .output import Output, format_options
from .predict import open_classifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from domainclip.data.samples import Samples
    from domainclip.inference.classify import ZeroShotClassifier


@click.command(
    "calibrate",
    cls=Command,
    short_help="Make the probabilities of a model mean what they say.",
    help="Make the probabilities of a model mean what they say.\n\nFitted to pictures whose labels "
    "are known, best to some that the model was not trained on. It holds for one choice of labels: "
    "give the same options to `domainclip predict`.",
    examples=(
        "domainclip calibrate --model runs/first --data photos/",
        "domainclip calibrate --model runs/first --data photos/ --within Insecta --picture r.png",
    ),
)
@option("Options", "--model", required=True, metavar="RUN|FOLDER|NAME",
        help="The trained model, or one of the zoo; what is fitted is kept with it.")  # fmt: skip
@option("Pictures", "--data", default="builtin", show_default=True, metavar="SOURCE",
        help="`builtin`, a folder, a table, shards, or a Hub id.")  # fmt: skip
@option("Pictures", "--split", default="val", show_default=True,
        help="The split to fit to.")  # fmt: skip
@option("Pictures", "--limit", type=click.IntRange(0), default=0, show_default=True, metavar="N",
        help="Pictures at most; 0 for all.")  # fmt: skip
@option("Labels", "--domain", metavar="NAME", help="Choose from the labels of this domain.")
@option("Labels", "--cls", "classes", metavar="LIST|FILE", help="Choose from these labels.")
@option("Labels", "--within", multiple=True, metavar="NAME",
        help="Choose only from labels under this name at any rank.")  # fmt: skip
@option("Labels", "--subset", metavar="FILE",
        help="Choose only from labels under the names of a list.")  # fmt: skip
@option("Labels", "--descriptions", metavar="FILE|knowledge",
        help="Say labels by descriptions beside their names.")  # fmt: skip
@batch_size_option()
@device_option()
@option("Output", "--picture", metavar="FILE", help="Draw what was said against what was right.")
@format_options
def command(
    out: Output,
    model: str,
    data: str,
    split: str,
    limit: int,
    picture: str | None,
    **asked: Any,
) -> None:
    """Print how honest probabilities were before and after, by rank."""
    asked |= {"bins": None, "precision": "float32", "coarse_to_fine": False, "uncalibrated": True,
              "prior": None, "given": (), "prior_strength": 1.0}  # fmt: skip
    quiet = out.quiet
    classifier = open_classifier(model, asked, progress=not quiet and sys.stderr.isatty())
    samples = open_data(classifier, data, split, limit)
    if not quiet:
        tell_samples(samples)
    vectors, truth, unreadable = look(classifier, samples, quiet=quiet)
    outcome = classifier.calibrate(vectors, truth, source=f"{data}, {split}")
    _tell(out, outcome, model)
    fitted = outcome.calibration
    if fitted.shown < fitted.choices:
        output.warning(
            f"the pictures show {fitted.shown} of {fitted.choices} labels: what was fitted may not "
            "hold for the others"
        )
    if picture:
        from domainclip.inference.calibration.picture import draw_reliability

        draw_reliability(outcome.before, outcome.after).savefig(picture, dpi=150)
        output.note(f"written to {picture}")
    for name, reason in unreadable:
        output.warning(f"{name}: {reason}")
    if unreadable:
        output.error(f"{output.counted(len(unreadable), 'picture')} could not be read")
        sys.exit(1)


def open_data(classifier: ZeroShotClassifier, data: str, split: str, limit: int) -> Samples:
    """Open one split of the data, as the model was trained under.

    Raises:
        UsageError: If the model does not say its field.
    """
    from domainclip.domains.registry import get_domain

    name = classifier.encoder.card.get("domain")
    if not name:
        raise UsageError("the model does not say its field", "calibrate it in Python")
    field = get_domain(str(name))
    return open_as_trained(classifier.encoder, field, data, splits=[split], limit=limit)


def look(
    classifier: ZeroShotClassifier, samples: Samples, *, quiet: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[tuple[str, str]]]:
    """Return the vectors of pictures with a label to choose from, their truth, and the unreadable.

    Raises:
        DataError: If no picture has a label to choose from.
    """
    import numpy as np

    from domainclip.inference.fewshot.sampled import SamplePictures
    from domainclip.inference.labelled import find_labelled

    rows, truth = find_labelled(classifier.candidates_, samples)
    if len(rows) < len(samples) and not quiet:
        left = output.counted(len(samples) - len(rows), "picture")
        output.warning(f"{left} of other labels than those to choose from, left out")
    pictures = SamplePictures(classifier.encoder, samples, rows)
    title = "" if quiet else "pictures"
    vectors, good = pictures.encode(np.arange(len(rows)), classifier.head_, title)
    return vectors, truth[good], pictures.unreadable


def _tell(out: Output, outcome: Any, model: str) -> None:
    calibration = outcome.calibration
    ranks = [
        {"rank": one.rank, "pictures": one.pictures, "right": one.right, "said": one.said_before,
         "error": one.error_before, "said_after": one.said, "error_after": one.error,
         "by_chance": one.floor}
        for one in calibration.ranks
    ]  # fmt: skip
    backoff = [
        {"confidence": one.level, "wrong": one.risk, "answered": one.coverage,
         "mean_ranks": one.depth, "assured": one.assured}
        for one in calibration.backoff
    ]  # fmt: skip
    if out.style == "json":
        out.value(calibration.as_dict())
    elif out.quiet:
        out.line(model)
    else:
        out.tables({"probabilities before and after": ranks, "backing off": backoff})
        sure = [one.level for one in calibration.backoff if one.assured]
        held = f" --confidence {max(sure):g}" if sure else ""
        if not sure:
            output.warning("no confidence can be assured: more pictures, or a better model")
        output.hint(f"domainclip predict photos/ --model {shlex.quote(model)}{held}")
