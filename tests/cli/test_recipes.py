"""`domainclip recipes` as people type it."""

import json

import pytest
import yaml
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.recipe.locate import bundled_recipes


def invoke(*args):
    return CliRunner().invoke(app, ["recipes", *map(str, args)], prog_name="domainclip")


def test_list_names_every_recipe_that_ships():
    rows = json.loads(invoke("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(bundled_recipes())
    assert {row["domain"] for row in rows} >= {"any", "medical"}


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
