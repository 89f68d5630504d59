"""Layers, their order, and what is said of every mistake."""

import re
from pathlib import Path

import pytest

from domainclip.errors import UsageError
from domainclip.recipe.load import RecipeError, load_alone, load_recipe
from domainclip.recipe.locate import bundled_recipes, locate


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "my.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def problems(*args, **kwargs) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(*args, **{"environ": {}, **kwargs})
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_each_layer_beats_the_one_before_it_and_leaves_its_origin(write):
    write("optim: {lr: 1, beta2: 0.1, warmup: 0.1, final_lr: 0.1}", "parent.yaml")
    file = write("extends: parent.yaml\noptim:\n  beta2: 0.2\n  warmup: 0.2\n  final_lr: 0.2\n")
    environ = {"DOMAINCLIP_OPTIM__WARMUP": "0.3", "DOMAINCLIP_OPTIM__FINAL_LR": "0.3"}
    loaded = load_recipe("medical", file, {"optim.final_lr": "0.4"}, environ)
    optim = loaded.recipe.optim
    assert (optim.lr, optim.beta2, optim.warmup, optim.final_lr) == (1, 0.2, 0.3, 0.4)
    assert optim.weight_decay == 0.1
    parent = str(Path(file).with_name("parent.yaml"))
    assert {k: v for k, v in loaded.origins.items() if v != "default"} == {
        "domain": "command line",
        "optim.lr": f"{parent}:1",
        "optim.beta2": f"{file}:3",
        "optim.warmup": "environment (DOMAINCLIP_OPTIM__WARMUP)",
        "optim.final_lr": "command line",
    }


def test_the_domain_may_come_from_any_layer(write):
    file = write("domain: remote_sensing")
    assert load_recipe(None, file, environ={}).recipe.domain == "remote_sensing"
    environ = {"DOMAINCLIP_DOMAIN": "medical"}
    assert load_recipe(None, file, environ=environ).recipe.domain == "medical"
    assert load_recipe("biology", file, environ=environ).recipe.domain == "biology"
    with pytest.raises(UsageError, match="which field"):
        load_recipe(environ={})


def test_a_name_alone_is_looked_for_in_the_domain_then_in_methods(tmp_path, monkeypatch):
    for name in ("medical/a", "methods/a", "methods/b"):
        (tmp_path / name).with_suffix(".yaml").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("")
    monkeypatch.setattr("domainclip.paths.recipes_dir", lambda: tmp_path)
    assert locate("a", "medical") == tmp_path / "medical/a.yaml"
    assert locate("b", "medical") == tmp_path / "methods/b.yaml"
    assert locate("methods/a", "medical") == tmp_path / "methods/a.yaml"
    with pytest.raises(UsageError) as caught:
        locate("medical/aa")
    assert "medical/a" in caught.value.hint


def test_a_run_folder_stands_for_its_recipe(write, tmp_path):
    write("seed: 5\ndomain: medical", "recipe.yaml")
    assert load_alone(str(tmp_path)).recipe.seed == 5
    with pytest.raises(UsageError, match="no recipe file"):
        locate(str(tmp_path / "other.yaml"))


def test_all_mistakes_of_all_layers_are_told_at_once_with_their_place(write):
    parent = write("optim: {lrr: 1}\n", "parent.yaml")
    file = write("extends: parent.yaml\nloss:\n  kind: clap\ndata:\n  batch_size: many\n")
    told = problems(
        "medicl",
        file,
        {"train.steps": "0", "optim.beta": "1", "model.heads": "names,x"},
        environ={"DOMAINCLIP_SED": "1", "DOMAINCLIP_SEED": "-1"},
    )
    expected = [
        f"{parent}:1: optim.lrr: no such key; did you mean 'optim.lr'?",
        f"{file}:3: loss.kind = clap: should be one of clip, siglip; did you mean 'clip'?",
        f"{file}:5: data.batch_size = many: should be a whole number",
        "command line: domain = medicl: no such domain; did you mean 'medical'?",
        "command line: train.steps = 0: should be at least 1",
        "command line: optim.beta: no such key; did you mean 'optim.beta2'?",
        "command line: model.heads = [names, x]: should be one of names, captions",
        "environment (DOMAINCLIP_SED): sed: no such key; did you mean 'seed'?",
        "environment (DOMAINCLIP_SEED): seed = -1: should be at least 0",
    ]
    assert sorted(told) == sorted(expected)


