"""Commands and groups with help by section, examples, and did-you-mean for commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from domainclip.errors import suggest


class Option(click.Option):
    """An option that belongs to a section of the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def option(section: str, *names: str, **rest: Any) -> Callable[[Callable[..., Any]], Any]:
    """Give a command an option of a section of its help."""
    return click.option(*names, cls=Option, section=section, **rest)


class _Examples(click.Command):
    """Help with one sentence, examples, and options by section."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.append(
            Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                section="Other",
                help="Show the whole traceback of an error.",
            )
        )

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help and the examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, in the order in which sections first come."""
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "section", "Other"), []).append(record)
        other = sections.pop("Other", [])
        for title, records in [*sections.items(), ("Other", other)]:
            if records:
                with formatter.section(title):
                    formatter.write_dl(records, col_max=34)


class Command(_Examples):
    """A command."""


class Group(_Examples, click.Group):
    """A group of commands; its own options come after the list of commands."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Command]:  # type: ignore[override]
        """Add a command by decorating its function."""
        kwargs.setdefault("cls", Command)
        decorator: Callable[[Callable[..., Any]], Command] = super().command(*args, **kwargs)
        return decorator

    def short_help_of(self, ctx: click.Context, name: str) -> str:
        """Return the sentence of one command for the list."""
        found = self.get_command(ctx, name)
        return found.get_short_help_str(limit=100) if found else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        rows = [(name, self.short_help_of(ctx, name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not ctx.resilient_parsing and not name.startswith("-"):
            hint = suggest(name, names) or f"there are {', '.join(names)}"
            raise click.UsageError(f"no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)
