"""Vectors of labels: kept under what they depend on, read instead of computed, taken up again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError
from domainclip.inference import label_cache
from domainclip.inference.candidates import choose
from domainclip.inference.classify import ZeroShotClassifier
from domainclip.inference.encoding import Encoder
from domainclip.inference.label_cache import LabelMatrix, find_labels
from domainclip.model.folder import create_model, save_model

TREE = LabelTree.from_columns(
    {"family": ["F", "F", "G"], "species": ["a b", "a c", "d e"]}, common=["x", "", ""]
)


def write_model(folder: Path, seed: int = 0, **card: object) -> Path:
    torch.manual_seed(seed)
    network, _ = create_model("small", image_size=32)
    return save_model(network.eval(), folder, tree=TREE, card=card)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "labels"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


def kept(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


def test_a_second_run_reads_what_the_first_computed_and_loads_no_weights(home, model):
    first = ZeroShotClassifier(model, device="cpu").fit()
    assert len(kept(home)) == 1
    second = ZeroShotClassifier(model, device="cpu").fit()
    assert torch.equal(first.label_features_, second.label_features_)
    assert "network" not in vars(second.encoder) and "network" in vars(first.encoder)


@pytest.mark.parametrize(
    "other",
    [
        {"labels": ["a b", "a c"]},
        {"prompts": PromptSet(templates=("one {}",))},
        {"prompts": PromptSet(clean=str.upper)},
        {"prompts": PromptSet(pooling="mean-normalise")},
        {"descriptions": {"x": ["a red thing"]}},
        {"head": "captions"},
        {"labels": {"a b": ["red"], "a c": ["blue"]}},
        {"labels": LabelTree.from_columns({"species": ["a b", "a c", "d e"]})},
        {"labels": LabelTree.from_columns(
            {"family": ["F", "F", "G"], "species": ["a b", "a c", "d e"]}, common=["y", "", ""])},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_whatever_is_said_otherwise_is_kept_apart(home, model, other):
    ZeroShotClassifier(model, device="cpu").fit()
    changed = ZeroShotClassifier(model, device="cpu", prompts=other.get("prompts"))
    changed.fit(other.get("labels"), descriptions=other.get("descriptions"), head=other.get("head"))
    assert len(kept(home)) == 2


def test_the_labels_of_another_model_are_never_used(home, model, tmp_path):
    ours = ZeroShotClassifier(model, device="cpu").fit().label_features_
    other = write_model(tmp_path / "other", seed=1)
    theirs = ZeroShotClassifier(other, device="cpu").fit().label_features_
    assert not torch.allclose(ours, theirs) and len(kept(home)) == 2
    said = write_model(tmp_path / "said", prefixes={"names": "name:"})
    ZeroShotClassifier(said, device="cpu").fit()  # the same weights, spoken to in another way
    assert len(kept(home)) == 3
    write_model(tmp_path / "other", seed=2)  # in the place of another
    newer = ZeroShotClassifier(other, device="cpu").fit().label_features_
    assert not torch.allclose(newer, theirs) and len(kept(home)) == 4


def test_what_is_torn_is_computed_again(home, model):
    first = ZeroShotClassifier(model, device="cpu").fit().label_features_
    (file,) = home.iterdir()
    for broken in (b"", b"no array", file.read_bytes()[:-5]):
        file.write_bytes(broken)
        again = ZeroShotClassifier(model, device="cpu").fit().label_features_
        assert torch.equal(again, first)


def test_fewer_labels_are_rows_of_what_is_kept_of_all(home, model):
    whole = ZeroShotClassifier(model, device="cpu").fit()
    fewer = ZeroShotClassifier(model, device="cpu").fit(within="G")
    assert len(kept(home)) == 1 and fewer.names() == ("d e",)
    assert torch.equal(fewer.label_features_, whole.label_features_[2:])


def test_fewer_labels_alone_are_all_that_is_computed(home, model):
    fewer = ZeroShotClassifier(model, device="cpu").fit(within="F")
    (file,) = home.iterdir()
    assert len(np.load(file)) == 2
    whole = ZeroShotClassifier(model, device="cpu").fit()
    torch.testing.assert_close(fewer.label_features_, whole.label_features_[:2])


def test_a_model_that_is_only_in_memory_leaves_nothing(home):
    network, _ = create_model("small", image_size=32)
    ZeroShotClassifier(network).fit(["a", "b"])
    assert not home.exists()


def test_large_sets_are_kept_in_half_precision_and_scored_by_blocks(home, model, monkeypatch):
    names = [f"label {i}" for i in range(40)]
    exact = ZeroShotClassifier(model, device="cpu").fit(names)
    monkeypatch.setattr(label_cache, "EXACT", 1000)
    monkeypatch.setattr(label_cache, "BLOCK", 7)
    monkeypatch.setenv("DOMAINCLIP_HOME", str(home.parent / "second"))
    half = ZeroShotClassifier(model, device="cpu").fit(names)
    assert half.matrix_.vectors.dtype == np.float16
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(5, exact.label_features_.shape[1])).astype(np.float32)
    logits = exact.matrix_.multiply(torch.from_numpy(pictures))
    torch.testing.assert_close(
        half.matrix_.multiply(torch.from_numpy(pictures)), logits, atol=0.02, rtol=0
    )
    np.testing.assert_allclose(
        half.predict_proba(pictures), exact.predict_proba(pictures), atol=1e-3
    )
    some = half.matrix_.take(np.array([3, 1]))
    assert np.array_equal(some.vectors, half.matrix_.vectors[[3, 1]])


def test_parts_that_are_there_are_not_computed_again(home, model, monkeypatch):
    monkeypatch.setattr(label_cache, "PART", 8)
    names = [f"label {i}" for i in range(20)]
    asked: list[int] = []
    real = label_cache.embed_labels

    def embed(model, texts, *args, **kwargs):
        asked.append(len(texts))
        if sum(asked) > 16 and len(asked) == 3:
            raise KeyboardInterrupt
        return real(model, texts, *args, **kwargs)

    monkeypatch.setattr(label_cache, "embed_labels", embed)
    with pytest.raises(KeyboardInterrupt):
        ZeroShotClassifier(model, device="cpu").fit(names)
    found = ZeroShotClassifier(model, device="cpu").fit(names)
    assert asked == [8, 8, 4, 4] and [path.suffix for path in home.iterdir()] == [".npy"]
    monkeypatch.setattr(label_cache, "embed_labels", real)
    plain = real(found.encoder.network, [(name,) for name in names])
    torch.testing.assert_close(found.label_features_, plain)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(home, model, capsys):
    home.parent.mkdir()
    home.write_text("a file where the folder should be")
    found = ZeroShotClassifier(model, device="cpu").fit(["a", "b"])
    assert len(found.label_features_) == 2
    assert "cannot be kept" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_told(home, tmp_path):
    network, _ = create_model("small", image_size=32)
    network.clip.text.text_projection.data.fill_(torch.nan)
    save_model(network.eval(), tmp_path / "m", tree=None, card={})
    with pytest.raises(DataError, match="not finite"):
        ZeroShotClassifier(tmp_path / "m", device="cpu").fit(["a", "b"])
    assert not home.exists() or not kept(home)


def test_labels_are_those_that_embedding_them_one_by_one_gives(home, model):
    encoder = Encoder(model, device="cpu")
    prompts = PromptSet(templates=("a {}", "the {}."))
    found = find_labels(encoder, choose(["cat", "dog"], prompts), "names")
    assert isinstance(found, LabelMatrix) and len(found) == 2
    with torch.no_grad():
        for name, vector in zip(("cat", "dog"), found.features, strict=True):
            tokens = encoder.network.tokenize([f"a {name}", f"the {name}."])
            mean = encoder.network.encode_text(tokens).mean(0)
            torch.testing.assert_close(vector, mean / mean.norm())


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_parts_that_it_has(model, tmp_path):
    code = (
        "import sys; from domainclip import ZeroShotClassifier; "
        "from domainclip.inference import label_cache; label_cache.PART = 16; "
        "found = ZeroShotClassifier(sys.argv[1], device='cpu').fit([f'l {i}' for i in range(4000)])"
        "; import numpy as np; np.save(sys.argv[2], found.label_features_.numpy())"
    )
    root = Path(__file__).parents[2]

    def run(home: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, "DOMAINCLIP_HOME": str(tmp_path / home), "PYTHONPATH": str(root)}
        typed = [sys.executable, "-c", code, str(model), str(tmp_path / f"{home}.npy")]
        return subprocess.Popen(typed, env=env, cwd=tmp_path)

    job = run("a")
    while len([*(tmp_path / "a").rglob("*.parts/*.npy")]) < 20:
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not (tmp_path / "a.npy").exists()
    assert run("a").wait() == 0 and run("b").wait() == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
