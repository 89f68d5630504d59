"""Every method recipe trains, by the name it is listed under; what it needs is said before."""

import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app
from domainclip.data.builtin import sample_builtin
from domainclip.domains.registry import find_domains, get_domain
from domainclip.recipe.load import OPEN, RecipeError, load_alone, load_recipe
from domainclip.recipe.locate import bundled_recipes, locate
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import diff, flatten

METHODS = tuple(n.removeprefix("methods/") for n in bundled_recipes() if n.startswith("methods/"))
SHORT = ("--tiny", "--model.image_size", "32", "--device", "cpu", "--train.precision", "float32")


@cache
def open_keys(name: str) -> tuple[str, ...]:
    values = flatten(load_alone(f"methods/{name}").recipe)
    return tuple(key for key, value in values.items() if value == OPEN)


def train(*args):
    result = CliRunner().invoke(app, ["train", *map(str, args)], prog_name="domainclip")
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What recipes leave open: a pretrained model, and general pictures with captions."""
    place = tmp_path_factory.mktemp("given")
    code, output = train("--domain", "medical", *SHORT, "--out", place / "run")
    assert code == 0, output
    pictures = place / "pairs"
    pictures.mkdir()
    rows = ["file_name,caption"]
    for i in range(24):
        sample = sample_builtin(get_domain("remote_sensing"), "train", i, size=48, seed=1)
        Image.fromarray(sample.image).save(pictures / f"{i}.png")
        rows.append(f'{i}.png,"{sample.captions[0]}"')
    (pictures / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    return {"model.name": place / "run", "data.replay": pictures}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_trains(name, given, tmp_path):
    domains = sorted(find_domains())
    domain = domains[METHODS.index(name) % len(domains)]
    flags = [part for key in open_keys(name) for part in (f"--{key}", given[key])]
    out = tmp_path / "run"
    code, output = train(
        "--domain", domain, "--recipe", f"methods/{name}", *SHORT, "--out", out, *flags
    )
    assert code == 0, output
    ran = Recipe.model_validate(yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8")))
    asked = load_alone(f"methods/{name}").recipe
    left = {"domain", "out", "device", *(key for key in open_keys(name))}
    tiny = {"data.batch_size", "data.limit", "train.validations", "evaluate.bootstrap"}
    found = {"train.precision", "train.steps", "train.minutes", "optim.lr", "optim.warmup"}
    changed = {row["key"] for row in diff(asked, ran)}
    assert changed <= left | tiny | found | {"model.image_size"}
    shutil.rmtree(out)


def test_fine_tuning_recipes_leave_their_model_open_and_no_other_does():
    assert {name for name in METHODS if open_keys(name)} == {"flyp", "lit", "lora", "replay"}
    assert open_keys("replay") == ("data.replay", "model.name")


@pytest.mark.parametrize("name", [name for name in METHODS if open_keys(name)])
def test_what_is_left_open_is_asked_for_before_anything_starts(name, tmp_path):
    out = tmp_path / "run"
    code, output = train("--domain", "biology", "--recipe", name, "--tiny", "--out", out)
    assert code == 2 and not out.exists()
    for key in open_keys(name):
        assert re.search(
            rf"recipes/methods/\w+\.yaml:\d+: {key}: has to be given, as --{key}", output
        )
    flags = dict.fromkeys(open_keys(name), "x")
    assert load_recipe("biology", name, flags, {}).recipe.model.name == "x"


def test_a_recipe_of_ones_own_may_leave_a_key_open(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"data:\n  source: {OPEN}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mine.yaml:2: data.source: has to be given"):
        load_recipe("biology", str(file), environ={})
    assert load_recipe("biology", str(file), {"data.source": "a"}, {}).recipe.data.source == "a"


def test_what_a_parent_says_of_itself_is_not_said_of_its_child(tmp_path):
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text("about: {title: P, expect: 0.9, cost: 3 minutes}\nseed: 4\n")
    child.write_text("extends: parent.yaml\nabout: {title: C}\n")
    recipe = load_recipe("biology", str(child), environ={}).recipe
    assert (recipe.seed, recipe.about.title, recipe.about.expect) == (4, "C", "")
    assert load_recipe("biology", str(parent), environ={}).recipe.about.expect == "0.9"


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_holds_only_what_differs_from_its_parent(name):
    file = locate(f"methods/{name}")
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    parent = said.get("extends")
    base = load_alone(parent).recipe if parent else Recipe(domain="")
    changed = {row["key"] for row in diff(base, load_alone(f"methods/{name}").recipe)}
    keys = {f"{s}.{k}" for s, part in said.items() if isinstance(part, dict) for k in part}
    extra = {"loss.targets"} if name == "multi_positive" else set()  # the default, by its name
    assert {k for k in keys ^ changed if not k.startswith("about.")} == extra
    assert said["about"]["title"] and said["about"]["needs"]
    assert len(said["about"]["title"]) <= 90


@pytest.mark.parametrize("name", METHODS)
def test_papers_are_named_with_their_number(name):
    paper = load_alone(f"methods/{name}").recipe.about.paper
    assert all(re.search(r"arXiv:\d{4}\.\d{5}$", one) for one in paper.split("; ") if paper)


def test_the_recipe_of_the_guide_can_be_read(tmp_path):
    guide = Path(__file__).resolve().parents[2] / "docs" / "training.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", guide.read_text(encoding="utf-8"), re.S)
    assert len(block.splitlines()) == 5
    (tmp_path / "beetles.yaml").write_text(block, encoding="utf-8")
    recipe = load_recipe("biology", str(tmp_path / "beetles.yaml"), environ={}).recipe
    assert (recipe.model.heads, recipe.text.draw) == (("names", "captions"), "sample")


def test_the_guide_names_every_method():
    guide = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text("utf-8")
    table = guide[guide.index("| you have") : guide.index("## One of your own")]
    assert set(METHODS) - {"prefix"} <= set(re.findall(r"`(\w+)`", table))


def test_every_recipe_says_how_to_run_it():
    for name in METHODS:
        text = Path(locate(f"methods/{name}")).read_text(encoding="utf-8")
        (command,) = re.findall(r"^# (?:Try|Use) it: (domainclip train .*)$", text, re.M)
        assert f"--recipe {name}" in command or name == "quickstart"
        assert all(f"--{key}" in command for key in open_keys(name)), name
