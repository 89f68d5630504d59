"""`domainclip recipes` as people type it."""

import io
import json

import pytest
import yaml
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.cli.output import Output
from domainclip.cli.recipes import list_command
from domainclip.recipe.load import load_alone
from domainclip.recipe.locate import bundled_recipes
from domainclip.recipe.schema import About


def invoke(*args):
    return CliRunner().invoke(app, ["recipes", *map(str, args)], prog_name="domainclip")


def test_list_names_every_recipe_that_ships():
    rows = json.loads(invoke("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(bundled_recipes())
    assert {row["domain"] for row in rows} >= {"any", "medical"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("width", [80, 120])
def test_list_on_a_terminal_is_read_whole(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    list_command.callback.__wrapped__(Output("table", screen))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "…" not in screen.getvalue()
    assert lines[0].split() == ["name", "method", "needs", "gave", "here,", "cost"]
    names = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
    assert names[: names.index("biology/")] == sorted(
        name.removeprefix("methods/") for name in bundled_recipes() if "methods/" in name
    )
    column = lines[0].index("gave")
    first = reversed([line for line in lines if line[:1].strip()])  # a group's own comes first
    said = {line[:column].split()[0]: line[column:] for line in first}
    assert said["prefix"].startswith("not measured") and said["biology/"].startswith("on the")
    words = " ".join(screen.getvalue().split())
    assert "Saito et al. 2022," in words and "arXiv:2206.01125" in words


def test_list_elsewhere_holds_every_word_of_about():
    for row in json.loads(invoke("list", "--json").stdout):
        about = {key: row[key] for key in About.model_fields}
        assert about == load_alone(row["name"]).recipe.about.model_dump()
    header = invoke("list").stdout.splitlines()[0]
    assert header == "name,domain,title,paper,needs,expect,cost,error"


def test_show_prints_what_a_recipe_is():
    shown = yaml.safe_load(invoke("show", "biocap").stdout)["about"]
    assert "BioCAP" in shown["title"] and shown["needs"] == "labels and captions"
    assert "2510.20095" in shown["paper"] and shown["expect"] == ""


def test_show_prints_a_recipe_and_its_sources():
    shown = invoke("show", "medical/quickstart")
    assert yaml.safe_load(shown.stdout)["domain"] == "medical"
    with_origin = invoke("show", "medical/quickstart", "--origin").stdout
    assert "[recipes/medical/quickstart.yaml:" in with_origin
    assert "[recipes/methods/quickstart.yaml:" in with_origin
    as_json = json.loads(invoke("show", "medical/quickstart", "--json").stdout)
    assert as_json == yaml.safe_load(shown.stdout)


def test_validate_takes_many_files_and_tells_every_problem(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("domain: medical\n")
    bad.write_text("domain: medcial\noptim: {lrr: 1}\nseed: x\n")
    assert invoke("validate", good, "methods/quickstart").exit_code == 0
    result = invoke("validate", good, bad, "--json")
    assert result.exit_code == 2
    rows = json.loads(result.stdout)
    assert {row["file"] for row in rows} == {str(bad)}
    assert len(rows) == 3
    assert "1 of 2 recipes are valid" in result.stderr
    assert invoke("validate", tmp_path / "none.yaml").exit_code == 2


def test_diff_tells_the_keys_that_differ(tmp_path):
    for name, lr in (("a", 1e-3), ("b", 2e-3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(f"domain: medical\noptim: {{lr: {lr}}}\n")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    result = invoke("diff", a, b)
    assert result.stdout == f"key,{a},{b}\noptim.lr,0.001,0.002\n"
    assert invoke("diff", a, a).stdout == "key,a,b\n"


def test_schema_is_json():
    assert json.loads(invoke("schema").stdout)["properties"]["extends"]["type"] == "string"


@pytest.mark.parametrize("command", ["show", "diff"])
def test_an_invalid_recipe_is_refused_with_all_its_problems(tmp_path, command):
    bad = tmp_path / "bad.yaml"
    bad.write_text("seed: x\noptim: {lr: -1}\n")
    result = invoke(command, *[bad] * (2 if command == "diff" else 1))
    assert result.exit_code == 2
    assert f"{bad}:1: seed = x" in result.stderr and f"{bad}:2: optim.lr = -1" in result.stderr