def test_no_boilerplate_of_the_validation_library_is_shown(write):
    file = write(
        "data:\n  batch_size: [1]\n  streaming: perhaps\nmodel: {heads: 3}\noptim: {lr: x}\n"
    )
    text = "\n".join(problems("medical", file))
    assert not re.search(r"pydantic|Input|input_|\[type|literal", text)
    assert text.count("\n") == 3


def test_reserved_names_of_the_environment_are_no_keys():
    environ = {"DOMAINCLIP_HOME": "/x", "DOMAINCLIP_DEBUG": "1", "OTHER_SEED": "3", "SEED": "4"}
    assert load_recipe("medical", "quickstart", environ=environ).recipe.seed == 0


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001", "1.0e-4", "+1e-4", ".0001"])
def test_every_way_to_write_a_number_is_a_number(write, text):
    assert (
        load_recipe("medical", write(f"optim: {{lr: {text}}}"), environ={}).recipe.optim.lr == 1e-4
    )
    assert load_recipe("medical", "quickstart", {"optim.lr": text}, {}).recipe.optim.lr == 1e-4


@pytest.mark.parametrize("text", ["012", "no", "on", "1e5", "2024-01-02", "1:30", "0x1F", "12e03"])
def test_text_keys_keep_what_is_written(write, text):
    assert load_recipe("medical", write(f"out: {text}"), environ={}).recipe.out == text
    columns = load_recipe("medical", write(f"data: {{columns: {{no: {text}}}}}"), environ={})
    assert columns.recipe.data.columns == {"no": text}
    assert load_recipe("medical", "quickstart", {"out": text}, {}).recipe.out == text


def test_a_thousand_steps_may_be_written_1e3_but_true_is_no_number():
    assert (
        load_recipe("medical", "quickstart", {"train.steps": "1e3"}, {}).recipe.train.steps == 1000
    )
    assert problems("medical", "quickstart", {"train.steps": "true"}) == (
        "command line: train.steps = true: should be a whole number",
    )
    assert problems("medical", "quickstart", {"optim.lr": ".inf"}) == (
        "command line: optim.lr = .inf: should be a finite number",
    )


def test_parts_of_a_mapping_are_merged_and_an_empty_one_clears_it(write):
    file = write("data:\n  columns:\n    label: species\n    image: file\n")
    flags = {"data.columns.image": "path.of.it", "data.columns.a.b": "c"}
    assert load_recipe("medical", file, flags, {}).recipe.data.columns == {
        "label": "species",
        "image": "path.of.it",
        "a.b": "c",
    }
    assert load_recipe("medical", file, {"data.columns": "{}"}, {}).recipe.data.columns == {}
    whole = load_recipe("medical", file, {"data.columns": "label=a b,group=c"}, {})
    assert whole.recipe.data.columns == {"label": "a b", "group": "c"}


def test_lists_are_written_with_commas_or_brackets():
    for text in ("captions,names", "[captions, names]"):
        recipe = load_recipe("medical", "quickstart", {"model.heads": text}, {}).recipe
        assert recipe.model.heads == ("captions", "names")


def test_a_later_length_replaces_an_earlier_one_but_two_in_one_place_are_refused(write):
    file = write("train:\n  minutes: 3\n")
    length = load_recipe("medical", file, {"train.epochs": "2"}, {}).recipe.train
    assert (length.epochs, length.steps, length.minutes) == (2, None, None)
    both = write("train:\n  minutes: 3\n  steps: 5\n")
    assert problems("medical", both) == (
        f"{both}:2, {both}:3: train: give one of epochs, steps and minutes, not steps and minutes",
    )


def test_tiny_shrinks_any_recipe_but_explicit_options_win():
    tiny = load_recipe("medical", "quickstart", tiny=True, environ={}).recipe
    assert (tiny.train.steps, tiny.train.minutes, tiny.data.batch_size) == (4, None, 16)
    assert 2 * tiny.data.batch_size <= tiny.data.limit <= 4 * tiny.data.batch_size
    flags = {"train.epochs": "1", "data.batch_size": "32"}
    loaded = load_recipe("medical", "quickstart", flags, {}, tiny=True)
    assert (loaded.recipe.train.epochs, loaded.recipe.train.steps) == (1, None)
    assert (loaded.recipe.data.batch_size, loaded.recipe.data.limit) == (32, 128)
    assert loaded.origins["data.limit"] == "--tiny"


def test_a_cycle_of_parents_is_refused(write):
    first = write("extends: b.yaml", "a.yaml")
    write("extends: ./a.yaml", "b.yaml")
    (told,) = problems("medical", first)
    assert "extend each other" in told and "b.yaml:1" in told
    (told,) = problems("medical", write("extends: self.yaml", "self.yaml"))
    assert "extend each other" in told


