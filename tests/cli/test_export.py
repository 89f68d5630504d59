"""`domainclip export` as people type it, with small models of random weights."""

import copy
import csv
import io
import json

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app
from domainclip.domains.labels import LabelTree
from domainclip.inference.classify import ZeroShotClassifier
from domainclip.model.folder import create_model, save_model

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
LINES = [
    ("A", "B", "C", "D", "Nymphalidae", "Danaus", "Danaus plexippus"),
    ("A", "B", "C", "D", "Nymphalidae", "Vanessa", "Vanessa atalanta"),
    ("A", "B", "C", "D", "Papilionidae", "Papilio", "Papilio machaon"),
]
COLOURS = {"Danaus plexippus": (220, 90, 20), "Vanessa atalanta": (30, 20, 20),
           "Papilio machaon": (230, 220, 90)}  # fmt: skip


def seven_ranks():
    columns = {rank: [line[i] for line in LINES] for i, rank in enumerate(RANKS)}
    return LabelTree.from_columns(columns, common=["monarch", "red admiral", ""])


def make_model(folder, tree, config=VIT, **card):
    source = folder.with_name(f"{folder.name}-source")
    source.mkdir()
    torch.manual_seed(0)
    clip = open_clip.CLIP(**copy.deepcopy(config))
    torch.save(clip.state_dict(), source / "open_clip_pytorch_model.bin")
    told = {"model_cfg": config, "preprocess_cfg": {"size": 32}}
    (source / "open_clip_config.json").write_text(json.dumps(told))
    network, _ = create_model(f"local-dir:{source}", heads=("names", "captions"))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for scale in network.log_scales.values():
            scale.fill_(3.0)
    card = {"heads": ["names", "captions"], **card}
    return save_model(network.eval(), folder, tree=tree, card=card)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "first"
    run.mkdir()
    return make_model(run / "model", seven_ranks(), domain="biology", licence="MIT").parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy pictures of three colours, in folders by name."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 70, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def export(*args):
    return CliRunner().invoke(app, ["export", *map(str, args)], prog_name="domainclip")


def record(result):
    return {row["key"]: row["value"] for row in csv.DictReader(io.StringIO(result.stdout))}


def test_what_was_compared_is_printed(model, tmp_path):
    result = export(model, "--to", "open_clip")
    assert result.exit_code == 0, result.stderr
    told = record(result)
    assert told["folder"] == "first-open_clip" and told["checked with"].startswith("open_clip")
    for name in ("images", "texts", "scale", "pixels"):
        assert float(told[f"largest difference, {name}"]) < 1e-4 == float(told["limit"])
    assert "left out: the head captions" in result.stderr
    assert "next: first-open_clip/export.json says how to load it" in result.stderr
    kept = json.loads((tmp_path / "first-open_clip" / "export.json").read_text())
    assert (kept["model"], kept["domain"], kept["licence"]) == ("first", "biology", "MIT")
    assert str(tmp_path) not in json.dumps(kept)


def test_formats_and_the_name_of_the_folder(model, tmp_path):
    quiet = export(model, "--to", "safetensors", "--head", "captions", "--dtype", "float16",
                   "--check", "none", "--quiet")  # fmt: skip
    assert (quiet.stdout, quiet.stderr) == ("first-safetensors-captions-float16\n", "")
    told = json.loads(export(model, "--to", "safetensors", "--out", "a/b", "--json").stdout)
    assert told["folder"] == "a/b" and told["check"]["checked"] is True
    assert (tmp_path / "a" / "b" / "model.safetensors").is_file()


def test_accuracy_before_and_after_is_measured_on_pictures(model, photos, tmp_path):
    result = export(model, "--to", "open_clip", "--dtype", "bfloat16", "--check", photos,
                    "--split", "train")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    told = record(result)
    assert int(told["pictures"]) > 30 and told["labels"] == "3"
    assert 0.9 <= float(told["agreement"]) <= 1
    assert 1e-5 < float(told["largest difference, pictures"]) < 0.05
    kept = json.loads((tmp_path / "first-open_clip-bfloat16" / "export.json").read_text())
    accuracy = kept["check"]["accuracy"]
    files = [*photos.glob("*/*.png")]
    classifier = ZeroShotClassifier(model, device="cpu").fit()
    right = classifier.predict(files) == np.array([file.parent.name for file in files])
    assert accuracy["top1_before"] == pytest.approx(right.mean(), abs=0.2)
    assert abs(accuracy["top1_after"] - accuracy["top1_before"]) <= 1 - accuracy["agreement"]


