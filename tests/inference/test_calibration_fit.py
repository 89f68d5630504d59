"""A whole calibration: fitted on pictures, kept in a model folder, found again or refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, UsageError
from domainclip.inference.calibration.backoff import find_rank
from domainclip.inference.calibration.conformal import find_sets
from domainclip.inference.calibration.fit import fit_calibration, look
from domainclip.inference.calibration.hierarchy import Hierarchy
from domainclip.inference.calibration.picture import draw_reliability
from domainclip.inference.calibration.store import (
    FILE,
    Calibration,
    Fitted,
    find_calibration,
    save_calibration,
)
from domainclip.inference.calibration.temperature import Choices
from domainclip.model.folder import CONFIG

FAMILIES = 5
TREE = LabelTree.from_columns(
    {
        "family": [f"F{i % FAMILIES}" for i in range(20)],
        "species": [f"s{i}" for i in range(20)],
    },
    ("family", "species"),
)
HIERARCHY = Hierarchy(TREE, TREE.leaves)
HERE = Fitted("model", "labels", "names")


def pictures(count, seed=0, sure=3.0):
    """Logits of pictures, some of them dim, by a model that is surer than it should be."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(20, (count,), generator=rng)
    near = torch.from_numpy(TREE.ancestors[TREE.leaves, 0])
    dim = torch.rand(count, 1, generator=rng)
    seen = 2.5 * torch.nn.functional.one_hot(truth, 20) + (near[truth][:, None] == near)
    logits = sure * (seen * (1 - dim) + 0.5 * torch.randn(count, 20, generator=rng))
    return logits, TREE.leaves[truth.numpy()]


@pytest.fixture(scope="module")
def outcome():
    logits, truth = pictures(2000)
    return fit_calibration(HIERARCHY, lambda: logits.split(256), truth, HERE, source="made up")


def test_probabilities_become_honest_on_new_pictures(outcome):
    logits, truth = pictures(6000, seed=1)
    told = outcome.calibration.temperatures
    before = look(HIERARCHY, lambda: logits.split(512), truth)
    after = look(HIERARCHY, lambda: logits.split(512), truth, lambda z, _: told.apply(HIERARCHY, z))
    for number, rank in enumerate(after.ranks):
        assert before.measure(number).error > 0.05
        assert after.measure(number).error < 0.03
        figures = outcome.calibration.ranks[number]
        assert figures.rank == rank and figures.pictures == 2000
        assert figures.error_before == pytest.approx(before.measure(number).error, abs=0.03)
        assert figures.error == pytest.approx(after.measure(number).error, abs=0.03)
        assert figures.right == pytest.approx(after.answers(number)[0].mean(), abs=0.04)


def test_thresholds_keep_what_they_were_fitted_for(outcome):
    calibration = outcome.calibration
    logits, truth = pictures(6000, seed=2)
    scaled = calibration.temperatures.apply(HIERARCHY, logits)
    seen = look(HIERARCHY, lambda: [logits], truth, lambda *_: scaled)
    for one in calibration.backoff:
        answer = find_rank(seen.ladder.probabilities, one.threshold)
        right = seen.ladder.right[np.arange(len(answer)), answer][answer >= 0]
        slack = 3 * np.sqrt(one.level * (1 - one.level) / max(len(right), 1))
        assert not len(right) or right.mean() >= one.level - slack
        assert (answer >= 0).mean() == pytest.approx(one.coverage, abs=0.05)
        assert (answer + 1).mean() == pytest.approx(one.depth, abs=0.1)
    labels = torch.from_numpy(HIERARCHY.locate(truth)[:, -1])
    for one in calibration.conformal:
        if one.rank == "species":
            sets = find_sets(scaled.softmax(-1), one.threshold)
            missed = 1 - sets[torch.arange(len(labels)), labels].float().mean()
            assert float(missed) <= one.error + 0.015
            assert float(sets.sum(1).float().mean()) == pytest.approx(one.size, rel=0.1)
    for one in calibration.rejection:
        rejected = (logits.amax(1) < one.threshold).float().mean()
        assert float(rejected) <= one.rate + 0.015


def test_no_picture_helps_with_its_own_figures():
    logits, truth = pictures(80, seed=3)
    found = fit_calibration(HIERARCHY, lambda: logits.split(9), truth, HERE).calibration
    half = np.random.default_rng(0).permutation(80) % 2 == 0
    choices = Choices(HIERARCHY, lambda: [logits], HIERARCHY.locate(truth))
    parts = [
        (which, choices.fit(~which).apply(HIERARCHY, logits[torch.from_numpy(which)]))
        for which in (half, ~half)
    ]
    said = np.empty(80)
    for which, scaled in parts:
        said[which] = scaled.softmax(-1).amax(-1).numpy()
    assert found.ranks[1].said == pytest.approx(said.mean(), abs=1e-5)
    whole = found.temperatures.apply(HIERARCHY, logits).softmax(-1).amax(-1)
    assert float(whole.mean()) != pytest.approx(said.mean(), abs=1e-3)


