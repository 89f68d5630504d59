"""`domainclip fewshot`: make a classifier from a few labelled pictures of each label."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError

from . import output
from .choosing import read_columns
from .computing import batch_size_option, device_option
from .framework import Command, option
from .looking import interrupted, open_as_trained, tell_samples
from .output import Output, format_options

if TYPE_CHECKING:
    from domainclip.data.samples import Samples
    from domainclip.domains.contract import Domain
    from domainclip.inference.fewshot.classifier import FewShotClassifier
    from domainclip.inference.fewshot.sampled import SamplePictures

LISTED = 20
"""Pictures that cannot be read and are named; the rest are counted."""
BOOTSTRAP = 1000
"""Resamples behind the interval of a test."""


@click.command(
    "fewshot",
    cls=Command,
    short_help="Make a classifier from a few labelled pictures of each label.",
    help="Make a classifier from a few labelled pictures of each label.\n\nEvery method that the "
    "data allows is tried on validation pictures, and the best one is kept; test pictures are "
    "never looked at but for --test. Stopped, the same command goes on where it was.",
    examples=(
        "domainclip fewshot --model runs/first --data photos/ --shots 5 --out my-fewshot",
        "domainclip fewshot --model runs/first --method centroid --out my-fewshot --test",
    ),
)
@option("Pictures", "--data", default="builtin", show_default=True, metavar="SOURCE",
        help="`builtin`, a folder, a table, shards, or a Hub id.")  # fmt: skip
@option("Pictures", "--domain", metavar="NAME", help="The field.  [default: the model's]")
@option("Pictures", "--columns", default="", metavar="A=B,...",
        help="Which column plays which part, where the guess is wrong.")  # fmt: skip
@option("Pictures", "--captions", multiple=True, metavar="FOLDER",
        help="Captions that `domainclip caption` wrote, for caps; may be repeated.")  # fmt: skip
@option("Pictures", "--shots", type=click.IntRange(0), default=0, show_default=True, metavar="N",
        help="Training pictures of each label to learn from; 0 for all.")  # fmt: skip
@option("Pictures", "--seed", type=click.IntRange(0), default=0, show_default=True,
        help="Seed of what is drawn of them.")  # fmt: skip
@option("Classifier", "--model", required=True, metavar="RUN|FOLDER|NAME",
        help="The trained model, or one of the zoo.")  # fmt: skip
@option("Classifier", "--method", default="auto", show_default=True, metavar="NAME",
        help="centroid, tip, caps, logistic or tip-trained; auto tries them all.")  # fmt: skip
@option("Classifier", "--out", "folder", required=True, metavar="FOLDER",
        help="Where the classifier is kept.")  # fmt: skip
@option("Classifier", "--test", is_flag=True,
        help="Say how many test pictures the chosen one names rightly.")  # fmt: skip
@batch_size_option("Classifier")
@device_option("Classifier")
@format_options
def command(
    out: Output,
    data: str,
    domain: str | None,
    columns: str,
    captions: tuple[str, ...],
    shots: int,
    seed: int,
    model: str,
    method: str,
    folder: str,
    test: bool,
    batch_size: int,
    device: str,
) -> None:
    """Print what each method gave on validation, and save the best."""
    given = read_columns(columns)
    from domainclip.inference.fewshot.choosing import list_wanted
    from domainclip.inference.fewshot.classifier import FewShotClassifier
    from domainclip.inference.fewshot.saved import check_folder
    from domainclip.zoo.resolving import whole_name

    list_wanted(method)
    check_folder(folder)
    classifier = FewShotClassifier(
        whole_name(model, domain or ""), method=method, shots=shots, seed=seed, device=device,
        batch_size=batch_size,
    )  # fmt: skip
    field = _find_domain(domain, classifier)
    samples = open_as_trained(classifier.encoder, field, data, columns=given)
    if not out.quiet:
        tell_samples(samples)
    parts = _split(classifier, samples, captions, quiet=out.quiet)
    if test and "test" not in parts:
        raise UsageError(f"{data} has no test pictures", "leave out --test")
    try:
        pictures, nodes = parts["train"]
        classifier.fit(pictures, nodes, parts.get("val"), tree=samples.tree, progress=not out.quiet)
        classifier.save(folder)
        unreadable = [*samples.unreadable, *classifier.unreadable_]
        scores = _test(classifier, samples, parts["test"][0], out.quiet) if test else []
    except KeyboardInterrupt:
        interrupted()
    if test:
        unreadable += parts["test"][0].unreadable
    _tell(out, classifier, folder, scores, unreadable)


def _find_domain(name: str | None, classifier: FewShotClassifier) -> Domain:
    """Return the domain that is named, else that of the model.

    Raises:
        UsageError: If neither is known.
    """
    classifier.encoder.network  # noqa: B018 - a model that is not there is told first
    own = name or classifier.encoder.card.get("domain")
    if not own:
        raise UsageError(
            "the model does not say its field", "--domain NAME; domainclip domains list shows them"
        )
    return get_domain(str(own))


def _split(
    classifier: FewShotClassifier, samples: Samples, captions: Sequence[str], *, quiet: bool
) -> dict[str, tuple[SamplePictures, Any]]:
    """Return the pictures of each split, and their label nodes."""
    import numpy as np

    from domainclip.data.captions import read_captions
    from domainclip.inference.fewshot.sampled import SamplePictures

    stored = {}
    if captions:
        labels = [" > ".join(samples.tree.path(int(node))) for node in samples.nodes]
        read = read_captions(captions, samples.ids, labels)
        stored = dict(zip(samples.ids, read.captions, strict=True))
        if not quiet:
            for line in read.messages:
                output.note(line)
    where, parts = np.asarray(samples.splits), {}
    for name in ("train", "val", "test"):
        rows = np.flatnonzero(where == name)
        if len(rows):
            pictures = SamplePictures(classifier.encoder, samples, rows, stored)
            parts[name] = (pictures, samples.nodes[rows].astype(np.int64))
    return parts


def _test(
    classifier: FewShotClassifier, samples: Samples, pictures: SamplePictures, quiet: bool
) -> list[dict[str, Any]]:
    """Return how many test pictures are named rightly, at every rank, with 95% intervals."""
    import numpy as np
    import torch

    from domainclip.evaluation.metrics import Tally

    nodes = classifier.candidates_.nodes
    assert nodes is not None
    known = np.flatnonzero(np.isin(samples.nodes[pictures.rows], nodes))
    if not len(known):
        raise UsageError("no test picture has a label that was learned", "leave out --test")
    title = "" if quiet else "test pictures"
    vectors, good = pictures.encode(known, classifier.head_, title)
    rows = pictures.rows[known[good]]
    tally = Tally(samples.tree, nodes)
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        chances = torch.from_numpy(classifier.predict_proba(vectors[part]))
        tally.add(chances, samples.nodes[rows[part]].astype(np.int64))
    groups = [samples.facts(int(row)).group for row in rows]
    scored = tally.rows(
        split="test", candidates_name="learned", groups=groups, bootstrap=BOOTSTRAP,
        seed=classifier.seed,
    )  # fmt: skip
    if len(known) < len(pictures.rows) and not quiet:
        left = output.counted(len(pictures.rows) - len(known), "test picture")
        output.warning(f"{left} with labels that were not learned, left out")
    return [row.as_dict() for row in scored if row.metric == "top1"]


def _tell(
    out: Output,
    classifier: FewShotClassifier,
    folder: str,
    scores: Sequence[Mapping[str, Any]],
    unreadable: Sequence[tuple[str, str]],
) -> None:
    """Print what came of it, and end with the code that says so."""
    if out.style == "json":
        listed = {"test": scores, "unreadable": dict(unreadable)}
        out.value({"folder": folder, "method": classifier.method_,
                   "methods": classifier.chosen_, **listed})  # fmt: skip
    elif out.quiet:
        out.line(folder)
    else:
        rows = [
            {
                "method": row["method"],
                "val_accuracy": row["accuracy"],
                "settings": " ".join(f"{k}={v:g}" for k, v in row["settings"].items()),
                "seconds": row["seconds"],
                "chosen": "*" if row["chosen"] else "",
            }
            for row in classifier.chosen_
        ]
        kept = ("rank", "value", "low", "high", "n")
        tested = [{name: row[name] for name in kept} for row in scores]
        if tested:
            out.tables({"validation": rows, "test": tested})
        else:
            out.rows(rows)
        output.note(f"written to {folder}")
        if classifier.notice_:
            output.note(classifier.notice_)
    for line in classifier.messages_:
        output.warning(line)
    for name, reason in unreadable[:LISTED]:
        output.warning(f"{name}: {reason}")
    if len(unreadable) > LISTED:
        output.warning(f"{len(unreadable) - LISTED} more")
    if unreadable:
        output.error(f"{output.counted(len(unreadable), 'picture')} cannot be read")
    if not out.quiet:
        output.hint(f"domainclip predict photos/ --classifier {shlex.quote(folder)}")
    if unreadable:
        sys.exit(1)
