"""The root command: which commands there are, found without importing any of them."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from domainclip import __version__
from domainclip.errors import DomainclipError

from . import output
from .framework import Group

COMMANDS = {
    "train": "Train, test and save a model.",
    "predict": "Name what pictures show, with a trained model.",
    "calibrate": "Make the probabilities of a model mean what they say.",
    "fewshot": "Make a classifier from a few labelled pictures of each label.",
    "embed": "Turn pictures or texts into vectors.",
    "index": "Make pictures ready to be searched.",
    "search": "Find pictures by words, by a picture, or by both.",
    "knowledge": "Gather what is known of labels, and look at it.",
    "caption": "Write and check a caption for every picture.",
    "export": "Write a model for other tools, and check it there.",
    "zoo": "List, show, pull and publish models.",
    "data": "Look at pictures and labels before they are used.",
    "recipes": "List, show, check and compare recipes.",
    "domains": "List, show and check domains.",
    "env": "Show versions, devices and paths.",
}
"""Command -> its sentence in the list; the command itself is `domainclip.cli.<name>:command`."""


class App(Group):
    """The root group: imports a command when it runs, turns errors into lines and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        command = import_module(f"domainclip.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def short_help_of(self, ctx: click.Context, name: str) -> str:
        """Return a command's sentence without importing it."""
        return COMMANDS[name]

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run a command; every way it can end has its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in arguments or os.environ.get("DOMAINCLIP_DEBUG", "0") not in ("", "0")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # file names need not be valid UTF-8
                stream.reconfigure(errors="surrogateescape")
        extra["standalone_mode"] = False
        try:
            code = super().main(arguments, *rest, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            way = f"{error.ctx.command_path} --help" if error.ctx else "domainclip --help"
            output.error(error.format_message(), f"{way} shows how")
            sys.exit(2)
        except click.ClickException as error:
            output.error(error.format_message())
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            output.error("interrupted")
            sys.exit(130)
        except DomainclipError as error:
            if debug:
                traceback.print_exc()
            output.error(error.message, error.hint)
            sys.exit(error.exit_code)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                _forget_stdout()
                sys.exit(1)
            if debug:
                traceback.print_exc()
            text = " ".join(str(error).split())
            again = "" if debug else "run it again with --debug for the whole story"
            output.error(f"{type(error).__name__}: {text}" if text else type(error).__name__, again)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _forget_stdout() -> None:
    """Keep Python from complaining at exit about a reader that has gone away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


app = App(
    name="domainclip",
    help="Build, test, use and share a CLIP foundation model of one specialised field.",
    examples=(
        "domainclip train --domain biology --tiny",
        "domainclip predict photos/ --model runs/first --k 3",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Show the version and exit.",
            callback=lambda ctx, _, value: _version(ctx) if value else None,
        )
    ],
    epilog="domainclip COMMAND --help says more.",
)


def _version(ctx: click.Context) -> None:
    click.echo(f"domainclip {__version__}")
    ctx.exit()
