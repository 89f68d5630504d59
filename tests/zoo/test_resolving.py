"""Names of the zoo in the place of folders: what they mean, and what is said where they do not."""

import json

import pytest
from PIL import Image
from tiny_model import CONFIG, NAME, REPO, make_files, write_card, zoo

from domainclip import load_model
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.inference.encoding import Encoder
from domainclip.recipe.schema import Recipe
from domainclip.training.build import build_model
from domainclip.zoo.pull import pull
from domainclip.zoo.resolving import find_model, whole_name


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("published"))


@pytest.fixture
def folder(hub, files):
    hub.add(REPO, files)
    write_card()
    return pull(NAME)


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_long_and_short_names_mean_the_folder(folder):
    assert find_model(NAME) == find_model("little") == str(folder)


@pytest.mark.parametrize(
    "name",
    ["hf-hub:org/name", "local-dir:some/where", "ViT-B-32", "ViT-B-32/openai", "runs/first",
     "convnext_base/laion400m_s13b_b51k", "small"],
)  # fmt: skip
def test_other_names_stay_as_they_are(folder, name):
    assert find_model(name) == name


def test_a_folder_that_holds_a_model_goes_before_the_zoo(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir(parents=True)
    (tmp_path / "little" / "model").mkdir(parents=True)
    assert find_model(NAME) == find_model("little") == str(folder)  # nothing in them
    for place in (tmp_path / NAME, tmp_path / "little" / "model"):
        (place / "open_clip_config.json").write_bytes((folder / CONFIG).read_bytes())
    assert find_model(NAME) == NAME and find_model("little") == "little"


def test_a_name_of_open_clip_goes_before_a_short_one():
    write_card("general/rn50")
    write_card("general/tiny")
    assert find_model("tiny") == "tiny"  # a built-in config
    with pytest.raises(UsageError, match="general/rn50 is not on this machine"):
        find_model("rn50")  # open_clip's is RN50


def test_a_model_that_is_not_pulled_says_how_to_get_it():
    write_card()
    for name in (NAME, "little"):
        with pytest.raises(UsageError) as error:
            Encoder(name).folder  # noqa: B018
        assert error.value.hint == f"domainclip zoo pull {NAME}"


def test_a_mistyped_name_has_its_nearest():
    write_card()
    with pytest.raises(UsageError) as error:
        find_model("general/litle")
    assert "general/little" in error.value.hint


def test_a_blocked_model_says_why():
    write_card(blocked="its code would have to be run")
    with pytest.raises(UsageError, match="its code would have to be run"):
        load_model(NAME)


def test_a_short_name_of_two_fields_is_asked_about_or_is_the_domains():
    write_card()
    write_card("biology/little")
    with pytest.raises(UsageError, match="biology/little, general/little"):
        find_model("little")
    assert whole_name("little", "biology") == "biology/little"


def test_every_command_that_takes_a_model_takes_the_name(folder, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = zoo(photo, "--model", NAME, "--cls", "cat,dog", "--json", group="predict")
    assert named.exit_code == 0, named.stderr
    by_folder = zoo(photo, "--model", folder, "--cls", "cat,dog", "--json", group="predict")
    assert json.loads(named.stdout) == json.loads(by_folder.stdout)
    assert zoo(photo, "--model", "little", "--output", "v.parquet", group="embed").exit_code == 0
    assert zoo(photo, "--model", "little", "--out", "i", group="index").exit_code == 0
    found = zoo("a cat", "--index", "i", "--json", group="search")
    assert found.exit_code == 0 and len(json.loads(found.stdout)) == 1


def test_a_recipe_starts_from_the_name(folder):
    recipe = Recipe.model_validate({"domain": "biology", "model": {"name": NAME}})
    model, pretrained = build_model(recipe)
    assert pretrained
    own = load_model(folder).clip.visual.state_dict()
    assert all((value == own[key]).all() for key, value in model.clip.visual.state_dict().items())


def test_the_notice_is_said_with_results(hub, files, photo):
    hub.add(REPO, files)
    write_card("medical/little")
    write_card("medical/other", notice="Not for anything at all.")
    for name, notice in (
        ("medical/little", get_domain("medical").notice),
        ("medical/other", "Not for anything at all."),
    ):
        assert notice in zoo("pull", name).stderr
        said = zoo(photo, "--model", name, "--cls", "cat,dog", group="predict")
        assert said.exit_code == 0 and said.stderr.count(notice) == 1
