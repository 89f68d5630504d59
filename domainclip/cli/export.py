"""`domainclip export`: a model for the tools that others use."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domainclip.errors import DomainclipError, UsageError
from domainclip.zoo.export import DTYPES, TARGETS

from . import output
from .framework import Command, option
from .looking import open_as_trained
from .output import Output, format_options

if TYPE_CHECKING:
    from domainclip.inference.classify import ZeroShotClassifier
    from domainclip.inference.encoding import Encoder
    from domainclip.zoo.export.run import Measure
    from domainclip.zoo.export.target import LabelVectors


@click.command(
    "export",
    cls=Command,
    short_help="Write a model for other tools, and check it there.",
    help="Write a model for other tools, and check it there.\n\nWhat was written is loaded by the "
    "tool itself and compared with the model on random pictures and texts; an export that differs "
    "is removed. Its folder says in export.json what the tool has to be told.",
    examples=(
        "domainclip export runs/first --to transformers",
        "domainclip export runs/first --to onnx --dtype int8 --out phone/",
        "domainclip export runs/first --to open_clip --head captions",
    ),
)
@click.argument("model", metavar="RUN|FOLDER|NAME")
@option("Options", "--to", required=True, type=click.Choice(TARGETS),
        help="The tool. pybioclip gets label vectors, too.")  # fmt: skip
@option("Options", "--head", default="names", show_default=True, metavar="NAME",
        help="The projection head to fold in: names to classify, captions to search.")  # fmt: skip
@option("Options", "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
        help="Number format of the weights; int8 is for onnx.")  # fmt: skip
@option("Options", "--out", "out_folder", metavar="FOLDER",
        help="Where to write; missing or empty.  [default: MODEL-TOOL here]")  # fmt: skip
@option("Accuracy", "--check", metavar="SOURCE",
        help="Measure accuracy before and after on these pictures of known labels: `builtin`, a "
        "folder, a table, shards, a Hub id; `none` not to.  [default: builtin below "
        "float32]")  # fmt: skip
@option("Accuracy", "--split", default="val", show_default=True,
        help="The split to measure on.")  # fmt: skip
@option("Accuracy", "--limit", type=click.IntRange(0), default=1000, show_default=True,
        metavar="N", help="Pictures at most; 0 for all.")  # fmt: skip
@format_options
def command(
    out: Output,
    model: str,
    to: str,
    head: str,
    dtype: str,
    out_folder: str | None,
    check: str | None,
    split: str,
    limit: int,
) -> None:
    """Write, check and measure; then say where it is."""
    from domainclip.inference.classify import ZeroShotClassifier
    from domainclip.zoo.export.run import export_model, require_empty
    from domainclip.zoo.export.stock import require_head
    from domainclip.zoo.export.target import find_target

    find_target(to, dtype)
    place = Path(out_folder).expanduser() if out_folder else name_folder(model, to, head, dtype)
    require_empty(place)
    classifier = ZeroShotClassifier(model, device="cpu", calibrated=False)
    encoder = classifier.encoder
    require_head(encoder.network, head)
    labels = find_label_vectors(classifier, head) if to == "pybioclip" else None
    measure = None
    if check != "none" and (check or dtype != "float32"):
        measure = _prepare_measure(classifier, head, check, split, limit)
    record = export_model(
        encoder.network, to, place, head=head, dtype=dtype, about=_about(encoder),
        notes=_notes(encoder, head), labels=labels, measure=measure,
    )  # fmt: skip
    _tell(out, record, place, to)


def name_folder(model: str, to: str, head: str, dtype: str) -> Path:
    """Return the folder that a model is written to where none is named."""
    path = Path(model).expanduser().resolve() if Path(model).expanduser().is_dir() else Path(model)
    name = path.parent.name if path.name == "model" else path.name
    parts = [name.replace(":", "-"), to]
    parts += [head] * (head != "names") + [dtype] * (dtype != "float32")
    return Path("-".join(parts))


def find_label_vectors(classifier: ZeroShotClassifier, head: str) -> LabelVectors:
    """Return the model's own labels with their vectors, said as it was trained with.

    Raises:
        UsageError: If it has none.
    """
    from domainclip.domains.contract import COMMON
    from domainclip.zoo.export.target import LabelVectors

    found = classifier.fit(head=head).candidates_
    tree, nodes = found.tree, found.nodes
    if tree is None or nodes is None:
        raise UsageError("the labels of this model have no ranks", "export it --to open_clip")
    lines = tree.ancestors[nodes].tolist()
    return LabelVectors(
        vectors=classifier.label_features_.numpy(),
        ranks=tree.ranks,
        lines=tuple(tuple("" if a < 0 else tree.name(a) or "" for a in line) for line in lines),
        common=tuple(tree.name(int(node), COMMON) or "" for node in nodes),
    )


def _prepare_measure(
    classifier: ZeroShotClassifier, head: str, check: str | None, split: str, limit: int
) -> Measure | None:
    """Open pictures to measure on; where none were asked for, do without those that there are not.

    Raises:
        UsageError: If pictures were asked for, and the model has no field or labels.
    """
    from domainclip.domains.registry import get_domain
    from domainclip.evaluation.exported import measure_change

    encoder, source = classifier.encoder, check or "builtin"
    try:
        if not encoder.card.get("domain"):
            raise UsageError("the model does not say its field", "leave --check out")
        labels = classifier.fit().candidates_
        samples = open_as_trained(
            encoder, get_domain(encoder.card["domain"]), source, splits=[split], limit=limit
        )
    except DomainclipError as error:
        if check:
            raise
        output.warning(f"accuracy was not measured: {error.message}")
        return None

    def measure(found: Any) -> Mapping[str, Any]:
        change = measure_change(encoder.network, head, found, labels, samples)
        return {"data": source, "split": split, **change}

    return measure


def _about(encoder: Encoder) -> dict[str, Any]:
    """Return what the record says of the model, beside what is needed to run it."""
    card = encoder.card
    kept = ("domain", "licence", "notice", "prompts")
    name = Path(encoder.name).name or encoder.name
    if encoder.folder is not None and encoder.folder.resolve().name == "model":
        name = encoder.folder.resolve().parent.name
    told = {key: card[key] for key in kept if card.get(key)}
    return {"model": name, "digest": encoder.digest, **told}


def _notes(encoder: Encoder, head: str) -> tuple[str, ...]:
    """Return what the tool will not know of the model folder."""
    notes = []
    if encoder.folder is not None and any(
        (encoder.folder / part / "calibration.json").is_file() for part in ("", "model")
    ):
        notes.append(
            "probabilities were calibrated here; those of the tool are the bare softmax, which is "
            "surer than it is right"
        )
    others = [one for one in encoder.network.heads if one != head]
    if others:
        notes.append(f"left out: the head {', '.join(others)}, which --head would fold in instead")
    if "domain" in encoder.card and head == "names":
        from domainclip.inference.own_labels import own_prompts

        templates = own_prompts(encoder).templates
        if templates != ("{}",):
            notes.append(f"labels were said in templates here, such as {templates[0]!r}")
    return tuple(notes)


def _tell(out: Output, record: Mapping[str, Any], place: Path, to: str) -> None:
    if out.quiet:
        out.line(str(place))
        return
    check = record["check"]
    told: dict[str, Any] = {
        "folder": str(place), "to": to, "head": record["head"], "dtype": record["dtype"],
        "megabytes": round(record["bytes"] / 1e6, 2),
    }  # fmt: skip
    if check["checked"]:
        told["checked with"] = check["tool"]
        for name, value in check["largest_difference"].items():
            told[f"largest difference, {name}"] = value
        told["limit"] = check["limit"]
    if "accuracy" in check:
        accuracy = check["accuracy"]
        told["accuracy on"] = f"{accuracy['data']}, {accuracy['split']}"
        for name in ("pictures", "unreadable", "labels", "top1_before", "top1_after", "agreement"):
            told[name] = accuracy[name]
        told["largest difference, pictures"] = accuracy["largest_difference"]
    out.value({"folder": str(place), **record}) if out.style == "json" else out.record(told)
    if not check["checked"]:
        output.warning(f"not checked: {check['reason']}")
    for note in record["notes"]:
        output.note(f"note: {note}")
    if record.get("notice"):
        output.note(record["notice"])
    output.hint(f"{shlex.quote(str(place / 'export.json'))} says how to load it")
