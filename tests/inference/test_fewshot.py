"""The few-shot classifier around a model: pictures in, names out, kept on disk and read again."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from domainclip.data.images import UnreadableImage
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, LabelError, UsageError
from domainclip.inference.encoding import Encoder
from domainclip.inference.fewshot.choosing import METHODS
from domainclip.inference.fewshot.classifier import FewShotClassifier
from domainclip.inference.fewshot.drawing import gather, queue_pictures
from domainclip.inference.fewshot.galleries import BOTH, BothHeads, GivenVectors
from domainclip.inference.fewshot.kept import KeptVectors
from domainclip.model.folder import create_model, save_model

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that was never trained; two heads that see differently."""
    torch.manual_seed(0)
    made, _ = create_model("small", image_size=32)
    torch.nn.init.normal_(made.heads["captions"].weight, std=0.05)
    return save_model(made, tmp_path_factory.mktemp("model"), tree=None, card={"notice": "a test"})


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    torch.manual_seed(1)
    made, _ = create_model("small", image_size=32)
    return save_model(made, tmp_path_factory.mktemp("other"), tree=None, card={})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight pictures of each colour, and their labels."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files, labels = [], []
    for name, colour in COLOURS.items():
        for i in range(8):
            pixels = np.clip(np.array(colour) + rng.normal(0, 25, (32, 32, 3)), 0, 255)
            files.append(folder / f"{name}{i}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(files[-1])
            labels.append(name)
    return files, labels


@pytest.fixture(scope="module")
def tree():
    columns = {
        "family": ["Warm", "Cold", "Cold"],
        "genus": ["Ember", "Leaf", ""],
        "species": ["red", "green", "blue"],
    }
    return LabelTree.from_columns(columns, common=["poppy", "grass", "sky"])


@pytest.fixture(scope="module")
def nodes(tree, pictures):
    return np.array([tree.find(name)[0] for name in pictures[1]])


@pytest.fixture(scope="module")
def vectors(model, pictures):
    return Encoder(model, device="cpu").encode(pictures[0])


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_pictures_are_named_by_every_method(model, pictures, method):
    files, labels = pictures
    said = [[f"a {label} thing"] for label in labels]
    classifier = FewShotClassifier(model, method=method, device="cpu")
    classifier.fit(files[::2], labels[::2], captions=said[::2])
    assert classifier.predict(files[1::2]).tolist() == labels[1::2]
    chances = classifier.predict_proba(files[1::2])
    assert chances.shape == (12, 3) and chances.sum(1) == pytest.approx(1, abs=1e-5)
    assert classifier.classes_[chances.argmax(1)].tolist() == labels[1::2]
    assert classifier.method_ == ("centroid" if method == "auto" else method)
    assert classifier.notice_ == "a test" and not classifier.unreadable_
    assert classifier.predict([]).shape == (0,)
    assert classifier.predict_proba([]).shape == (0, 3)


def test_vectors_give_what_their_pictures_give(model, pictures, vectors):
    files, labels = pictures
    by_files = FewShotClassifier(model, device="cpu").fit(files, labels)
    by_vectors = FewShotClassifier(model, device="cpu").fit(3 * vectors, labels)
    expected = by_files.predict_proba(files)
    assert by_vectors.predict_proba(vectors) == pytest.approx(expected, abs=1e-4)
    assert by_files.predict_proba(torch.from_numpy(vectors)) == pytest.approx(expected, abs=1e-4)
    images = [np.asarray(Image.open(file)) for file in files]
    by_pixels = FewShotClassifier(model, device="cpu").fit(images, labels)
    assert by_pixels.predict_proba(files) == pytest.approx(expected, abs=1e-4)
    assert by_vectors.chosen_[0]["accuracy"] == by_files.chosen_[0]["accuracy"]


def test_rows_say_the_ranks_that_zero_shot_rows_say(model, pictures, tree, nodes):
    files, _ = pictures
    classifier = FewShotClassifier(model, method="centroid", device="cpu")
    classifier.fit(files, nodes, tree=tree)
    row = next(classifier.predict_rows([files[0]], k=1))
    assert list(row) == ["file_name", "family", "genus", "species", "common_name", "score"]
    assert (row["file_name"], row["family"], row["species"]) == (str(files[0]), "Warm", "red")
    assert row["common_name"] == "poppy" and row["score"] > 0.5
    rows = list(classifier.predict_rows([files[-1]], rank="family", k=9))
    assert [r["family"] for r in rows] == ["Cold", "Warm"]
    species = classifier.predict_proba([files[-1]])[0]
    family = dict(
        zip(classifier.names("family"), classifier.predict_proba([files[-1]], "family")[0],
            strict=True)
    )  # fmt: skip
    by_name = dict(zip(classifier.classes_, species, strict=True))
    assert family["Cold"] == pytest.approx(by_name["green"] + by_name["blue"], abs=1e-6)
    every = list(classifier.predict_rows([files[0]], rank="all", k=1))
    assert [r["rank"] for r in every] == ["family", "genus", "species"]
    with pytest.raises(UsageError, match="no rank 'famly'"):
        classifier.predict([files[0]], "famly")
    plain = FewShotClassifier(model, method="centroid", device="cpu").fit(files, pictures[1])
    row = next(plain.predict_rows([files[0]], k=1))
    assert list(row) == ["file_name", "classification", "score"]


def test_one_unreadable_picture_loses_nothing_else(model, pictures, tmp_path):
    files, labels = pictures
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    classifier = FewShotClassifier(model, method="centroid", shots=8, device="cpu")
    classifier.fit([*files, bad], [*labels, "red"])
    whole = FewShotClassifier(model, method="centroid", device="cpu").fit(files, labels)
    assert classifier.unreadable_ in ([], [(str(bad), "not a picture that can be opened")])
    every = FewShotClassifier(model, method="centroid", device="cpu")
    every.fit([bad, *files], ["red", *labels])
    assert every.unreadable_ == [(str(bad), "not a picture that can be opened")]
    for found in (classifier, every):
        assert found.predict_proba(files) == pytest.approx(whole.predict_proba(files), abs=1e-5)
    rows = list(every.predict_rows([bad, files[0]], k=1))
    assert [row["file_name"] for row in rows] == [str(files[0])]
    assert every.unreadable_ == [(str(bad), "not a picture that can be opened")]
    with pytest.raises(UnreadableImage):
        every.predict([bad])
    with pytest.raises(DataError, match="no picture of 'odd' can be read"):
        FewShotClassifier(model, method="centroid", device="cpu").fit(
            [*files, bad], [*labels, "odd"]
        )


def test_the_choice_is_by_validation_alone(model, pictures, vectors):
    _, labels = pictures
    rng = np.random.default_rng(0)
    crossed = dict(zip(COLOURS, ("green", "blue", "red"), strict=True))
    swapped = [crossed[label] for label in labels]
    texts = FewShotClassifier(model, device="cpu")
    texts.fit(vectors, labels, val=(vectors, swapped))
    assert {row["method"] for row in texts.chosen_} == set(METHODS) - {"caps"}
    assert all(row["accuracy"] < 0.6 for row in texts.chosen_)  # validation says otherwise
    half = rng.permutation(len(vectors))[:9]
    one = FewShotClassifier(model, device="cpu")
    one.fit(vectors, labels, val=(vectors[half], [*np.array(labels)[half]]))
    assert one.chosen_[0]["accuracy"] == 1.0
    unknown = FewShotClassifier(model, device="cpu")
    unknown.fit(vectors, labels, val=(vectors[:3], ["red", "mauve", "pink"]))
    assert "2 of 3 validation pictures" in unknown.messages_[0]
    none = FewShotClassifier(model, method="centroid", device="cpu")
    none.fit(vectors, labels, val=(vectors[:1], ["pink"]))
    assert "a part of the support is held out" in none.messages_[-1]


def test_a_saved_classifier_answers_as_before(model, pictures, tree, nodes, tmp_path):
    files, labels = pictures
    said = [[f"a {label} thing"] for label in labels]
    for method in METHODS:
        classifier = FewShotClassifier(model, method=method, shots=4, seed=3, device="cpu")
        classifier.fit(files, nodes, tree=tree, captions=said)
        folder = classifier.save(tmp_path / method)
        assert sorted(p.name for p in folder.iterdir()) == ["fewshot.json", "fewshot.safetensors"]
        again = FewShotClassifier.load(folder, device="cpu")
        assert np.array_equal(again.predict_proba(files), classifier.predict_proba(files))
        told = list(classifier.predict_rows(files, rank="genus"))
        assert list(again.predict_rows(files, rank="genus")) == told
        for name in ("method_", "chosen_", "notice_", "head_", "shots", "seed", "method"):
            assert getattr(again, name) == getattr(classifier, name), name
        assert again.classes_.tolist() == classifier.classes_.tolist()
    about = json.loads((tmp_path / "caps" / "fewshot.json").read_text())
    assert about["head"] == BOTH and about["learned_from"]["pictures"] == 12
    lineages = [["Cold", "", "blue"], ["Cold", "Leaf", "green"], ["Warm", "Ember", "red"]]
    assert sorted(about["lineages"]) == lineages
    others = FewShotClassifier(model, method="caps", shots=4, seed=4, device="cpu")
    others.fit(files, nodes, tree=tree, captions=said).save(tmp_path / "caps")  # replaces it
    new = json.loads((tmp_path / "caps" / "fewshot.json").read_text())
    assert new["learned_from"]["fingerprint"] != about["learned_from"]["fingerprint"]


def test_another_model_is_refused_and_both_are_named(
    model, other_model, vectors, pictures, tmp_path
):
    classifier = FewShotClassifier(model, method="centroid", device="cpu")
    folder = classifier.fit(vectors, pictures[1]).save(tmp_path / "one")
    with pytest.raises(UsageError) as error:
        FewShotClassifier.load(folder, other_model, device="cpu")
    mine, other = (Encoder(one, device="cpu").digest[:12] for one in (model, other_model))
    for told in (str(model), str(other_model), mine, other):
        assert told in error.value.message
    loaded = Encoder(model, device="cpu").network
    held = FewShotClassifier(loaded, method="centroid").fit(vectors, pictures[1])
    held.save(tmp_path / "two")
    with pytest.raises(UsageError, match="made with a loaded model"):
        FewShotClassifier.load(tmp_path / "two")
    by_path = FewShotClassifier.load(tmp_path / "two", model, device="cpu")
    assert by_path.predict(vectors).tolist() == pictures[1]


def test_what_is_no_classifier_is_told_apart_from_one_that_is_damaged(
    model, vectors, pictures, tmp_path
):
    with pytest.raises(UsageError, match="no few-shot classifier"):
        FewShotClassifier.load(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    classifier = FewShotClassifier(model, method="centroid", device="cpu")
    with pytest.raises(UsageError, match="no labels yet"):
        classifier.save(tmp_path / "new")
    classifier.fit(vectors, pictures[1])
    with pytest.raises(UsageError, match="holds something else"):
        classifier.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    folder = classifier.save(tmp_path / "new")
    whole = (folder / "fewshot.safetensors").read_bytes()
    for damage in (whole[: len(whole) // 2], b""):
        (folder / "fewshot.safetensors").write_bytes(damage)
        with pytest.raises(DataError, match="cannot be read"):
            FewShotClassifier.load(folder)
    (folder / "fewshot.safetensors").write_bytes(whole)
    about = json.loads((folder / "fewshot.json").read_text())
    for wrong, said in (({"format": 9}, "format 9"), ({"method": "magic"}, "cannot be read")):
        (folder / "fewshot.json").write_text(json.dumps({**about, **wrong}))
        with pytest.raises(DataError, match=said):
            FewShotClassifier.load(folder)


def test_captions_are_looked_at_by_the_head_for_captions(model, pictures):
    files, labels = pictures
    encoder = BothHeads(model, device="cpu")
    both = np.concatenate([v.numpy() for _, v in encoder.stream(files, BOTH)])
    sides = [encoder.encode(files, head) for head in ("names", "captions")]
    assert both == pytest.approx(np.hstack(sides), abs=1e-5)
    assert not np.allclose(*sides, atol=0.1)
    said = [[f"a {label} thing"] if i % 2 else [] for i, label in enumerate(labels)]
    classifier = FewShotClassifier(model, method="caps", device="cpu")
    classifier.fit(files, labels, captions=said)
    fitted = classifier._chosen.fitted
    texts = encoder.encode_texts([f"a {label} thing" for label in sorted(COLOURS)])
    for i in range(3):  # a picture without a caption has its label's
        own = fitted.captions[fitted.starts[i] : fitted.starts[i] + 8]
        assert own == pytest.approx(np.repeat(texts[i : i + 1], 8, 0), abs=1e-5)
    expected = classifier.predict_proba(files)
    assert classifier.predict_proba(both) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UsageError, match=f"{sides[0].shape[1]} numbers"):
        classifier.predict(sides[0])
    with pytest.raises(UsageError, match="needs captions"):
        FewShotClassifier(model, method="caps", device="cpu").fit(files, labels)


def test_wrong_use_is_said_before_anything_is_computed(model, vectors, pictures, tree):
    _, labels = pictures

    def fit(images=vectors, named=labels, method="centroid", shots=0, **more):
        made = FewShotClassifier(model, method=method, shots=shots, device="cpu")
        return made.fit(images, named, **more)

    with pytest.raises(UsageError, match="no few-shot method 'tipp'") as error:
        fit(method="tipp")
    assert error.value.hint == "did you mean 'tip'?"
    with pytest.raises(LabelError, match="all pictures have the label 'red'"):
        fit(vectors[:8], labels[:8])
    with pytest.raises(UsageError, match="23 labels for 24 pictures"):
        fit(named=labels[:23])
    with pytest.raises(UsageError, match="labels are names"):
        fit(named=np.arange(24))
    with pytest.raises(UsageError, match="labels are its nodes"):
        fit(tree=tree)
    with pytest.raises(UsageError, match="shots = -1"):
        fit(shots=-1)
    with pytest.raises(UsageError, match="these vectors have 5 numbers"):
        fit().predict(np.ones((2, 5)))
    with pytest.raises(UsageError, match="these vectors have 5 numbers"):
        fit(np.eye(24, 5) + 1.0, method="tip")
    with pytest.raises(DataError, match="picture 2 of 24"):
        fit(np.where(np.arange(24)[:, None] == 1, np.nan, vectors))
    with pytest.raises(UsageError, match="k = 0"):
        fit().predict_rows([], k=0)
    with pytest.raises(UsageError, match="no labels yet"):
        FewShotClassifier(model).predict(vectors)


def test_more_shots_than_there_are_take_all_and_say_so(model, vectors, pictures):
    classifier = FewShotClassifier(model, method="centroid", shots=5, device="cpu")
    classifier.fit(vectors[:19], pictures[1][:19])
    assert "1 of 3 labels have fewer than 5" in classifier.messages_[0]
    assert "blue (3)" in classifier.messages_[0]
    assert classifier._about["learned_from"]["pictures"] == 13


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(0, 20), st.integers(1, 5))
def test_more_shots_are_the_same_pictures_and_more(counts, seed, shots):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    queues = queue_pictures(labels, seed)
    assert sorted(np.concatenate(queues)) == list(range(len(labels)))
    assert [set(labels[queue]) for queue in queues] == [{i} for i in range(len(counts))]
    gallery = GivenVectors(np.eye(len(labels)) + 1.0)
    few, vectors = gather(gallery, queues, shots, "names")
    more, _ = gather(gallery, queues, shots + 1, "names")
    every, _ = gather(gallery, queues, 0, "names")
    for i, count in enumerate(counts):
        assert set(few[i]) <= set(more[i]) <= set(every[i])
        assert (len(few[i]), len(every[i])) == (min(shots, count), count)
    assert np.array_equal(vectors, gallery.vectors[np.concatenate(few)])


def test_an_unreadable_picture_is_replaced_by_the_next_of_its_label():
    class Torn(GivenVectors):
        def encode(self, rows, head, title):
            asked.update(rows.tolist())
            good = ~np.isin(rows, [0, 1, 5])
            return self.vectors[rows[good]], good

    asked, labels = Counter(), np.array([0, 0, 0, 0, 1, 1])
    gallery, queues = Torn(np.eye(6) + 1.0), queue_pictures(labels, 0)
    chosen, vectors = gather(gallery, queues, 2, "names")
    assert [rows.tolist() for rows in chosen] == [[2, 3], [4]]
    assert np.array_equal(vectors, gallery.vectors[[2, 3, 4]])
    assert max(asked.values()) == 1  # none is looked at twice


def test_kept_vectors_are_found_again_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    first = rng.normal(size=(3, 4)).astype(np.float32)
    kept = KeptVectors("model", "names")
    kept.add(["a", "b"], first[:2])
    kept.write()
    kept.add(["c"], first[2:])
    assert np.array_equal(kept.take(["c", "a"]), first[[2, 0]])
    again = KeptVectors("model", "names")
    assert "a" in again and "c" not in again  # it was never written
    assert np.array_equal(again.take(["b", "a", "b"]), first[[1, 0, 1]])
    assert "a" not in KeptVectors("other", "names") and "a" not in KeptVectors("model", BOTH)
    (part,) = again.folder.glob("*.safetensors")
    part.write_bytes(part.read_bytes()[:40])
    assert "a" not in KeptVectors("model", "names")
