"""Few-shot methods against plain references written from their formulas, and how one is chosen."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from domainclip.errors import UsageError
from domainclip.inference.fewshot import support as rooms
from domainclip.inference.fewshot.captions import (
    CAPS,
    DELTAS,
    GAMMAS,
    find_stretch,
    fit_caps,
    search_caps,
)
from domainclip.inference.fewshot.centroid import fit_centroid
from domainclip.inference.fewshot.choosing import METHODS, choose_method, hold_out
from domainclip.inference.fewshot.logistic import STRENGTHS, fit_logistic, search_logistic
from domainclip.inference.fewshot.support import (
    Held,
    Support,
    find_accuracy,
    find_best,
    to_unit,
)
from domainclip.inference.fewshot.temperature import find_temperature
from domainclip.inference.fewshot.tip import ALPHAS, BETAS, fit_tip, search_tip
from domainclip.inference.fewshot.trained import fit_trained, search_trained, train_keys

DIM = 12


def unit(rows, rng, dim=DIM):
    return to_unit(rng.normal(size=(rows, dim))).astype(np.float32)


def scene(counts=(3, 1, 5, 2), noise=0.8, seed=0, held=40, wide=False):
    """A support with texts and captions, and held pictures, around a direction for each label."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(len(counts), DIM))

    def near(labels, spread):
        found = directions[labels] + spread * rng.normal(size=(len(labels), DIM))
        return to_unit(found).astype(np.float32)

    labels = np.repeat(np.arange(len(counts)), counts)
    asked = rng.integers(0, len(counts), held)
    features, queries = near(labels, noise), near(asked, noise)
    if wide:
        features = np.hstack([features, near(labels, noise)])
        queries = np.hstack([queries, near(asked, noise)])
    texts = near(np.arange(len(counts)), noise)
    return Support(features, labels, texts, near(labels, noise), 20.0), Held(queries, asked)


def one_hot(support):
    return np.eye(len(support.texts))[support.labels]


# Nearest centroid


def centroid_plainly(support, labels, queries):
    """CL2N as published: differences of queries x labels x dimensions."""
    support, queries = support.astype(np.float64), queries.astype(np.float64)
    centre = support.mean(0)
    support = (support - centre) / np.linalg.norm(support - centre, axis=1, keepdims=True)
    queries = (queries - centre) / np.linalg.norm(queries - centre, axis=1, keepdims=True)
    means = np.stack([support[labels == label].mean(0) for label in np.unique(labels)])
    return -((queries[:, None, :] - means[None, :, :]) ** 2).sum(-1)


def test_the_centroid_of_three_points_by_hand():
    features = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    fitted = fit_centroid(Support(features, np.array([0, 1, 1])))
    assert fitted.centre == pytest.approx([1.6 / 3, 0.6])
    first = np.array([1.4, -1.8]) / np.hypot(1.4, 1.8)  # (1, 0) less the centre, times 3
    second = np.array([-1.6, 1.2]) / 2
    third = np.array([0.2, 0.6]) / np.hypot(0.2, 0.6)
    assert fitted.means == pytest.approx(np.array([first, (second + third) / 2]))
    expected = [-((first - mean) ** 2).sum() for mean in fitted.means]
    assert fitted.scores(features[:1])[0] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=9), st.integers(0, 99), st.integers(1, 40))
def test_the_centroid_is_what_broadcasting_gives(counts, seed, block):
    support, held = scene(counts, seed=seed)
    plain = centroid_plainly(support.features, support.labels, held.features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms, "BLOCK", block * DIM)  # labels are torn by blocks
        fitted = fit_centroid(support)
        assert fitted.scores(held.features) == pytest.approx(plain, abs=1e-5)
        assert find_best(fitted, held.features).tolist() == plain.argmax(1).tolist()