def test_one_parent_at_most_and_a_missing_one_is_told_with_the_rest(write):
    assert "one parent" in problems("medical", write("extends: [a, b]"))[0]
    file = write("extends: quickstrat\nseed: x")
    first, second = problems("medical", file)
    assert first.startswith(f"{file}:1: extends: no recipe 'quickstrat'")
    assert "did you mean 'quickstart'?" in first
    assert second == f"{file}:2: seed = x: should be a whole number"


def test_a_bundled_recipe_extends_by_name_and_others_by_path_or_name(write):
    file = write("extends: methods/quickstart\nseed: 3")
    recipe = load_recipe("medical", file, environ={}).recipe
    assert (recipe.seed, recipe.train.minutes) == (3, load_alone("quickstart").recipe.train.minutes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2\n", "{file}:2: seed: given twice, first on line 1"),
        ("optim: {lr: 1}\noptim.lr: 2\n", "{file}:2: optim.lr: given twice"),
        ("data: 3\n", "{file}:1: data: is a section; its keys go below it"),
        ("- a\n- b\n", "{file}: is no recipe: it should hold `key: value` lines"),
        ("seed: !!python/name:os.system\n", "{file}:1: seed: cannot be read"),
        ("seed: [1\ntrain: 2\n", "{file}:2: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "{file}:2: not valid YAML"),
        ("seed: null\n", "{file}:1: seed = null: should be a whole number"),
        ("out:\n", "{file}:1: out = null: should be text"),
        ("1: 2\n", "{file}:1: 1: no such key"),
        ("seed: *x\n", "{file}:1: not valid YAML"),
    ],
)
def test_a_bad_file_is_named_with_its_line(write, text, said):
    file = write(text)
    (told,) = problems("medical", file)
    assert told.startswith(said.format(file=file))


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"seed: \xff\xfe")
    (told,) = problems("medical", str(tmp_path / "x.yaml"))
    assert told.startswith(f"{tmp_path / 'x.yaml'}: cannot be read")


def test_an_empty_file_and_an_empty_section_change_nothing(write):
    bare = load_recipe("medical", write(""), environ={}).recipe
    assert load_recipe("medical", write("optim:\n"), environ={}).recipe == bare


@pytest.mark.parametrize("name", bundled_recipes())
def test_every_bundled_recipe_is_valid_and_says_what_it_is(name):
    recipe = load_alone(name).recipe
    folder = name.partition("/")[0]
    assert recipe.domain == ("" if folder == "methods" else folder)
    assert recipe.about.title


def test_every_domain_has_the_recipe_that_it_starts_with():
    assert {f"{d}/quickstart" for d in ("biology", "medical", "remote_sensing")} <= set(
        bundled_recipes()
    )


@pytest.mark.parametrize(
    ("key", "value", "without", "and_"),
    [
        ("loss.init_bias", -5, "loss.kind siglip", {"loss.kind": "siglip"}),
        ("loss.softness", 2, "loss.targets tree", {"loss.targets": "tree"}),
        ("loss.gates", True, "text.both", {"text.both": True}),
        ("model.lora_alpha", 16, "model.lora", {"model.lora": 8}),
        ("data.balance_at", 50, "data.balance", {"data.balance": "label"}),
        ("data.replay_share", 0.3, "data.replay", {"data.replay": "pairs"}),
    ],
)
def test_a_key_that_does_nothing_is_refused(key, value, without, and_):
    (problem,) = problems("biology", flags={key: value})
    assert problem == f"command line: {key} does nothing without {without}"
    load_recipe("biology", None, {key: value, **and_}, {})


@pytest.mark.parametrize(
    ("batch", "micro", "devices", "said"),
    [
        (60, 7, 1, "train.micro_batch 7 does not divide data.batch_size 60; 6 and 10 do"),
        (60, 12, 2, "12 does not divide the 30 pictures that each of 2 devices has of data.batch"),
        (60, 10, 2, ""),
        (60, 40, 2, ""),
    ],
)
def test_parts_divide_what_a_device_has_of_the_batch(batch, micro, devices, said):
    flags = {"data.batch_size": batch, "train.micro_batch": micro, "train.devices": devices}
    if said:
        assert said in problems("biology", flags=flags)[0]
    else:
        load_recipe("biology", None, flags, {})


def test_a_crop_without_augmentation_is_refused():
    (problem,) = problems("biology", flags={"train.crop": 0.5, "train.augment": False})
    assert problem == "command line: train.crop does nothing without train.augment"
    assert load_recipe("biology", None, {"train.crop": 0.5}, {}).recipe.train.crop == 0.5
