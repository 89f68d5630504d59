"""Label vectors that publishers computed: fetched, checked, and used in the place of ours."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from tiny_model import REPO, make_files, unfinished, write_card, zoo

from domainclip import ZeroShotClassifier, paths
from domainclip.model.digest import digest_folder
from domainclip.zoo.pull import pull
from domainclip.zoo.store import Place

NAME, TREE = "biology/little", "them/tree"
FILES = ["embeddings/names.npy", "embeddings/names.json"]
INSECTS = ["Animalia", "Arthropoda", "Insecta"]
ROWS = [
    [[*INSECTS, "Lepidoptera", "Nymphalidae", "Vanessa", "atalanta"], "Red Admiral"],
    [[*INSECTS, "Lepidoptera", "Nymphalidae", "Vanessa", ""], ""],  # a genus, and one below it
    [[*INSECTS, "Hymenoptera", "Apidae", "Apis", "mellifera"], "Honey Bee"],
    [["Plantae", "Tracheophyta", "", "", "", "Bellis", "perennis"], "Daisy"],
    [[*INSECTS, "Hymenoptera", "Apidae", "Apis", "mellifera"], "Bee again"],
]
SAID = ["Vanessa atalanta", "Vanessa", "Apis mellifera", "Bellis perennis"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("published"))


def as_npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def publish(hub, vectors, rows=ROWS, labels=None):
    told = {FILES[0]: as_npy(vectors), FILES[1]: json.dumps(rows)}
    hub.add(TREE, told, repo_type="dataset")
    source = {"repo": TREE, "repo_type": "dataset", "files": FILES}
    write_card(NAME, label_vectors={"source": source, **({"labels": labels} if labels else {})})


@pytest.fixture
def vectors(hub, files):
    hub.add(REPO, files)
    drawn = np.random.default_rng(0).standard_normal((24, len(ROWS))).astype(np.float32)
    publish(hub, drawn, labels=len(ROWS))
    return drawn


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("later", [False, True])
def test_predict_uses_them_and_computes_none(hub, vectors, photo, later):
    if later:
        pull(NAME)
        digest = digest_folder(Place(NAME).folder)
    folder = pull(NAME, label_vectors=True)
    if later:
        assert digest_folder(folder) == digest  # the weights were not fetched again
        assert sum(r.path.count(REPO) for r in hub.requests if "/resolve/" in r.path) == 2
    classifier = ZeroShotClassifier(NAME).fit()
    assert {*classifier.classes_} == {*SAID}
    expected = {name: vectors[:, SAID.index(name)] for name in SAID}
    for name, found in zip(classifier.classes_, classifier.label_features_, strict=True):
        unit = expected[name] / np.linalg.norm(expected[name])
        assert np.allclose(found, unit, atol=1e-6)
    assert not paths.cache_dir("labels").exists()
    seen = zoo(photo, "--model", NAME, "--k", 4, "--json", group="predict")
    assert seen.exit_code == 0, seen.stderr
    picture = classifier.encoder.encode([photo])[0]
    cosines = {n: float(picture @ v / np.linalg.norm(v)) for n, v in expected.items()}
    order = [row.get("species") or row["genus"] for row in json.loads(seen.stdout)]
    assert order == sorted(cosines, key=lambda name: -cosines[name])
    assert zoo("verify", NAME).exit_code == 0 and unfinished() == []


def test_labels_of_the_users_own_are_computed(vectors, photo):
    pull(NAME, label_vectors=True)
    classifier = ZeroShotClassifier(NAME)
    own = classifier.fit([*SAID]).label_features_
    assert paths.cache_dir("labels").exists()
    ready = dict(zip(classifier.fit().classes_, classifier.label_features_, strict=True))
    for name, computed in zip(SAID, own, strict=True):
        assert not np.allclose(computed, ready[name], atol=1e-3)
    with pytest.warns(UserWarning, match="only label"):
        some = classifier.fit(within="Hymenoptera")
    assert [*some.classes_] == ["Apis mellifera"]
    assert np.allclose(some.label_features_[0], ready["Apis mellifera"])
    described = classifier.fit(descriptions={"Bellis perennis": ["a small white flower"]})
    assert not np.allclose(
        described.label_features_[[*described.classes_].index("Bellis perennis")],
        ready["Bellis perennis"], atol=1e-3,
    )  # fmt: skip


def test_two_models_keep_their_vectors_apart(hub, vectors, files):
    folder = pull(NAME, label_vectors=True)
    one = ZeroShotClassifier(folder).fit().label_features_
    write_card("biology/other")
    pull("biology/other")
    tree = ZeroShotClassifier(folder).fit().candidates_.tree
    two = ZeroShotClassifier("biology/other").fit(tree)
    common = [n for n in two.classes_ if n in SAID]
    assert len(common) >= 3 and two.label_features_.shape[1] == one.shape[1]
    ours = dict(zip(ZeroShotClassifier(folder).fit().classes_, one, strict=True))
    theirs = dict(zip(two.classes_, two.label_features_, strict=True))
    assert not any(np.allclose(ours[n], theirs[n], atol=1e-3) for n in common)


@pytest.mark.parametrize("wrong", ["dimension", "count", "names", "numbers", "said", "pickle"])
def test_vectors_that_do_not_fit_are_refused_and_the_model_stays(hub, vectors, wrong):
    folder = pull(NAME)
    before = sorted(p.name for p in folder.iterdir())
    Place(NAME).pins.unlink()
    changed = {
        "dimension": (vectors[:20], ROWS),
        "count": (vectors[:, :4], ROWS),
        "names": (vectors, [[names[1:], common] for names, common in ROWS]),
        "numbers": (vectors * np.nan, ROWS),
        "said": (vectors, {"not": "a list"}),
        "pickle": (np.array([{}], dtype=object), ROWS),
    }[wrong]
    publish(hub, *changed)
    result = zoo("pull", NAME, "--label-vectors")
    assert result.exit_code == 1 and result.stdout == ""
    assert "names." in result.stderr or "vectors" in result.stderr
    assert sorted(p.name for p in folder.iterdir()) == before
    assert zoo("verify", NAME).exit_code == 0 and unfinished() == []