def test_the_centroid_takes_a_tenth_of_what_broadcasting_takes():
    rng = np.random.default_rng(0)
    classes, queries, dim = 300, 1500, 128
    support = Support(unit(classes * 4, rng, dim), np.repeat(np.arange(classes), 4))
    asked = unit(queries, rng, dim)
    tracemalloc.start()
    best = find_best(fit_centroid(support), asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * queries * classes * dim * 4
    expected = centroid_plainly(support.features, support.labels, asked[:50])
    assert best[:50].tolist() == expected.argmax(1).tolist()


def test_pictures_that_are_all_alike_give_scores_and_no_nan():
    same = np.ones((4, 3), np.float32) / np.float32(3**0.5)
    scores = fit_centroid(Support(same, np.array([0, 0, 1, 1]))).scores(same)
    assert np.isfinite(scores).all()


# Tip-Adapter


def tip_plainly(support, queries, alpha, beta, keys=None):
    keys = support.features if keys is None else keys
    near = np.exp(-beta * (1 - queries @ keys.T))
    return support.scale * queries @ support.texts.T + alpha * near @ one_hot(support)


@pytest.mark.parametrize("block", [1, 10_000])
def test_tip_is_its_formula(monkeypatch, block):
    monkeypatch.setattr(rooms, "BLOCK", block)
    support, held = scene()
    fitted = fit_tip(support, {"alpha": 3.0, "beta": 2.5})
    plain = tip_plainly(support, held.features, 3.0, 2.5)
    assert fitted.scores(held.features) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_strengths_of_tip_are_the_first_best_of_the_grid(seed):
    support, held = scene(noise=1.5, seed=seed)
    right = {
        (alpha, beta): (tip_plainly(support, held.features, alpha, beta).argmax(1) == held.labels)
        .mean()
        .item()
        for alpha in ALPHAS
        for beta in BETAS
    }
    fitted = search_tip(support, held)
    alpha, beta = max(right, key=right.get)  # the first of equal ones
    assert fitted.settings == {"alpha": alpha, "beta": beta}
    assert find_accuracy(fitted, held) == pytest.approx(right[alpha, beta])


def test_texts_that_name_everything_rightly_are_left_alone():
    support, held = scene(noise=0.05)
    assert search_tip(support, held).settings["alpha"] == 0


# Its trained form


def test_an_epoch_is_a_step_of_adamw_on_the_formula_without_the_own_key():
    support, _ = scene()
    tip = fit_tip(support, {"alpha": 2.0, "beta": 3.0})
    every = list(train_keys(tip, support, seed=0))
    assert len(every) == 21 and np.array_equal(every[0], support.features)
    features = torch.from_numpy(support.features)
    keys = torch.nn.Parameter(features.clone())
    optimizer = torch.optim.AdamW([keys], lr=1e-3, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    values = torch.tensor(one_hot(support), dtype=torch.float32)
    for found in every[1:4]:  # all pictures fit into one batch
        logits = support.scale * features @ torch.from_numpy(support.texts).T
        near = torch.exp(-3.0 * (1 - features @ keys.T)) * (1 - torch.eye(len(keys)))
        logits = logits + 2.0 * near @ values
        optimizer.zero_grad()
        functional.cross_entropy(logits, torch.from_numpy(support.labels)).backward()
        optimizer.step()
        schedule.step()
        assert found == pytest.approx(keys.detach().numpy(), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_trained_keys_are_those_of_the_best_epoch_and_come_out_again(seed):
    support, held = scene(counts=(6, 6, 6, 6), noise=1.5, seed=seed, held=200)
    best = search_trained(support, held, seed=7)
    tip = fit_tip(support, {name: best.settings[name] for name in ("alpha", "beta")})
    accuracies = [
        find_accuracy(fit_trained(support, {**best.settings, "epochs": epoch}, 7), held)
        for epoch in range(21)
    ]
    assert find_accuracy(best, held) == max(accuracies) >= find_accuracy(tip, held)
    assert best.settings["epochs"] == int(np.argmax(accuracies))
    again = fit_trained(support, best.settings, seed=7)
    assert np.array_equal(again.keys, best.keys)
    other = fit_trained(support, {**best.settings, "epochs": 20}, seed=7)
    assert not np.array_equal(other.keys, support.features)


def test_training_helps_where_what_pictures_share_hides_their_labels():
    rng = np.random.default_rng(3)
    directions, shared = rng.normal(size=(30, 96)), 1.5 * rng.normal(size=(8, 96))

    def draw(count):
        labels = np.repeat(np.arange(30), count)
        found = directions[labels] + 2 * rng.normal(size=(len(labels), 96))
        found += (rng.normal(size=(len(labels), 8)) + 2 * np.eye(8)[0]) @ shared
        return to_unit(found).astype(np.float32), labels

    texts = to_unit(directions + 4 * rng.normal(size=(30, 96))).astype(np.float32)
    support, held, asked = Support(*draw(16), texts, None, 50.0), Held(*draw(8)), Held(*draw(20))
    plain, trained = search_tip(support, held), search_trained(support, held)
    assert find_accuracy(trained, asked) > find_accuracy(plain, asked) + 0.05


# CapS-Adapter


def caps_plainly(support, queries, settings):
    """The M-Adapter with every matrix written out."""
    dim = support.texts.shape[1]
    own, crossed = queries[:, :dim].astype(float), queries[:, -dim:].astype(float)
    pictures, texts = support.features[:, :dim].astype(float), support.texts.astype(float)
    delta = settings["delta"]

    def blend(f, c):
        return (1 - delta) * f @ pictures.T + delta * c @ support.captions.T.astype(float)

    def divergence(f):
        p, q = (np.exp(x @ texts.T / 0.5) for x in (f, pictures))
        p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
        return (p[:, None, :] * (np.log(p)[:, None, :] - np.log(q)[None, :, :])).sum(-1)

    others = ~np.eye(len(support), dtype=bool)
    known = blend(pictures, support.features[:, -dim:].astype(float))[others]
    apart = divergence(pictures)[others]
    stretched = (divergence(own) - apart.min()) / (apart.max() - apart.min())
    stretched = stretched * (known.max() - known.min()) + known.min()
    near = settings["alpha"] * np.exp(-settings["beta"] * (1 - blend(own, crossed)))
    return support.scale * own @ texts.T + (near - settings["gamma"] * stretched) @ one_hot(support)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 0.3, 1.0])
def test_caps_is_its_formula(monkeypatch, wide, gamma, delta):
    monkeypatch.setattr(rooms, "BLOCK", 30)
    support, held = scene(wide=wide)
    chosen = {"alpha": 2.0, "beta": 4.0, "gamma": gamma, "delta": delta}
    fitted = fit_caps(support, chosen)
    plain = caps_plainly(support, held.features, chosen)
    assert fitted.scores(held.features) == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_a_picture_alone_gets_the_answer_it_gets_among_others():
    support, held = scene()
    fitted = fit_caps(support, {"alpha": 2.0, "beta": 4.0, "gamma": 3.0, "delta": 0.5})
    every = fitted.scores(held.features)
    for i in (0, 7):
        assert fitted.scores(held.features[i : i + 1])[0] == pytest.approx(every[i], rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_settings_of_caps_are_best_of_their_grid(seed):
    support, held = scene(noise=1.5, seed=seed, held=60)
    fitted = search_caps(support, held)
    reached = find_accuracy(fitted, held)
    rng = np.random.default_rng(seed)
    for _ in range(40):
        other = {
            "alpha": rng.choice(ALPHAS), "beta": rng.choice(BETAS),
            "gamma": rng.choice(GAMMAS), "delta": rng.choice(DELTAS),
        }  # fmt: skip
        assert find_accuracy(fit_caps(support, other), held) <= reached
    assert reached >= find_accuracy(search_tip(support.by_names(), held), held)
    assert np.array_equal(fitted.stretch, find_stretch(fitted, support.features))
    refitted = CAPS.fit(support, fitted.settings, 0)
    assert np.array_equal(refitted.scores(held.features), fitted.scores(held.features))


# Logistic regression


@pytest.mark.parametrize("counts", [(3, 1, 5, 2), (4, 3)])
def test_logistic_scores_are_scikit_learns_probabilities(counts):
    support, held = scene(counts)
    fitted = fit_logistic(support, {"C": 10.0})
    theirs = LogisticRegression(C=10.0, max_iter=500).fit(support.features, support.labels)
    ours = torch.from_numpy(fitted.scores(held.features)).softmax(-1).numpy()
    assert ours == pytest.approx(theirs.predict_proba(held.features), abs=1e-3)
    best = search_logistic(support, held)
    assert best.settings["C"] in STRENGTHS
    for strength in (1.0, 1000.0):
        other = fit_logistic(support, {"C": strength})
        assert find_accuracy(other, held) <= find_accuracy(best, held) + 0.05


# How sure


class Spread:
    """Scores that are the logits of the truth, times a factor."""

    settings: dict = {}  # noqa: RUF012

    def __init__(self, factor):
        self.factor = factor

    def scores(self, features):
        return np.float32(self.factor) * features


@pytest.mark.parametrize("factor", [0.3, 1.0, 6.0])
def test_the_temperature_takes_back_what_scores_were_stretched_by(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)).astype(np.float32) * 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (chances.cumsum(1) > rng.random((4000, 1))).argmax(1)
    found = find_temperature(Spread(factor), Held(logits, labels))
    assert found == pytest.approx(factor, rel=0.15)


def test_few_right_answers_are_no_proof_of_certainty():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    temperature = find_temperature(Spread(1.0), Held(logits, np.array([0, 1, 2])))
    surest = np.exp(1 / temperature) / (np.exp(1 / temperature) + 2)
    assert 0.6 < surest < 0.9  # (3 + 1) / (3 + 2) is 0.8


# Choosing


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 9))
def test_each_label_holds_some_out_and_keeps_some(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    held = hold_out(labels, seed)
    for label, count in enumerate(counts):
        out = int(held[labels == label].sum())
        assert out == (0 if count == 1 else min(max(1, round(0.25 * count)), count - 1))
    assert np.array_equal(held, hold_out(labels, seed))


def test_of_equally_good_methods_the_simplest_is_kept():
    support, held = scene(noise=0.02)
    chosen = choose_method(support, held)
    assert [tried.method for tried in chosen.table] == list(METHODS)
    assert {tried.accuracy for tried in chosen.table} == {1.0}
    assert chosen.method == "centroid"
    assert [row["method"] for row in chosen.rows() if row["chosen"]] == ["centroid"]


def test_the_best_method_on_validation_is_kept():
    support, held = scene(noise=1.2, seed=3, held=300)
    rng = np.random.default_rng(0)
    shuffled = Support(support.features, support.labels, unit(4, rng), unit(len(support), rng))
    helpful, useless = choose_method(support, held), choose_method(shuffled, held)
    for chosen in (helpful, useless):
        accuracies = {tried.method: tried.accuracy for tried in chosen.table}
        assert accuracies[chosen.method] == max(accuracies.values())
        assert find_accuracy(chosen.fitted, held) == accuracies[chosen.method]
    assert helpful.method == "tip"  # its texts help, which the centroid does not read
    assert helpful.table[1].accuracy > helpful.table[0].accuracy == useless.table[0].accuracy


def test_without_validation_a_part_is_held_out_and_then_all_is_learned():
    support, _ = scene(counts=(8, 8, 8, 8), noise=0.7)
    chosen = choose_method(support, None, "tip", seed=5)
    assert len(chosen.fitted.keys) == len(support)
    out = hold_out(support.labels, 5)
    trial = search_tip(
        support.take(np.flatnonzero(~out)).by_names(),
        Held(support.features[out], support.labels[out]),
    )
    assert trial.settings == chosen.fitted.settings == chosen.table[0].settings


def test_of_one_picture_a_label_there_is_nothing_to_choose_on():
    support, _ = scene(counts=(1, 1, 1))
    chosen = choose_method(support, None)
    assert chosen.method == "centroid" and chosen.table[0].accuracy is None
    assert choose_method(support, None, "tip-trained").fitted.settings["epochs"] == 20


def test_what_the_data_does_not_allow_is_not_tried_and_refused_when_named():
    support, held = scene()
    bare = Support(support.features, support.labels)
    chosen = choose_method(bare, held)
    assert [tried.method for tried in chosen.table] == ["centroid", "logistic"]
    silent = support.by_names()
    assert "caps" not in [tried.method for tried in choose_method(silent, held).table]
    with pytest.raises(UsageError, match="caps needs captions") as error:
        choose_method(silent, held, "caps")
    assert "give captions" in error.value.hint
    with pytest.raises(UsageError, match="'centriod'") as error:
        choose_method(support, held, "centriod")
    assert error.value.hint == "did you mean 'centroid'?"
