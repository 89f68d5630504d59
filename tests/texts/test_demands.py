"""What a recipe wants of captions is refused before the first step where there are none."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app
from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe
from domainclip.texts.demands import check_texts
from domainclip.texts.labels import NAME_VIEWS

WITHOUT = [(), ()]
NO_NAMES = dict.fromkeys(NAME_VIEWS, 0)


def recipe(**sections) -> Recipe:
    return Recipe.model_validate({"domain": "biology", **sections})


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"text": {"negatives": 2}}, "text.negatives is 2, but no training picture"),
        ({"text": {"parts": 0.5}}, "text.parts is 0.5"),
        ({"text": {"caption_draws": 3}}, "text.caption_draws is 3"),
        ({"text": {"nameless": 0.25}}, "text.nameless is 0.25"),
        ({"text": {"both": True}, "loss": {"gates": True}}, "loss.gates is true, but"),
        ({"model": {"heads": ["captions"]}}, "model.heads"),
        ({"text": NO_NAMES}, "nothing is left to say"),
    ],
)
def test_a_demand_without_captions_is_refused(sections, key):
    with pytest.raises(UsageError, match=key) as error:
        check_texts(recipe(**sections), True, WITHOUT)
    assert "domainclip caption" in error.value.hint
    check_texts(recipe(**sections), True, [(), ("a caption",)])
    check_texts(recipe(**sections), True, WITHOUT, [("a stored caption",), ()])


def test_what_speaks_of_captions_that_are_not_there_is_said():
    (line,) = check_texts(recipe(), True, WITHOUT)
    told = "pictures are paired with names alone; text.captions 0.5, the captions head do nothing"
    assert told in line
    (line,) = check_texts(recipe(text={"captions": 1, "both": True}), True, WITHOUT)
    assert "text.captions 1, text.both, the captions head do nothing" in line
    assert check_texts(recipe(text={"captions": 0}), True, WITHOUT) == []
    assert check_texts(recipe(), True, [(), ("a caption",)]) == []


def test_captions_that_are_never_drawn_are_no_captions():
    with pytest.raises(UsageError, match=r"text.captions is 0") as error:
        check_texts(recipe(text={"negatives": 1, "captions": 0}), True, [("a caption",)])
    assert "--text.negatives 0" in error.value.hint


def test_names_of_no_weight_are_no_harm_where_there_are_captions():
    check_texts(recipe(text=NO_NAMES), True, [("a caption",)])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures")
    for split in ("train", "val", "test"):
        for label in "ab":
            (place / split / label).mkdir(parents=True)
            noise = np.random.default_rng(ord(label)).integers(0, 255, (20, 20, 3), np.uint8)
            for i in range(2):
                Image.fromarray(noise).save(place / split / label / f"{i}.png")
    return place


@pytest.mark.parametrize("demand", [("--text.negatives", "1"), ("--text.nameless", "0.5")])
def test_it_is_refused_as_typed(pictures, tmp_path, demand):
    args = ("--domain", "biology", "--tiny", "--data", pictures, "--out", tmp_path / "run", *demand)
    result = CliRunner().invoke(
        app, ["train", *map(str, args)], env={"DOMAINCLIP_HOME": str(pictures / "home")}
    )
    assert result.exit_code == 2
    assert f"{demand[0][2:]} is {demand[1]}, but no training picture has a caption" in result.stderr
    assert f"go without: {demand[0]} 0" in result.stderr
    assert not (tmp_path / "run").exists()


def test_where_no_label_tells_pictures_apart_captions_have_to():
    said = [("a caption",), ("another",)]
    (line,) = check_texts(recipe(), False, said)
    assert line == "no label tells the pictures apart: pictures are paired with captions alone"
    (line,) = check_texts(recipe(text={"both": True}), False, said)
    assert line.endswith("text.both does nothing")
    (line,) = check_texts(recipe(text={"both": True, "nameless": 0.5}), False, said)
    assert line.endswith("text.both, text.nameless do nothing")
    with pytest.raises(UsageError, match=r"text\.prefix"):
        check_texts(recipe(text={"prefix": True}), False, said)
    with pytest.raises(UsageError, match=r"text.captions is 0, but no label") as error:
        check_texts(recipe(text={"captions": 0}), False, said)
    assert "--text.captions" in error.value.hint and "data.columns.label" in error.value.hint
