"""README and guides: the commands they show exist, and their tables are those of the code."""

import re
import shlex
from pathlib import Path

import click
import pytest

from domainclip.cli.app import app
from domainclip.data.captions import COLUMNS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.append(ROOT / "domains" / "README.md")


def commands(text: str) -> list[list[str]]:
    """Words of each domainclip command of a page, of code blocks and of inline code."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(
        r"`(domainclip [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    )
    found = []
    for line in lines:
        match = re.search(r"(?:^|\$ |&& )(domainclip .*)", line.strip())
        if match:
            said = re.split(r"\s[#|&]|`", match[1])[0]
            found.append(shlex.split(said))
    return found


def problems(words: list[str]) -> list[str]:
    """What of a command line is not known to the program."""
    command: click.Command = app
    context = click.Context(app, info_name="domainclip")
    rest = words[1:]
    while isinstance(command, click.Group) and rest and rest[0] in command.list_commands(context):
        command = command.get_command(context, rest.pop(0)) or command
    known = {o for p in command.get_params(context) for o in (*p.opts, *p.secondary_opts)}
    options = [word.partition("=")[0] for word in rest if word.startswith("--")]
    told = [f"{' '.join(words)}: no option {o}" for o in options if o not in known]
    if command is app and rest and rest[0].isalpha() and rest[0].islower():
        told.append(f"no command {rest[0]!r} in {' '.join(words)!r}")
    return told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists(page):
    assert [p for words in commands(page.read_text("utf-8")) for p in problems(words)] == []


def test_pages_show_commands():
    assert sum(len(commands(page.read_text("utf-8"))) for page in PAGES) > 20


@pytest.mark.parametrize("line", ["domainclip trian --x 1", "domainclip caption --modle a"])
def test_a_wrong_command_is_found(line):
    assert problems(line.split())


def test_links_lead_somewhere():
    gone = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not gone


def test_the_guide_lists_the_columns_of_stored_captions():
    guide = (ROOT / "docs" / "knowledge_and_captions.md").read_text("utf-8")
    guide = guide[guide.index("| column |") :]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", guide, re.MULTILINE)
    assert dict(rows) == COLUMNS
