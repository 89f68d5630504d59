"""Real data sets, where a folder of them is at hand: they lie outside the project."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from domainclip.data.datamodule import open_data
from domainclip.data.inspect import inspect
from domainclip.data.sources import open_source
from domainclip.domains.registry import get_domain
from domainclip.recipe.schema import Recipe

SETS = os.environ.get("DOMAINCLIP_TEST_DATA", "")


def path_of(name):
    folder = Path(SETS, name)
    if not SETS or not folder.is_dir():
        pytest.skip(f"DOMAINCLIP_TEST_DATA has no {name}")
    return folder


@pytest.mark.parametrize(
    ("name", "domain", "counts", "labels"),
    [
        ("rs_eurosat10", "remote_sensing", (900, 200, 500), 10),
        ("bio_plantvillage39", "biology", (702, 117, 351), 39),
        ("bio_plantseedlings12", "biology", (600, 120, 240), 12),
        ("med_bccdcells3", "medical", (390, 90, 167), 3),
        ("med_cxrnotes", "medical", (145, 24, 52), 4),
    ],
)
def test_splits_and_labels(name, domain, counts, labels):
    source = open_source(str(path_of(name)), get_domain(domain))
    found = Counter(source.dataset["split"])
    assert tuple(found[split] for split in ("train", "val", "test")) == counts
    assert len(set(source.nodes.tolist())) == labels
    assert source.unreadable == []


def test_the_disease_lies_below_its_host():
    source = open_source(str(path_of("bio_plantvillage39")), get_domain("biology"))
    assert source.ranks[-2:] == ("species", "label")
    row = source.dataset["label"].index("Apple___Apple_scab")
    assert source.tree.path(int(source.nodes[row]))[-2:] == (
        "Malus domestica",
        "Apple___Apple_scab",
    )
    bare = source.dataset["label"].index("Background_without_leaves")
    assert source.tree.path(int(source.nodes[bare])) == ("Background_without_leaves",)


def test_a_label_that_is_the_species_adds_no_rank():
    source = open_source(str(path_of("bio_plantseedlings12")), get_domain("biology"))
    assert source.ranks[-1] == "species"
    row = source.dataset["label"].index("Zea mays")
    assert source.tree.name(int(source.nodes[row]), "common") == "Maize"


def test_patients_stay_together(tmp_path):
    folder = path_of("med_cxrnotes")
    source = open_source(str(folder), get_domain("medical"))
    groups = source.dataset["group"]
    assert len(set(groups)) == 145
    lines = (folder / "metadata.csv").read_text(encoding="utf-8-sig").replace("file_name,", "path,")
    table = tmp_path / "cases.csv"
    table.write_text(lines.replace(",split,", ",old_split,"), encoding="utf-8")
    for part in ("train", "val", "test"):
        (tmp_path / part).symlink_to(folder / part, target_is_directory=True)
    made = open_source(str(table), get_domain("medical"), columns={"label": "finding"}, seed=1)
    where = {}
    for group, split in zip(made.dataset["group"], made.dataset["split"], strict=True):
        where.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    counts = Counter(made.dataset["split"])
    assert 25 <= counts["test"] <= 65
    assert counts["val"] >= 8


def test_pictures_and_captions_reach_the_run():
    folder = path_of("med_cxrnotes")
    recipe = Recipe(domain="medical", data={"source": str(folder), "workers": 0, "batch_size": 16})
    data = open_data(recipe, get_domain("medical"), 32)
    assert data.unreadable == []
    assert all(len(captions) == 1 for captions in data.captions["train"])
    assert "CC BY-NC-SA" in data.licences
    data.steps = 2
    batches = list(data.train_dataloader())
    assert batches[0].pixels.shape == (16, 3, 32, 32)
    pixels = data.splits["test"].read(range(52))
    assert np.isfinite(pixels.std()) and pixels.std() > 30


def test_inspection_finds_nothing_wrong(tmp_path):
    folder = path_of("rs_eurosat10")
    seen = inspect(str(folder), get_domain("remote_sensing"), sheet=tmp_path / "sheet.png")
    assert (seen.problems, seen.broken, seen.copies) == ([], [], [])
    assert seen.tables()["sizes"][0] == {"side": "width", "least": 64, "median": 64, "most": 64}
