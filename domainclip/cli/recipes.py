"""`domainclip recipes`: list, show, check and compare recipes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from domainclip.errors import UsageError
from domainclip.recipe.load import RecipeError, load_alone
from domainclip.recipe.locate import bundled_recipes
from domainclip.recipe.schema import About
from domainclip.recipe.show import diff, flatten, json_schema, to_yaml

from . import output
from .framework import Group, Option
from .output import Output, format_options

command = Group(
    name="recipes",
    help="List, show, check and compare recipes.",
    examples=("domainclip recipes list", "domainclip recipes show biology/quickstart --origin"),
)


@command.command("list", examples=("domainclip recipes list", "domainclip recipes list --json"))
@format_options
def list_command(out: Output) -> None:
    """List the recipes that ship with the package: what each is, needs, gave here and cost.

    A recipe of `methods/` works for any domain, and its folder can be left out.
    """
    rows = [_row(name) for name in bundled_recipes()]
    if out.style == "table":
        out.page(_page(rows), ("name", "method", "needs", "gave here, cost"))
    else:
        out.rows(rows, ("name", "domain", *About.model_fields, "error"))


@command.command(
    examples=(
        "domainclip recipes show biology/quickstart",
        "domainclip recipes show my.yaml --origin > full.yaml",
    )
)
@click.argument("name")
@click.option("--origin", is_flag=True, cls=Option, help="Say where each value comes from.")
@click.option("--json", "as_json", is_flag=True, cls=Option, help="Print JSON.")
def show(name: str, origin: bool, as_json: bool) -> None:
    """Print a recipe in full, with the help of every key."""
    loaded = load_alone(name)
    if as_json and origin:
        rows = flatten(loaded.recipe).items()
        Output("json").rows({"key": k, "value": v, "origin": loaded.origins[k]} for k, v in rows)
    elif as_json:
        Output("json").value(loaded.recipe.model_dump(mode="json"))
    else:
        click.echo(to_yaml(loaded.recipe, loaded.origins if origin else None), nl=False)


@command.command(
    examples=("domainclip recipes validate my.yaml", "domainclip recipes validate recipes/*/*.yaml")
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@format_options
def validate(files: tuple[str, ...], out: Output) -> None:
    """Check recipe files and print every problem; the exit code is 2 where there is one."""
    rows = [{"file": file, "problem": p} for file in files for p in _problems(file)]
    out.rows(rows, ("file", "problem"), ids="problem")
    bad = len({row["file"] for row in rows})
    if not out.quiet:
        output.note(f"{len(files) - bad} of {len(files)} recipes are valid")
    if bad:
        sys.exit(UsageError.exit_code)


@command.command(
    "diff",
    examples=(
        "domainclip recipes diff biology/quickstart medical/quickstart",
        "domainclip recipes diff runs/first runs/second",
    ),
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@format_options
def diff_command(first: str, second: str, out: Output) -> None:
    """Print the keys in which two recipes differ; a run folder stands for its recipe."""
    rows = diff(load_alone(first).recipe, load_alone(second).recipe)
    names = (first, second) if first != second else ("a", "b")
    out.rows(
        [{"key": row["key"], names[0]: row["a"], names[1]: row["b"]} for row in rows],
        ("key", *names),
    )


@command.command(examples=("domainclip recipes schema > recipe.schema.json",))
def schema() -> None:
    """Print the JSON schema of a recipe file, for editors."""
    Output("json").value(json_schema())


def _row(name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "domain": "any"}
    try:
        recipe = load_alone(name).recipe
    except UsageError as error:
        return {**row, "error": error.message}
    return {**row, "domain": recipe.domain or "any", **recipe.about.model_dump()}


def _page(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the cells of the table on a terminal: methods first, then each domain's own."""
    for row in sorted(rows, key=lambda row: (row["domain"] != "any", row["name"])):
        folder, _, short = row["name"].partition("/")
        name = short if folder == "methods" else f"{folder}/\n{short}"
        if error := row.get("error"):
            yield name, f"error: {error}", "", ""
            continue
        gave = "\n".join(part for part in (row["expect"], row["cost"]) if part)
        papers = row["paper"].replace("; ", "\n")
        method = "\n".join(part for part in (row["title"], papers) if part)
        yield name, method, row["needs"], gave or "not measured here"


def _problems(file: str) -> tuple[str, ...]:
    try:
        load_alone(file)
    except RecipeError as error:
        return error.problems
    except UsageError as error:
        return (error.message,)
    return ()