def test_built_in_pictures_are_the_default_below_float32(tmp_path):
    from domainclip.domains.registry import get_domain

    tree = get_domain("biology").labels()
    make_model(tmp_path / "mine", tree, domain="biology")
    result = export("mine", "--to", "safetensors", "--dtype", "float16", "--limit", 40)
    assert result.exit_code == 0, result.stderr
    told = record(result)
    assert told["accuracy on"] == "builtin, val" and told["pictures"] == "40"
    assert float(told["agreement"]) > 0.9


def test_a_model_without_a_field_is_exported_unmeasured(tmp_path):
    make_model(tmp_path / "mine", None)
    result = export("mine", "--to", "safetensors", "--dtype", "float16")
    assert result.exit_code == 0, result.stderr
    assert "warning: accuracy was not measured: the model does not say its field" in result.stderr
    asked = export("mine", "--to", "safetensors", "--out", "b", "--check", "builtin")
    assert asked.exit_code == 2 and not (tmp_path / "b").exists()


def test_pybioclip_answers_as_the_model_does(model, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # it sets that, for good
    bioclip = pytest.importorskip("bioclip")
    result = export(model, "--to", "pybioclip", "--out", "tol")
    assert result.exit_code == 0, result.stderr
    assert record(result)["checked with"].startswith("pybioclip")
    assert float(record(result)["largest difference, answers"]) < 1e-4

    class Local(bioclip.TreeOfLifeClassifier):
        def get_cached_datafile(self, filename):
            return str(tmp_path / "tol" / filename)

    theirs = Local(model_str=f"local-dir:{tmp_path / 'tol'}")
    files = [str(next((photos / name).iterdir())) for name in COLOURS]
    ours = ZeroShotClassifier(model, device="cpu", calibrated=False).fit()
    for rank, key in ((bioclip.Rank.SPECIES, "species"), (bioclip.Rank.FAMILY, "family")):
        rows = theirs.predict(files, rank=rank, k=3)
        wanted = [*ours.predict_rows(files, rank=key, k=3)]
        assert [(row["file_name"], row[key]) for row in rows] == [
            (row["file_name"], row[key]) for row in wanted
        ]
        scores = [row["score"] for row in wanted]
        assert [row["score"] for row in rows] == pytest.approx(scores, abs=1e-5)
        assert max(scores) - min(scores) > 0.05
    first = theirs.get_label_data().to_dict("records")[0]
    assert (first["species_epithet"], first["common_name"]) == ("plexippus", "monarch")
    vectors = np.load(tmp_path / "tol" / "embeddings" / "txt_emb_species.npy")
    assert vectors.shape == (32, 3) and vectors.dtype == np.float32


def test_pybioclip_needs_seven_ranks(tmp_path):
    tree = LabelTree.from_columns({"family": ["x", "x"], "species": ["x a", "x b"]})
    make_model(tmp_path / "mine", tree, domain="biology")
    result = export("mine", "--to", "pybioclip")
    assert result.exit_code == 2
    assert "reads labels of 7 ranks, and these have 2: family, species" in result.stderr
    assert not (tmp_path / "mine-pybioclip").exists()


def test_without_pybioclip_its_arithmetic_is_checked(model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bioclip", None)
    told = record(export(model, "--to", "pybioclip"))
    assert told["checked with"].endswith("pybioclip is not installed")
    assert float(told["largest difference, answers"]) < 1e-4


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--to", "open_clip", "--head", "caption"), "no head 'caption'; heads: names, captions"),
        (("--to", "pybioclip", "--head", "caption"), "no head 'caption'; heads: names, captions"),
        (("--to", "open_clip", "--dtype", "int8"), "int8 is for --to onnx"),
        (("--to", "tflite"), "'tflite' is not one of"),
        (("--to", "open_clip", "--out", "full"), "full is there already"),
        ((), "Missing option '--to'"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(model, tmp_path, typed, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    result = export(model, *typed)
    assert result.exit_code == 2 and said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_another_tower_is_refused_by_transformers(tmp_path):
    resnet = {**VIT, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}
    make_model(tmp_path / "mine", None, resnet)
    result = export("mine", "--to", "transformers")
    assert result.exit_code == 2 and "its image tower is a ModifiedResNet" in result.stderr
    assert "hint: " in result.stderr and not (tmp_path / "mine-transformers").exists()


def test_a_folder_without_a_model_is_named(tmp_path):
    result = export(tmp_path, "--to", "open_clip")
    assert result.exit_code == 2 and "no model in" in result.stderr
