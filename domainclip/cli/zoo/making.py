"""`domainclip zoo make`: the small models that are our own, trained and made ready to publish."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from domainclip.cli import output
from domainclip.cli.framework import option
from domainclip.cli.output import Output, format_options
from domainclip.domains.registry import find_domains
from domainclip.errors import UsageError, suggest

from . import command

if TYPE_CHECKING:
    from domainclip.zoo.tiny import Made

PICTURES = 500
"""Test pictures that are named by the full weights and by the rounded ones."""


@command.command(
    "make",
    short_help="Train our own small models and make them ready to publish.",
    help="Train our own small models and make them ready to publish.\n\nEach is trained from "
    "nothing on the built-in pictures of its domain by the recipe `tiny`, for minutes. A run that "
    "is there already is taken up, or used as it is.",
    examples=(
        "domainclip zoo make --out tiny/",
        "domainclip zoo make --domain medical --out tiny/",
    ),
)
@option("Options", "--domain", "domains", multiple=True, metavar="NAME",
        help="Only of this domain; may be repeated.")  # fmt: skip
@option("Options", "--out", "place", required=True, metavar="FOLDER",
        help="Gets a folder, a card and a run for each model.")  # fmt: skip
@option("Options", "--to", "organisation", default="domainclip", show_default=True, metavar="ORG",
        help="Whose they are to be on the Hub.")  # fmt: skip
@option("Options", "--author", default="domainclip contributors", show_default=True,
        metavar="NAME", help="Who publishes them.")  # fmt: skip
@option("Options", "--tiny", is_flag=True, help="Shrink training to seconds, to try it.")
@format_options
def make(
    out: Output, domains: tuple[str, ...], place: str, organisation: str, author: str, tiny: bool
) -> None:
    """Train, round to half precision, compare, write."""
    from domainclip.recipe.locate import bundled_recipes

    folder = Path(place).expanduser()
    known = [name for name in find_domains() if f"{name}/tiny" in bundled_recipes()]
    for name in domains:
        if name not in known:
            raise UsageError(
                f"no recipe {name}/tiny",
                suggest(name, known) or f"there are such recipes for {', '.join(known)}",
            )
    made = [
        _make(name, folder, organisation, author, tiny=tiny, quiet=out.quiet)
        for name in domains or known
    ]
    rows = [
        {"model": one.repo, "bytes": one.size, "folder": str(one.folder), "card": str(one.card)}
        for one in made
    ]
    out.rows(rows, ids="folder")
    if not out.quiet:
        for one in made:
            run = folder / "runs" / one.folder.name
            output.hint(shlex.join(["domainclip", "zoo", "push", str(run), "--to", one.repo,
                                    "--half", "--author", author]))  # fmt: skip


def _make(
    domain: str, out: Path, organisation: str, author: str, *, tiny: bool, quiet: bool
) -> Made:
    from domainclip.zoo.push import plan_push
    from domainclip.zoo.tiny import SUFFIX, write_tiny

    repo = f"{organisation}/{domain}{SUFFIX}"
    run = out / "runs" / f"{domain}{SUFFIX}"
    _train(domain, run, tiny=tiny, quiet=quiet)
    with tempfile.TemporaryDirectory() as scratch:
        rounded = plan_push(run, repo, author=author, half=True).write(Path(scratch))
        said = _compare(run, rounded)
    return write_tiny(run, plan_push(run, repo, author=author, half=True, notes=said), out)


def _train(domain: str, run: Path, *, tiny: bool, quiet: bool) -> None:
    """Train by the recipe `tiny`, go on with a run that was stopped, or use one that has ended."""
    from domainclip.recipe.load import load_recipe
    from domainclip.training.run import resume, train

    if (run / "metrics.json").is_file():
        if not quiet:
            output.note(f"{run} is there already, and used as it is")
        return
    if (run / "recipe.yaml").is_file():
        resume(run, progress=not quiet)
        return
    loaded = load_recipe(domain, "tiny", {"out": str(run)}, tiny=tiny)
    train(loaded.recipe, origins=loaded.origins, progress=not quiet)


def _compare(run: Path, rounded: Path) -> str:
    """Say how many pictures the rounded weights name otherwise than the full ones."""
    from domainclip.cli.calibrate import look, open_data
    from domainclip.inference.classify import ZeroShotClassifier

    said, right = [], []
    for model in (run, rounded):
        classifier = ZeroShotClassifier(model).fit()
        samples = open_data(classifier, "builtin", "test", PICTURES)
        vectors, truth, _ = look(classifier, samples, quiet=True)
        said.append((vectors @ classifier.label_features_.cpu().numpy().T).argmax(axis=1))
        right.append(float((said[-1] == truth).mean()))
    other = int((said[0] != said[1]).sum())
    return (
        f"- Stored in half precision: of {len(said[0])} test pictures {other} get another name "
        f"than by the full weights (top-1 {right[1]:.3f}, by the full ones {right[0]:.3f})."
    )
