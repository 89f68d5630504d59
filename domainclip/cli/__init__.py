"""The command line: `domainclip COMMAND`. Nothing heavy is imported before a command runs."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from .app import app

    app.main(prog_name="domainclip")
