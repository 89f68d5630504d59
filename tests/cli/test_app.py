"""The frame of the command line: help, mistakes, exit codes, what is imported."""

import csv
import importlib
import io
import json

import click
import pytest
from click.testing import CliRunner

from domainclip import __version__
from domainclip.cli.app import COMMANDS, app
from domainclip.errors import DataError

HEAVY = ("torch", "numpy", "pandas", "lightning", "datasets", "matplotlib", "open_clip", "pydantic")


@pytest.fixture
def invoke():
    def invoke(*args, **kwargs):
        return CliRunner().invoke(app, list(args), prog_name="domainclip", **kwargs)

    return invoke


def leaves():
    for name in COMMANDS:
        command = importlib.import_module(f"domainclip.cli.{name}").command
        if isinstance(command, click.Group):
            yield from ((name, sub) for sub in command.commands)
        else:
            yield (name,)


def test_the_list_of_commands_says_what_each_says_of_itself(invoke):
    text = invoke("--help").stdout
    for name, sentence in COMMANDS.items():
        command = importlib.import_module(f"domainclip.cli.{name}").command
        assert command.name == name
        assert command.help.startswith(sentence)
        assert f"{name}  " in text and sentence in text


@pytest.mark.parametrize("path", list(leaves()), ids=" ".join)
def test_every_command_has_one_sentence_examples_and_help_for_each_option(invoke, path):
    result = invoke(*path, "--help")
    assert result.exit_code == 0, result.output
    assert f"\nExamples:\n  domainclip {' '.join(path)}" in result.stdout
    command = importlib.import_module(f"domainclip.cli.{path[0]}").command
    command = command.commands[path[1]] if len(path) == 2 else command
    assert command.help.splitlines()[0].endswith(".")
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.opts


@pytest.mark.parametrize(
    "args", [("--help",), ("--version",), ("domains", "--help"), ("env", "--help"), ("nonsense",)]
)
def test_help_imports_nothing_heavy(run_python, args):
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY} if m in sys.modules]))\n"
        f"sys.argv = ['domainclip', *{args}]\n"
        "from domainclip.cli import main\nmain()\n"
    )
    assert "HEAVY []" in run_python("-c", code).stdout


@pytest.mark.parametrize(
    "args",
    [
        ("train", "--help"),
        ("predict", "--help"),
        ("data", "inspect", "--help"),
        ("recipes", "list"),
        ("recipes", "show", "medical/quickstart"),
        ("train", "--domain", "medical", "--dry-run"),
        ("domains", "list"),
    ],
)
def test_what_only_reads_imports_no_torch(run_python, args):
    code = (
        "import sys, atexit\n"
        "heavy = ('torch', 'lightning', 'datasets', 'matplotlib', 'albumentations')\n"
        "atexit.register(lambda: print('HEAVY', [m for m in heavy if m in sys.modules]))\n"
        f"sys.argv = ['domainclip', *{args}]\n"
        "from domainclip.cli import main\nmain()\n"
    )
    result = run_python("-c", code)
    assert "HEAVY []" in result.stdout, result.stderr


def test_version_and_module_form(run_python):
    result = run_python("-m", "domainclip", "--version")
    assert (result.returncode, result.stdout) == (0, f"domainclip {__version__}\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("trian",), "no command 'trian'; did you mean 'train'?"),
        (("recipes", "lst"), "no command 'lst'; did you mean 'list'?"),
        (("xyz",), "there are train, predict"),
        (("env", "--jsn"), "--json"),
        (("predict",), "IMAGE|FOLDER"),
        (("data", "inspect", "x"), "--domain"),
        (("domains", "show", "medcial"), "did you mean 'medical'?"),
        (("recipes", "show", "medcal/quickstart"), "did you mean 'medical/quickstart'?"),
        (("data", "inspect", "x", "--domain", "medcial"), "did you mean 'medical'?"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_line_with_the_way_on(invoke, args, said):
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert said in result.stderr
    assert second.startswith("hint: ")


def _raising(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr("domainclip.cli.env.describe", fail)


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (DataError("no", "do this"), 1, ["error: no", "hint: do this"]),
        (
            KeyError("k"),
            1,
            ["error: KeyError: 'k'", "hint: run it again with --debug for the whole story"],
        ),
        (KeyboardInterrupt(), 130, ["error: interrupted"]),
        (
            OSError(28, "No space left on device"),
            1,
            ["error: OSError: [Errno 28] No space left on device"],
        ),
    ],
)
def test_errors_are_lines_and_exit_codes(invoke, monkeypatch, error, code, lines):
    _raising(monkeypatch, error)
    result = invoke("env")
    assert result.exit_code == code
    assert [line for line in result.stderr.splitlines() if line][: len(lines)] == lines
    assert "Traceback" not in result.stderr


def test_the_traceback_is_there_for_those_who_ask(invoke, monkeypatch):
    _raising(monkeypatch, DataError("no"))
    assert "Traceback" in invoke("env", "--debug").stderr
    assert "Traceback" in invoke("--debug", "env").stderr
    assert "Traceback" in invoke("env", env={"DOMAINCLIP_DEBUG": "1"}).stderr
    assert "Traceback" not in invoke("env", env={"DOMAINCLIP_DEBUG": "0"}).stderr


def test_a_reader_that_goes_away_is_no_error(run_python, tmp_path):
    code = (
        "import os, sys\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "sys.argv = ['domainclip', 'recipes', 'schema']\n"
        "from domainclip.cli import main\nmain()\n"
    )
    result = run_python("-c", code)
    assert result.stderr == ""


def test_rows_have_the_same_keys_in_every_format(invoke):
    as_json = json.loads(invoke("recipes", "list", "--json").stdout)
    as_csv = list(csv.DictReader(io.StringIO(invoke("recipes", "list", "--csv").stdout)))
    assert [row["name"] for row in as_json] == [row["name"] for row in as_csv]
    assert invoke("recipes", "list", "--quiet").stdout.split() == [r["name"] for r in as_json]


def test_domains_are_listed_and_shown(invoke):
    rows = json.loads(invoke("domains", "list", "--json").stdout)
    assert {"biology", "medical", "remote_sensing"} <= {row["name"] for row in rows}
    shown = json.loads(invoke("domains", "show", "medical", "--json").stdout)
    assert shown["name"] == "medical" and shown["built-in labels"] == {"seen": 15, "unseen": 5}
    assert "clinical" in shown["notice"]


def test_check_says_what_is_wrong_and_exits_1(invoke, monkeypatch):
    import sys
    import types

    fake = types.ModuleType("domainclip.testing")
    fake.check_domain = lambda domain: (
        ["no ranks", "no prompts"] if domain.name == "medical" else []
    )
    monkeypatch.setitem(sys.modules, "domainclip.testing", fake)
    result = invoke("domains", "check", "medical")
    assert result.exit_code == 1
    assert result.stdout == "domain,problem\nmedical,no ranks\nmedical,no prompts\n"
    assert "0 of 1 domains keep the contract" in result.stderr
    assert invoke("domains", "check", "remote_sensing").exit_code == 0
    assert invoke("domains", "check", "nope").exit_code == 2


def test_env_tells_versions_and_paths(invoke):
    facts = json.loads(invoke("env", "--json", env={"DOMAINCLIP_SEED": "3"}).stdout)
    assert facts["domainclip"] == __version__
    assert facts["settings"]["DOMAINCLIP_SEED"] == "3"
    assert {"device", "cores", "cache", "recipes", "torch"} <= set(facts)
