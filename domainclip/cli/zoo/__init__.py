"""`domainclip zoo`: list, show, pull and publish models."""

from __future__ import annotations

from domainclip.cli.framework import Group

command = Group(
    name="zoo",
    help="List, show, pull and publish models.",
    examples=("domainclip zoo list --domain biology", "domainclip zoo pull biology/bioclip-2"),
)

from . import fetching, listing, making, publishing  # noqa: E402, F401  # they add their commands
