"""Soft weights over labels: what is added to logits, by rank, under conditions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, LabelError, UsageError
from domainclip.inference.candidates import choose_from_names, choose_from_tree
from domainclip.inference.priors import Prior
from domainclip.inference.scoring import into_probabilities

COLUMNS = {
    "family": ["F", "F", "G", "G"],
    "species": ["a", "b", "c", "d"],
    "common": ["ant", "", "", ""],
}
TREE = LabelTree.from_columns(COLUMNS, ("family", "species"))
CANDIDATES = choose_from_tree(TREE, TREE.leaves, PromptSet())


def table(tmp_path, text):
    file = tmp_path / "prior.csv"
    file.write_text(text, encoding="utf-8")
    return Prior.from_table(file)


def weights(found):
    """The weights behind what is added, the greatest of them 1."""
    added, _ = found
    return added.exp().tolist()


def test_a_prior_multiplies_probabilities_by_its_weights(tmp_path):
    prior = table(tmp_path, "species,weight\na,4\nb,1\nc,2\nd,1\n")
    added, unknown = prior.weigh(CANDIDATES)
    assert added.dtype == torch.float32 and unknown == []
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    found = into_probabilities(logits + added)
    expected = logits.softmax(-1) * torch.tensor([4.0, 1, 2, 1])
    torch.testing.assert_close(found, expected / expected.sum())


def test_a_strength_is_a_power_and_0_changes_nothing(tmp_path):
    prior = table(tmp_path, "species,weight\na,4\nb,1\nc,1\nd,1\n")
    assert weights(prior.weigh(CANDIDATES, strength=0.5)) == pytest.approx([1, 0.5, 0.5, 0.5])
    assert prior.weigh(CANDIDATES, strength=0)[0].tolist() == [0, 0, 0, 0]
    for wrong in (-1, math.nan, math.inf):
        with pytest.raises(UsageError, match="strength"):
            prior.weigh(CANDIDATES, strength=wrong)


def test_names_may_be_of_any_rank_and_the_finest_counts(tmp_path):
    prior = table(tmp_path, "name,weight\nF,2\nant,8\nG,4\n")
    assert weights(prior.weigh(CANDIDATES)) == pytest.approx([1, 0.25, 0.5, 0.5])
    ranked = table(tmp_path, "family,weight\nF,2\nG,1\na,9\n")
    found, unknown = ranked.weigh(CANDIDATES)
    assert found.exp().tolist() == pytest.approx([1, 1, 0.5, 0.5])
    assert unknown == ["a"]  # no family


def test_labels_without_a_weight_are_unlikely_and_never_ruled_out(tmp_path):
    prior = table(tmp_path, "species,weight\na,3\nb,1\nc,0\n")
    floor = 0.01 * 2  # of the mean of 3 and 1
    assert weights(prior.weigh(CANDIDATES)) == pytest.approx([1, 1 / 3, floor / 3, floor / 3])
    rare = table(tmp_path, "species,weight\na,1000\nb,1\n")
    assert weights(rare.weigh(CANDIDATES))[2] == pytest.approx(1 / 1000)  # no more than b has
    assert prior.weigh(CANDIDATES, hard=True)[0].tolist()[2:] == [-np.inf, -np.inf]
    assert prior.weigh(CANDIDATES, hard=True, strength=0)[0].tolist()[2:] == [-np.inf, -np.inf]
    p = into_probabilities(torch.zeros(1, 4) + prior.weigh(CANDIDATES, hard=True)[0])
    assert p.tolist() == [pytest.approx([0.75, 0.25, 0, 0])]


def test_conditions_choose_rows_and_the_rest_is_added_up(tmp_path):
    prior = table(
        tmp_path,
        "species,place,month,weight\n"
        "a,Kenya,6,1\na,Kenya,7,2\nb,Kenya,06,3\na,Peru,6,5\nb,,6,1\nc,Peru,6,1\n",
    )
    names = prior.weigh(CANDIDATES, {"place": "kenya", "Month": "6.0"})[0].exp().tolist()
    assert names[:2] == pytest.approx([0.25, 1])  # 1 against 3 + 1
    whole_year = prior.weigh(CANDIDATES, {"place": "Kenya"})[0].exp().tolist()
    assert whole_year[:2] == pytest.approx([3 / 4, 1])
    everything = prior.weigh(CANDIDATES)[0].exp().tolist()
    assert everything[:3] == pytest.approx([1, 4 / 8, 1 / 8])


def test_a_condition_may_be_a_range(tmp_path):
    prior = table(tmp_path, "species,age,weight\na,..17,1\nb,18..64,1\nc,65..,1\nd,,0.5\n")
    for age, best in ((0, 0), (17, 0), (17.5, None), (18, 1), (64, 1), (65, 2), (99, 2)):
        found = prior.weigh(CANDIDATES, {"age": str(age)})[0]
        assert int(found.argmax()) == (3 if best is None else best)


def test_what_is_not_there_is_told(tmp_path):
    prior = table(tmp_path, "species,month,weight\na,6,1\nq,6,1\n")
    assert prior.weigh(CANDIDATES)[1] == ["q"]
    with pytest.raises(UsageError, match="no column 'mouth'") as error:
        prior.weigh(CANDIDATES, {"mouth": "6"})
    assert "month" in error.value.hint
    with pytest.raises(UsageError, match="no row for month = 13") as error:
        prior.weigh(CANDIDATES, {"month": "13"})
    assert "6" in error.value.hint
    with pytest.raises(LabelError, match="no label has one of its names"):
        table(tmp_path, "species,weight\nq,1\n").weigh(CANDIDATES)
    with pytest.raises(LabelError, match="no label has a weight"):
        table(tmp_path, "species,weight\na,0\n").weigh(CANDIDATES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("species,count\na,1\n", "columns species, count"),
        ("weight,species\n1,a\n", "columns weight, species"),
        ("species,weight\na,1\nb,-1\n", "line 3: '-1'"),
        ("species,weight\na,\n", "line 2: ''"),
        ("species,weight\na,nan\n", "line 2: 'nan'"),
        ("species,weight\na,1\n,1\n", "line 3: a row without a name"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_with_its_line(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        table(tmp_path, text)


def test_names_without_a_tree_are_matched_by_their_spelling(tmp_path):
    flat = choose_from_names(["red fox", "Wolf"], PromptSet())
    prior = table(tmp_path, "label,weight\nRed_Fox,1\nwolf,2\n")
    assert weights(prior.weigh(flat)) == pytest.approx([0.5, 1])


def test_several_names_of_one_label_are_added_up(tmp_path):
    prior = table(tmp_path, "name,weight\na,1\nant,1\nb,4\n")
    assert weights(prior.weigh(CANDIDATES))[:2] == pytest.approx([0.5, 1])
