"""The model card: its fields as the Hub's own client reads them, its sentences as a person does."""

import json

import pytest
import yaml
from huggingface_hub import ModelCard
from run_folders import base_note, card_of, make_run

from domainclip.errors import DataError
from domainclip.zoo.facts import gather, hide_path
from domainclip.zoo.licences import read_licence
from domainclip.zoo.model_card import Publication, front_matter, write_model_card

PARTS = [
    "Model details", "Uses", "How to use it", "Training data", "Training procedure", "Evaluation",
    "Limits and risks", "Environmental impact", "Where it comes from", "Licence", "Citation",
    "Card",
]  # fmt: skip


def publish(licence="MIT", **said):
    return Publication("me/cells", read_licence(licence), **said)


def card(run, licence="MIT", **said):
    return write_model_card(gather(run), publish(licence, **said))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("card") / "first")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Own pictures, on a model of the zoo."""
    return make_run(
        tmp_path_factory.mktemp("card") / "tuned",
        own=True,
        base="general/them",
        base_note=base_note("Apache-2.0", notice="Not for the clinic."),
        data_licences={"": 8, "CC-BY-4.0": 30, "odd | one": 2},
        hub_data=["them/pictures"],
    )


def test_the_hubs_client_reads_its_fields(run):
    data = ModelCard(card(run)).data
    assert (data.license, data.library_name, data.model_name) == ("mit", "open_clip", "cells")
    assert data.pipeline_tag == "zero-shot-image-classification"
    assert {"clip", "domainclip", "medical", "schematic-data"} <= set(data.tags)
    assert data.base_model is None and data.datasets is None
    found = {(r.metric_type, r.dataset_split): r for r in data.eval_results}
    top = found["accuracy", "test"]
    assert top.metric_value == 0.625 and "type" in top.metric_name  # the finest rank
    assert top.metric_args == {"n": 64, "low": 0.5, "high": 0.74}
    assert found["recall", "test"].metric_value == 0.25
    assert data.metrics == ["accuracy", "recall"]


def test_all_parts_are_there_and_nothing_is_left_open(run):
    text = card(run, author="Ann")
    heads = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert heads == PARTS
    assert "$" not in text and "None" not in text and "{}" not in text


def test_it_tells_results_with_intervals_and_on_what(run):
    text = card(run)
    assert "| test | seen | type | 0.625 [0.500, 0.740] | 0.500 | 64 |" in text
    assert "| test | captions | 0.250 [0.100, 0.400] | 64 |" in text
    assert "seed 0: how much another seed would change is not measured" in text
    assert "No number here tells how well a model does on photographs" in text
    assert "1 of 5 texts of the test did not fit" in text


def test_it_tells_data_recipe_and_cost(run):
    text = card(run)
    assert "40 train, 64 test" in text and "| MIT | 40 | MIT: free to use" in text
    assert "| `model.name` | `tiny` |" in text and "`optim.beta2`" not in text
    assert "1 min 1 s of training" in text and "Some Processor" in text
    assert "Energy and emissions were not measured, so none are given" in text
    assert "co2_eq_emissions" not in text
    assert "1. cells: trained on built-in pictures" in text
    assert "2. tiny, weights drawn at random (seed 0)" in text
    notice = card_of(run)["notice"]
    assert notice and f"> **{notice}**" in text


def test_it_tells_what_it_was_made_from(tuned):
    text = card(tuned, "Apache-2.0", data_licence="CC0-1.0")
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation) == ("them/model", "finetune")
    assert data.datasets == ["them/pictures"]
    assert "> **Not for the clinic.**" in text
    assert "general/them: them/model@aaaaaaaaaaaa; licence Apache-2.0" in text
    assert "| none recorded | 8 | CC0-1.0 (said by the publisher): free" in text
    assert "| odd \\| one | 2 | odd \\| one: not known |" in text
    assert "Cite what it was made from as well: general/them" in text
    assert "schematic" not in text


def test_paths_of_this_disk_stay_here(tuned):
    text = card(tuned) + json.dumps(gather(tuned).card)
    assert "/home/ann" not in text and "secret" not in text
    assert "**Source:** cells" in text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/home/ann/x.csv", "x.csv"),
        ("~/x", "x"),
        ("../x/y", "y"),
        ("local-dir:/a/b", "local-dir:b"),
        ("file:///a/b", "file://b"),
        ("C:\\Users\\ann\\x", "x"),
        ("/a/store@3", "store@3"),
        ("them/model", "them/model"),
        ("hf-hub:them/model", "hf-hub:them/model"),
    ],
)
def test_what_is_a_path(said, told):
    assert hide_path(said) == told


def test_a_licence_that_the_hub_has_no_word_for(run):
    head = front_matter(gather(run), publish("HAI-DEF"))
    assert (head["license"], head["license_name"]) == ("other", "hai-def")
    assert head["license_link"].startswith("https://")


def test_carbon_is_told_where_it_was_measured(tmp_path):
    run = make_run(tmp_path / "run")
    lines = ["timestamp,duration,emissions,energy_consumed,country_name,cpu_model,gpu_model",
             "t0,1,0.5,1,Norway,A CPU,", "t1,60,0.0123,0.25,Norway,A CPU,"]  # fmt: skip
    (run / "emissions.csv").write_text("\n".join(lines))
    text = card(run)
    assert "12.3 g CO2 equivalents, 0.25 kWh, measured by CodeCarbon" in text
    assert ModelCard(text).data.co2_eq_emissions == {
        "emissions": 12.3, "source": "codecarbon", "training_type": "pre-training",
        "geographical_location": "Norway", "hardware_used": "A CPU",
    }  # fmt: skip
    (run / "emissions.csv").write_text("emissions\nmany\n")
    with pytest.raises(DataError, match="not what CodeCarbon writes"):
        card(run)


def test_a_folder_alone_claims_nothing(tmp_path):
    model = make_run(tmp_path / "run") / "model"
    (tmp_path / "run" / "recipe.yaml").unlink()
    text = card(model)
    assert "holds no results" in text
    assert "model-index" not in yaml.safe_load(text.split("---\n")[1])
    (model / "domainclip.json").unlink()
    assert "does not tell how it was trained" in card(model)


def test_a_publishers_own_words(run):
    text = card(run, author="Ann B.", notes="- Weak on **old** slides.", year=2026)
    assert "- Weak on **old** slides." in text.partition("## Limits")[2].partition("## Env")[0]
    assert "author = {Ann B.}" in text and "@misc{cells_2026" in text
