"""`domainclip train`: from a recipe to a run folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domainclip.errors import UsageError
from domainclip.paths import runs_dir
from domainclip.recipe.load import TINY, Loaded, load_recipe
from domainclip.recipe.show import flatten, to_yaml

from . import output
from .framework import Command, Option
from .options import RUN, gather_flags, read_unknown, recipe_options
from .output import Output, format_options

if TYPE_CHECKING:
    from domainclip.training.run import RunResult

COLUMNS = ("split", "candidates", "rank", "metric", "value", "low", "high", "n")


@click.command(
    "train",
    cls=Command,
    short_help="Train, test and save a model.",
    help="Train, test and save a model.\n\nOptions named SECTION.KEY are keys of the recipe. "
    "Later wins: default, parent, recipe, environment (DOMAINCLIP_OPTIM__LR=1e-4), options.",
    examples=(
        "domainclip train --domain biology",
        "domainclip train --domain remote_sensing --data tiles/ --optim.lr 5e-4",
    ),
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@recipe_options
@click.option(
    "--recipe",
    cls=Option,
    section=RUN,
    metavar="NAME|FILE|RUN",
    help="A recipe's name, a YAML file, or a run folder to repeat.  [default: the domain's own]",
)
@click.option(
    "--set",
    "settings",
    cls=Option,
    section=RUN,
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key, such as --set optim.lr=1e-4; may be repeated.",
)
@click.option(
    "--tiny", cls=Option, section=RUN, is_flag=True, help="Shrink the run to seconds, to try it."
)
@click.option(
    "--dry-run",
    cls=Option,
    section=RUN,
    is_flag=True,
    help="Print the resolved recipe, which is itself a recipe, and stop.",
)
@click.option(
    "--origin",
    cls=Option,
    section=RUN,
    is_flag=True,
    help="With --dry-run: where values come from.",
)
@click.option(
    "--resume", cls=Option, section=RUN, metavar="RUN", help="Go on with a run that was stopped."
)
@format_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: Output,
    recipe: str | None,
    settings: tuple[str, ...],
    tiny: bool,
    dry_run: bool,
    origin: bool,
    resume: str | None,
    **values: Any,
) -> None:
    """Resolve the recipe, train, and print the final table and the run folder."""
    flags = {**gather_flags(values, settings), **read_unknown(ctx)}
    if resume is not None:
        if recipe or flags or tiny or dry_run:
            raise UsageError(
                "--resume goes on under the run's own recipe and takes no other recipe options",
                f"domainclip train --recipe {resume} ... starts a new run from its recipe",
            )
        _finish(_guarded(None, resume, not out.quiet), out)
        return
    loaded = load_recipe(None, recipe, flags, tiny=tiny)
    if dry_run:
        click.echo(to_yaml(loaded.recipe, loaded.origins if origin else None), nl=False)
        return
    if tiny and not out.quiet:
        values_of = flatten(loaded.recipe)
        shrunk = [f"{k}={values_of[k]}" for k, said in loaded.origins.items() if said == TINY]
        output.note(f"--tiny: {', '.join(shrunk)}")
    _finish(_guarded(loaded, "", not out.quiet), out)


def _guarded(loaded: Loaded | None, folder: str, progress: bool) -> RunResult:
    """Run, and where Ctrl-C comes at a moment that the run cannot handle, say how to go on."""
    began = time.time()
    try:
        from domainclip.training import run

        if loaded is None:
            return run.resume(folder, command=sys.argv, progress=progress)
        return run.train(loaded.recipe, origins=loaded.origins, command=sys.argv, progress=progress)
    except KeyboardInterrupt:
        left = folder or (_newest_run(loaded.recipe.out, began) if loaded else "")
        output.error("interrupted", f"domainclip train --resume {left}" if left else "")
        sys.exit(130)


def _newest_run(out: str, since: float) -> str:
    """Return the run folder that was made since a time, "" where there is none yet."""
    folders = [Path(out).expanduser()] if out else list(runs_dir().glob("*"))
    recipes = [f / "recipe.yaml" for f in folders if (f / "recipe.yaml").is_file()]
    new = [r for r in recipes if r.stat().st_mtime >= since - 1]
    return str(max(new, key=lambda r: r.stat().st_mtime).parent) if new else ""


def _finish(result: RunResult, out: Output) -> None:
    if result.rank:  # the first process speaks for all
        return
    if out.style == "json":
        out.value({"rows": result.rows, "unreadable": result.unreadable, "run": str(result.folder)})
    else:
        if not out.quiet:
            out.rows(result.rows, COLUMNS)
        out.line(str(result.folder))
    if result.unreadable:
        output.warning(
            f"{output.counted(result.unreadable, 'picture')} could not be read and left out"
        )
    if not out.quiet:
        for line in result.next:
            output.hint(line)
    if result.stopped:
        sys.exit(130)
    if result.unreadable:
        sys.exit(1)
