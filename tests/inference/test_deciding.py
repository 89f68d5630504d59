"""Answers held to a certainty, on made-up features whose calibration is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError
from domainclip.inference.calibration.backoff import NEVER
from domainclip.inference.calibration.fit import fit_calibration
from domainclip.inference.calibration.hierarchy import Hierarchy
from domainclip.inference.calibration.saying import say_backoff, say_rejection
from domainclip.inference.calibration.store import Fitted, save_calibration
from domainclip.inference.classify import ZeroShotClassifier
from domainclip.inference.label_cache import LabelMatrix
from domainclip.inference.scoring import find_logits
from domainclip.model.folder import create_model, save_model

TREE = LabelTree.from_columns({
    "family": ["F"] * 4 + ["G"] * 4,
    "genus": ["F1", "F1", "F2", "F2", "G1", "G1", "G2", "G2"],
    "species": [f"s{i}" for i in range(8)],
})  # fmt: skip
DIM = 256


def vectors():
    """One for each label; those of a genus, and less so of a family, are near each other."""
    rng = np.random.default_rng(0)
    family, genus, own = (rng.normal(size=(n, DIM)) for n in (2, 4, 8))
    rows = np.arange(8)
    made = family[rows // 4] + 0.8 * genus[rows // 2] + 0.5 * own
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def draw(n, seed, noise=0.25):
    """Pictures of the labels, blurred, and the label of each."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, n)
    seen = vectors()[labels] + noise * rng.normal(size=(n, DIM)).astype(np.float32)
    return (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    network, _ = create_model("small", image_size=32)
    network.log_scales["names"].data.fill_(np.log(150.0))
    path = save_model(
        network.eval(), tmp_path_factory.mktemp("m") / "model", tree=TREE, card={"heads": ["names"]}
    )
    raw = ZeroShotClassifier(path, device="cpu").fit(vectors=vectors())
    hierarchy = Hierarchy.of(raw.candidates_)
    features, labels = draw(3000, 1)
    scale = float(raw.encoder.network.scale("names").detach())

    def batches():
        yield from find_logits(LabelMatrix(vectors()), torch.from_numpy(features), scale)

    fitted = Fitted(raw.encoder.digest, raw.candidates_.digest, "names")
    outcome = fit_calibration(hierarchy, batches, raw.candidates_.nodes[labels], fitted)
    save_calibration(outcome.calibration, path)
    return path


@pytest.fixture(scope="module")
def classifier(folder):
    return ZeroShotClassifier(folder, device="cpu").fit(vectors=vectors())


def test_a_calibration_of_these_labels_is_used_and_can_be_left_out(folder, classifier):
    features, labels = draw(2000, 2)
    raw = ZeroShotClassifier(folder, device="cpu", calibrated=False).fit(vectors=vectors())

    def gap(one):
        p = one.predict_proba(features)
        return abs(p.max(1).mean() - (p.argmax(1) == labels).mean())

    assert gap(classifier) < 0.03 < gap(raw)
    assert (raw.predict(features) == classifier.predict(features)).mean() > 0.97
    fewer = ZeroShotClassifier(folder, device="cpu").fit(vectors=vectors(), within="F")
    assert fewer.calibrated_ is None and "other labels" in fewer.why_not_


def test_one_name_a_picture_is_right_as_often_as_asked(classifier):
    features, labels = draw(3000, 3)
    truth = [TREE.path(int(node)) for node in classifier.candidates_.nodes[labels]]
    depths = []
    for level in (0.8, 0.95):
        rows = list(classifier.predict_rows(features, confidence=level))
        assert len(rows) == len(features)
        told = [(row, line) for row, line in zip(rows, truth, strict=True) if row["rank"]]
        right = [row[row["rank"]] in line for row, line in told]
        assert np.mean(right) >= level - 2 * np.sqrt(level * (1 - level) / len(right))
        for row, _ in told:
            below = TREE.ranks[TREE.ranks.index(row["rank"]) + 1 :]
            assert row["score"] >= 0 and all(row[rank] == "" for rank in below)
        for row in rows:
            assert row["rank"] or (row["score"] is None and row["family"] == "")
        depths.append(np.mean([1 + TREE.ranks.index(r["rank"]) if r["rank"] else 0 for r in rows]))
    assert depths[0] > depths[1] > 0


def test_what_a_certainty_was_fitted_for_is_said(classifier):
    features, _ = draw(5, 5)
    fitted = classifier.calibrated_.calibration
    held, none = fitted.find_backoff(0.95), fitted.find_rejection(0.05)
    classifier.predict_rows(features, confidence=0.93, rejection=0.05)
    first, second = classifier.promises_
    assert f"confidence 0.95, fitted to {fitted.pictures} pictures" in first
    assert f"{held.coverage:.1%} got a name, {held.risk:.1%} of the names were wrong" in first
    assert f"{none.rejected:.1%} were rejected, and {none.found:.1%}" in second
    classifier.predict_rows(features, error=0.1, rank="genus")
    (sets,) = classifier.promises_
    genus = fitted.find_conformal("genus", 0.1)
    assert f"{genus.missed:.1%} missed" in sets and f"{genus.size:.1f} names" in sets
    classifier.predict_rows(features)
    assert classifier.promises_ == []


def test_what_could_not_be_fitted_is_said(classifier):
    fitted = classifier.calibrated_.calibration
    held, none = fitted.find_backoff(0.95), fitted.find_rejection(0.05)
    assert "assure" not in say_backoff(held, fitted)
    assert "too few pictures to assure it" in say_backoff(replace(held, assured=False), fitted)
    never = say_backoff(replace(held, assured=False, threshold=NEVER), fitted)
    assert "nothing is named" in never
    assert "nothing is rejected" in say_rejection(replace(none, threshold=None), fitted)


def test_sets_hold_the_true_name_as_often_as_asked(classifier):
    features, labels = draw(3000, 4)
    for error, rank in ((0.1, None), (0.05, None), (0.05, "genus")):
        rows = classifier.predict_rows(features, rank=rank, error=error)
        sets: dict[str, list[str]] = {}
        for row in rows:
            sets.setdefault(row["file_name"], []).append(row[rank or "species"])
        nodes = classifier.candidates_.nodes[labels]
        at = TREE.ranks.index(rank or "species")
        truth = [TREE.names[TREE.ancestors[node, at]] for node in nodes]
        inside = [true in sets[str(i)] for i, true in enumerate(truth)]
        assert np.mean(inside) >= 1 - error - 2 * np.sqrt(error * (1 - error) / len(truth))
        sizes = [len(one) for one in sets.values()]
        assert 1 <= np.mean(sizes) < len(classifier.names(rank))
    first = [row["score"] for row in classifier.predict_rows(features[:1], error=0.01)]
    assert first == sorted(first, reverse=True)


def test_none_of_these_is_said_seldom_of_what_is_known_and_often_of_what_is_not(classifier):
    known, _ = draw(1000, 5)
    rng = np.random.default_rng(6)
    strange = rng.normal(size=(300, DIM)).astype(np.float32)

    def share(features):
        rows = list(classifier.predict_rows(features, k=1, rejection=0.05))
        assert len(rows) == len(features)
        assert all((row["score"] is None) == (row["species"] == "") for row in rows)
        return np.mean([row["score"] is None for row in rows])

    assert share(known) < 0.08 and share(strange) > 0.9
    alone = [r["score"] is None for r in classifier.predict_rows(strange[:20], k=1, rejection=0.05)]
    both = list(classifier.predict_rows(strange[:20], confidence=0.8, rejection=0.05))
    assert all(row["rank"] == "" for row, lost in zip(both, alone, strict=True) if lost)


def test_a_prior_weighs_what_is_seen(folder, tmp_path):
    table = tmp_path / "prior.csv"
    table.write_text("species,weight,month\ns0,9,6\ns1,1,6\ns0,1,1\ns1,9,1\nunicorn,1,1\n")
    classifier = ZeroShotClassifier(folder, device="cpu", calibrated=False)
    classifier.fit(vectors=vectors())
    features = (vectors()[:1] + vectors()[1:2]) / 2
    plain = classifier.predict_proba(features)[0]
    assert classifier.use_prior(table, {"month": "6"}) == []
    june = classifier.predict_proba(features)[0]
    assert june[0] / june[1] == pytest.approx(9 * plain[0] / plain[1], rel=1e-4)
    assert classifier.use_prior(table, {"month": "1"}, strength=0.5) == ["unicorn"]
    winter = classifier.predict_proba(features)[0]
    assert winter[0] / winter[1] == pytest.approx(plain[0] / plain[1] / 3, rel=1e-4)
    assert torch.isfinite(classifier.log_prior_).all()  # no label is ruled out unless asked
    classifier.use_prior(table, {"month": "6"}, hard=True)
    assert (classifier.predict_proba(features)[0][2:] == 0).all()
    classifier.fit(vectors=vectors())
    assert classifier.predict_proba(features)[0] == pytest.approx(plain)


def test_what_was_not_fitted_is_refused_before_anything_is_read(folder, classifier):
    raw = ZeroShotClassifier(folder, device="cpu", calibrated=False).fit(vectors=vectors())
    with pytest.raises(UsageError, match="not calibrated") as error:
        raw.predict_rows(["missing.jpg"], confidence=0.9)
    assert "domainclip calibrate" in error.value.hint
    for asked, said in (
        ({"confidence": 0.999}, "as strict as 0.999"),
        ({"error": 0.001}, "as strict as 0.001"),
        ({"rejection": 0.001}, "as strict as 0.001"),
        ({"confidence": 0.9, "error": 0.1}, "chooses the rank itself"),
        ({"confidence": 0.9, "rank": "genus"}, "chooses the rank itself"),
        ({"error": 0.1, "rank": "order"}, "no rank 'order'"),
    ):
        with pytest.raises(UsageError, match=said):
            classifier.predict_rows(["missing.jpg"], **asked)
