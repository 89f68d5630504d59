"""What is printed of a recipe is a recipe again."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.recipe import yaml12
from domainclip.recipe.keys import recipe_keys, recipe_sections
from domainclip.recipe.load import load_alone, load_recipe
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import diff, flatten, json_schema, to_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.one_of(
    TEXT,
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.sampled_from(
        ["no", "1e-4", "012", "~", "null", "a: b", "- x", "a #b", "1:30", "=", "<<", ""]
    ),
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_a_printed_value_is_read_back_the_same_here_and_by_plain_yaml(value):
    text = yaml12.dump_value(value)
    assert "\n" not in text
    node = yaml12.compose(f"k: {text}")
    assert yaml12.construct(node) == {"k": value}
    assert yaml.safe_load(f"k: {text}") == {"k": value}


@given(TEXT, st.dictionaries(TEXT, TEXT, max_size=3), st.floats(1e-12, 1e6))
@settings(max_examples=40, deadline=None)
def test_a_printed_recipe_resolves_to_the_same_recipe(tmp_path_factory, out, columns, lr):
    flags = {"out": out, "data.columns": columns, "optim.lr": lr, "train.steps": 3}
    loaded = load_recipe("medical", "quickstart", flags, {})
    path = tmp_path_factory.mktemp("shown") / "recipe.yaml"
    path.write_text(to_yaml(loaded.recipe, loaded.origins), encoding="utf-8")
    again = load_recipe(None, str(path), environ={})
    assert again.recipe == loaded.recipe
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == loaded.recipe.model_dump(mode="json")


def test_every_key_is_printed_with_its_help_and_its_origin():
    loaded = load_recipe("medical", "quickstart", {"seed": "7"}, {})
    lines = to_yaml(loaded.recipe, loaded.origins).splitlines()
    (seed,) = [line for line in lines if line.startswith("seed:")]
    assert seed.startswith("seed: 7 ")
    assert "[command line]" in seed and recipe_keys()["seed"].help in seed
    said = [line for line in lines if ":" in line.partition("#")[0]]
    assert len(said) == len(recipe_keys()) + len(recipe_sections())
    for section, text in recipe_sections().items():
        assert lines[lines.index(f"{section}:") - 1] == f"# {text}"
    assert "[" not in to_yaml(load_alone("medical/quickstart").recipe).splitlines()[0]


def test_a_recipe_for_any_domain_prints_without_one():
    recipe = load_alone("methods/quickstart").recipe
    assert "domain" not in yaml.safe_load(to_yaml(recipe))


def test_every_key_has_help_and_a_kind_the_command_line_knows():
    for name, key in recipe_keys().items():
        assert key.help.endswith((".", "}.")), name
        assert (key.kind == "choice") == bool(key.choices) or key.kind == "list", name
    assert recipe_keys()["optim.lr"].optional
    assert recipe_keys()["model.heads"].choices == ("names", "captions")


def test_only_differences_are_told():
    a = load_alone("medical/quickstart").recipe
    b = load_recipe(None, "medical/quickstart", {"loss.kind": "siglip"}, {}).recipe
    assert diff(a, b) == [{"key": "loss.kind", "a": "clip", "b": "siglip"}]
    assert diff(a, a) == []


def test_flatten_holds_every_value_of_the_model():
    recipe = Recipe(domain="medical", seed=4)
    nested: dict = {}
    for name, value in flatten(recipe).items():
        *section, last = name.split(".")
        (nested.setdefault(section[0], {}) if section else nested)[last] = value
    assert nested == recipe.model_dump()


def test_the_schema_for_editors_takes_a_file_of_differences_and_refuses_others():
    schema = json.loads(json.dumps(json_schema()))
    assert "required" not in schema
    assert "extends" in schema["properties"]
    assert schema["additionalProperties"] is False
    optim = schema["$defs"]["Optim"]["properties"]
    assert optim["warmup"]["description"] == recipe_keys()["optim.warmup"].help


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: &x 1\nb: *x"])
def test_compose_keeps_what_the_reader_has_to_judge(text):
    assert len(yaml12.compose(text).value) == 2
