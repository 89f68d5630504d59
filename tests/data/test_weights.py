"""Stored weights of pairs: read, scaled, and refused where they are no weights."""

import data_fakes as fakes
import numpy as np
import pytest

from domainclip.data.datamodule import open_data
from domainclip.errors import DataError
from domainclip.recipe.schema import Recipe


def opened(root, cells, column="weight", **data):
    splits = ["train", "train", "train", "val", "test"]
    rows = [
        {
            "file_name": f"{i}.png", "label": "ab"[i % 2], column: cells[i % len(cells)],
            "split": splits[i % 5],
        }
        for i in range(20)
    ]  # fmt: skip
    for i, row in enumerate(rows):
        fakes.picture(root / row["file_name"], seed=i)
    source = fakes.write_csv(root / "metadata.csv", rows)
    recipe = Recipe(domain="fake", data={"source": str(source), "workers": 0, **data})
    return open_data(recipe, fakes.make_domain(), 16)


def test_weights_are_1_on_average_over_training(tmp_path):
    data = opened(tmp_path, ["1", "2", "0", "4", "0.5"])
    assert data.drawn.weights is data.splits["train"].weights
    assert data.drawn.weights.dtype == np.float32
    np.testing.assert_allclose(data.drawn.weights, [1, 2, 0] * 4)
    np.testing.assert_allclose(data.splits["val"].weights, 4)
    assert "weight <- weight" in data.messages
    assert "pairs are weighed from 0 to 2, 1 on average" in data.messages
    assert opened(tmp_path / "b", ["1"], column="quality").drawn.weights is None


def test_the_column_can_be_named(tmp_path):
    data = opened(tmp_path, ["1", "3", "2"], "trust", columns={"weight": "trust"})
    np.testing.assert_allclose(data.drawn.weights.mean(), 1, rtol=1e-6)
    other = opened(tmp_path / "b", ["1", "3", "4"], "trust", columns={"weight": "trust"})
    changed = {part for part in data.parts if data.parts[part] != other.parts[part]}
    assert changed == {"weights", "pictures"}  # the pictures lie in another folder


@pytest.mark.parametrize("cell", ["-1", "inf", "nan", "", "heavy"])
def test_what_is_no_weight_is_refused(tmp_path, cell):
    with pytest.raises(DataError, match=r"weights? \('1.png'.* that of 1.png is") as caught:
        opened(tmp_path, ["1", cell, "1"])
    assert "from 0 on" in caught.value.hint


def test_all_weights_zero_is_refused(tmp_path):
    with pytest.raises(DataError, match="all training pictures have the weight 0"):
        opened(tmp_path, ["0"])
