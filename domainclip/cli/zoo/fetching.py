"""The commands of `domainclip zoo` that pull, import, verify, find and remove models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from domainclip.cli import output
from domainclip.cli.framework import option
from domainclip.cli.output import Output, format_options
from domainclip.errors import DomainclipError

from . import command
from .card_page import count_megabytes

accept_option = option(
    "Options", "--accept-license", "--accept-licence", "accept", is_flag=True,
    help="Accept what the licence of the model restricts; kept with its date.",
)  # fmt: skip
domain_option = option(
    "Options", "--domain", default="", metavar="NAME", help="The field that a short name is of."
)


@command.command(
    "pull",
    short_help="Fetch a model, check it, and make it ready.",
    examples=(
        "domainclip zoo pull biology/bioclip-2",
        "domainclip zoo pull medsiglip --domain medical --accept-license",
    ),
)
@click.argument("name")
@domain_option
@accept_option
@option("Options", "--offline", is_flag=True,
        help="Use no network: say what is missing, and how to get it.")  # fmt: skip
@option("Options", "--label-vectors", is_flag=True,
        help="Fetch the label vectors of its publishers too, so that `predict` need not compute "
        "them.")  # fmt: skip
@format_options
def pull_command(
    name: str, domain: str, accept: bool, offline: bool, label_vectors: bool, out: Output
) -> None:
    """Fetch a model at its pinned commit, check it, and make it a model folder.

    A pull that is stopped goes on where it was. Code of a hub is never run.
    """
    from domainclip.zoo.pull import pull

    folder = pull(
        name,
        domain=domain,
        accept_licence=accept,
        offline=offline,
        label_vectors=label_vectors,
        say=_sayer(out),
        progress=sys.stderr.isatty() and not out.quiet,
    )
    _tell(folder, out)


@command.command(
    "import",
    short_help="Make a model ready from files on this disk.",
    examples=(
        "domainclip zoo import biology/bioclip-2 downloads/bioclip-2",
        "domainclip zoo import remote_sensing/remoteclip-vit-b-32 RemoteCLIP-ViT-B-32.pt",
    ),
)
@click.argument("name")
@click.argument("files", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@option("Options", "--text", metavar="FOLDER", type=click.Path(path_type=Path),
        help="Files of the second repository, where the text tower comes from one.")  # fmt: skip
@option("Options", "--label-vectors", metavar="FOLDER", type=click.Path(path_type=Path),
        help="The label vectors of its publishers.")  # fmt: skip
@domain_option
@accept_option
@format_options
def import_command(
    name: str,
    files: Path,
    text: Path | None,
    label_vectors: Path | None,
    domain: str,
    accept: bool,
    out: Output,
) -> None:
    """Make a model ready from files that were fetched elsewhere, for a machine without a network.

    They are checked and converted as `domainclip zoo pull` does, and left where they are.
    """
    from domainclip.zoo.pull import import_model

    given = {"source": files, "text_source": text, "label_vectors": label_vectors}
    folder = import_model(
        name,
        {part: path for part, path in given.items() if path is not None},
        domain=domain,
        accept_licence=accept,
        say=_sayer(out),
    )
    _tell(folder, out)


@command.command(
    "verify",
    short_help="Compare models on this disk with their checksums.",
    examples=("domainclip zoo verify", "domainclip zoo verify biology/bioclip-2"),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@format_options
def verify_command(names: tuple[str, ...], out: Output) -> None:
    """Compare models on this disk, all by default, with the checksums that they came with.

    The exit code is 1 where one has changed.
    """
    from domainclip.zoo import store

    places = [store.get_pulled(name) for name in names or store.find_pulled()]
    rows, wrong = [], 0
    for place in places:
        try:
            found = store.verify(place.name, _sayer(out))
        except DomainclipError as error:
            found = [error.message]
        wrong += bool(found)
        rows.append(
            {
                "name": place.name,
                "verdict": "; ".join(found) or "unchanged",
                "megabytes": count_megabytes(store.size_of(place.folder)),
                "folder": str(place.folder),
            }
        )
    out.rows(rows, ("name", "verdict", "megabytes", "folder"))
    if not out.quiet:
        output.note(say_size())
    if wrong:
        bad = next(row["name"] for row in rows if row["verdict"] != "unchanged")
        output.error(
            f"{output.counted(wrong, 'model')} changed",
            f"domainclip zoo rm {bad}; domainclip zoo pull {bad}",
        )
        sys.exit(1)


@command.command(
    "rm",
    short_help="Remove a model from this disk.",
    examples=("domainclip zoo rm biology/bioclip-2",),
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@format_options
def remove_command(names: tuple[str, ...], out: Output) -> None:
    """Remove models from this disk, and what was fetched of a pull that never ended.

    The commit and checksums of the first pull stay: a later pull has to match them.
    """
    from domainclip.zoo import store

    places = [store.get_pulled(name, begun=True) for name in names]
    rows = []
    for place in dict.fromkeys(places):
        freed = store.remove(place.name, _sayer(out))
        rows.append({"name": place.name, "megabytes": count_megabytes(freed)})
    out.rows(rows, ("name", "megabytes"))
    if not out.quiet:
        output.note(say_size())


@command.command(
    "path",
    short_help="Print the folder of a model.",
    examples=("domainclip zoo path biology/bioclip-2",),
)
@click.argument("name")
@domain_option
@format_options
def path_command(name: str, domain: str, out: Output) -> None:
    """Print the folder of a model that is on this disk, a folder that stock open_clip loads."""
    from domainclip.zoo.resolving import place_of

    place = place_of(name, domain)
    if out.style == "json":
        out.value({"name": place.name, "folder": str(place.folder)})
    else:
        out.line(str(place.folder))


def say_size() -> str:
    """Say how much room the models on this disk take, and where they lie."""
    from domainclip.zoo import store

    count, size = len(store.find_pulled()), store.size_of(store.zoo_dir())
    return f"{output.counted(count, 'model')}, {size / 1e6:,.1f} MB, in {store.zoo_dir()}"


def _sayer(out: Output) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not out.quiet:
            output.note(text)

    return say


def _tell(folder: Path, out: Output) -> None:
    """Print the folder, then what has to be said with the model."""
    from domainclip.zoo.store import RECORD, read_json

    record = read_json(folder / RECORD)
    if out.style == "json":
        told: dict[str, Any] = {key: value for key, value in record.items() if key != "files"}
        out.value({**told, "folder": str(folder)})
    else:
        out.line(str(folder))
    if out.quiet:
        return
    name = str(record["name"])
    if record.get("notice"):
        output.note(str(record["notice"]))
    output.note(say_size())
    output.hint(f"domainclip predict photos/ --model {name}" + (
        "" if record.get("label_vectors") else " --cls cat,dog"
    ))  # fmt: skip