def test_held_out_labels_are_scored_without_themselves():
    logits = torch.tensor([[3.0, 1.0, 2.0] + [0.0] * 17])
    seen = look(HIERARCHY, lambda: [logits], TREE.leaves[:1])
    assert (seen.best.tolist(), seen.held_out.tolist()) == ([3.0], [2.0])
    family = look(HIERARCHY, lambda: [logits], [TREE.find("F0")[0]])
    assert np.isnan(family.held_out).all() and (family.true[:, 1] == -1).all()


def test_it_says_how_many_of_the_labels_it_has_seen():
    logits, truth = pictures(800)
    some = np.isin(truth, TREE.leaves[:7])
    found = fit_calibration(HIERARCHY, lambda: [logits[some]], truth[some], HERE).calibration
    assert (found.choices, found.shown, found.pictures) == (20, 7, some.sum())


def test_labels_without_a_tree_are_calibrated_too():
    logits, truth = pictures(600)
    flat = Hierarchy(None, np.arange(20))
    labels = HIERARCHY.locate(truth)[:, -1]
    found = fit_calibration(flat, lambda: logits.split(100), labels, HERE).calibration
    assert [one.rank for one in found.ranks] == ["label"]
    assert found.ranks[0].error < found.ranks[0].error_before


def test_too_few_pictures_are_refused():
    logits, truth = pictures(100)
    with pytest.raises(DataError, match="30 pictures of 20 labels"):
        fit_calibration(HIERARCHY, lambda: [logits[:30]], truth[:30], HERE)
    families = TREE.ancestors[truth, 0]
    with pytest.raises(DataError, match="0 pictures"):
        fit_calibration(HIERARCHY, lambda: [logits], families, HERE)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / CONFIG).write_text("{}")
    return tmp_path


def test_it_is_kept_in_the_model_folder_and_found_for_its_model_and_labels(outcome, folder):
    calibration = outcome.calibration
    assert find_calibration(folder, HERE) == "this model is not calibrated"
    file = save_calibration(calibration, folder)
    assert file == folder / FILE and find_calibration(folder, HERE) == calibration
    text = json.loads(file.read_text())
    assert Calibration.parse(text["calibrations"][0]) == calibration
    other = find_calibration(folder, Fitted("model", "others", "names"))
    assert isinstance(other, str) and "for other labels" in other
    changed = find_calibration(folder, Fitted("changed", "labels", "names"))
    assert isinstance(changed, str) and "for another model" in changed
    head = find_calibration(folder, Fitted("model", "labels", "captions"))
    assert isinstance(head, str) and "another head than captions" in head


def test_other_labels_are_kept_beside_it_and_another_model_takes_its_place(outcome, folder):
    first = outcome.calibration
    second = replace(first, fitted=replace(HERE, labels="more"), source="second")
    third = replace(first, source="third")
    for one in (first, second, third):
        save_calibration(one, folder)
    assert find_calibration(folder, HERE) == third
    assert find_calibration(folder, second.fitted) == second
    retrained = replace(first, fitted=replace(HERE, model="new"))
    save_calibration(retrained, folder)
    assert isinstance(find_calibration(folder, HERE), str)
    assert find_calibration(folder, retrained.fitted) == retrained


@pytest.mark.parametrize("text", ["no json", "[]", '{"format": 1, "calibrations": [{}]}', "{}"])
def test_a_damaged_file_is_told(folder, text):
    (folder / FILE).write_text(text)
    with pytest.raises(DataError, match=f"{FILE} is damaged") as error:
        find_calibration(folder, HERE)
    assert "domainclip calibrate" in error.value.hint


def test_a_file_of_another_format_is_told(folder):
    (folder / FILE).write_text('{"format": 99, "calibrations": []}')
    with pytest.raises(DataError, match="the format 99"):
        find_calibration(folder, HERE)


def test_the_next_stricter_threshold_stands_in_and_none_is_made_up(outcome):
    calibration = outcome.calibration
    assert calibration.find_backoff(0.95).level == 0.95
    assert calibration.find_backoff(0.91).level == 0.95
    with pytest.raises(UsageError, match=r"as strict as 0\.999; there are 0\.8, 0\.9"):
        calibration.find_backoff(0.999)
    assert calibration.find_conformal("species", 0.07).error == 0.05
    with pytest.raises(UsageError, match="rank 'specis'") as error:
        calibration.find_conformal("specis", 0.1)
    assert "species" in error.value.hint
    with pytest.raises(UsageError, match=r"as strict as 0\.001"):
        calibration.find_conformal("family", 0.001)
    assert calibration.find_rejection(0.06).rate == 0.05
    with pytest.raises(UsageError, match="rejection rate"):
        calibration.find_rejection(0.001)


def test_the_picture_has_a_panel_for_each_rank_with_both_errors(outcome, tmp_path):
    figure = draw_reliability(outcome.before, outcome.after, "made up")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["family", "species"]
    said = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    errors = outcome.before["species"].error, outcome.after["species"].error
    assert said == [f"before: {errors[0]:.3f}", f"after: {errors[1]:.3f}"]
    figure.savefig(tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 5000
