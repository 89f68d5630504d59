"""Zero-shot classification by a model of known features: the mean colour, and colour words."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from domainclip.cli.choosing import read_descriptions
from domainclip.data.images import UnreadableImage, square
from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.errors import LabelError, UsageError
from domainclip.inference.classify import ZeroShotClassifier
from domainclip.inference.encoding import Encoder, prepare
from domainclip.inference.fewshot.classifier import FewShotClassifier
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.model.clip import DomainClip, Preprocess
from domainclip.model.folder import CONFIG, create_model, read_card, save_model

COLOURS = {
    "red": (1.0, 0, 0),
    "scarlet": (0.9, 0.3, 0),
    "green": (0, 1.0, 0),
    "blue": (0, 0, 1.0),
    "loud": (3.0, 0, 0),
}


class ColourClip(DomainClip):
    """Sees the mean colour of a picture and reads the colour words of a text."""

    def __init__(self, heads=("names",)):
        nn.Module.__init__(self)
        self.held = ()
        self.preprocess = Preprocess(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.heads = nn.ModuleDict({name: nn.Identity() for name in heads})
        self.weight = nn.Parameter(torch.zeros(1))
        self.encoded, self.heads_used, self.batches = [], [], []

    def tokenize(self, texts, head="names"):
        self.encoded += texts
        found = [[COLOURS[w] for w in t.lower().split() if w in COLOURS] for t in texts]
        return torch.tensor(np.array([np.sum(f, 0) if f else (0.01,) * 3 for f in found])).float()

    def encode_text(self, tokens, normalize=True):
        return functional.normalize(tokens, dim=-1) if normalize else tokens

    def encode_image(self, pixels, head="names", normalize=True):
        self.heads_used.append(head)
        self.batches.append(len(pixels))
        return functional.normalize(pixels.mean((2, 3)), dim=-1)

    def scale(self, head="names"):
        return torch.tensor(10.0)


def picture(*colour, size=(20, 12)):
    return Image.new("RGB", size, tuple(int(255 * c) for c in colour))


RED, GREEN, BLUE = picture(1, 0, 0), picture(0, 1, 0), picture(0, 0, 1)


@pytest.fixture
def tree():
    columns = {
        "family": ["Warm", "Warm", "Cold", "Cold"],
        "genus": ["Ember", "Ember", None, "Leaf"],
        "species": ["red", "scarlet", "blue", "green"],
    }
    return LabelTree.from_columns(columns, common=["poppy", "", "sky", "grass, tall"])


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, image in (("a,b.png", RED), ("grün.png", GREEN), ("c.png", BLUE)):
        image.save(tmp_path / name)
        paths.append(tmp_path / name)
    return paths


def probabilities_of(model, image, features):
    seen = functional.normalize(torch.tensor(np.asarray(image)).float().mean((0, 1)) / 255, dim=-1)
    return (10 * seen @ features.T).softmax(-1)


def test_names_and_probabilities_in_the_manner_of_sklearn():
    classifier = ZeroShotClassifier(ColourClip()).fit(["red", "green", "blue"])
    assert classifier.predict([BLUE, RED]).tolist() == ["blue", "red"]
    p = classifier.predict_proba([BLUE, RED, GREEN])
    assert p.shape == (3, 3) and p.dtype == np.float32
    assert p.sum(1) == pytest.approx(1)
    expected = np.exp([0, 0, 10]) / np.exp([0, 0, 10]).sum()
    assert p[0] == pytest.approx(expected, abs=1e-6)
    assert classifier.classes_.tolist() == ["red", "green", "blue"]
    assert classifier.label_features_.shape == (3, 3)
    assert classifier.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "array", "pillow"])
def test_one_picture_comes_in_many_forms(kind, files):
    classifier = ZeroShotClassifier(ColourClip()).fit(["red", "green"])
    one = {
        "path": files[1],
        "str": str(files[1]),
        "bytes": files[1].read_bytes(),
        "array": np.asarray(GREEN),
        "pillow": GREEN,
    }[kind]
    assert classifier.predict(one).tolist() == ["green"]
    assert classifier.predict([one, one]).tolist() == ["green", "green"]


def test_templates_are_said_and_their_number_does_not_matter_to_the_length():
    model = ColourClip()
    prompts = PromptSet(templates=("a {}", "one {} thing"), clean=str.lower)
    classifier = ZeroShotClassifier(model, prompts=prompts).fit(["RED", "Blue"])
    assert set(model.encoded) == {"a red", "one red thing", "a blue", "one blue thing"}
    assert classifier.label_features_.norm(dim=-1).tolist() == pytest.approx([1, 1])


def test_descriptions_are_taken_as_they_are_through_the_caption_head():
    model = ColourClip(heads=("names", "captions"))
    prompts = PromptSet(templates=("a photo of {}",))
    said = {"Papaver": ["a red thing", "scarlet petals"], "Poa": ["green blades"]}
    classifier = ZeroShotClassifier(model, prompts=prompts).fit(said)
    assert set(model.encoded) == {"a red thing", "scarlet petals", "green blades"}
    assert classifier.predict([RED, GREEN]).tolist() == ["Papaver", "Poa"]
    assert set(model.heads_used) == {"captions"}
    classifier.fit(["red", "green"]).predict([RED])
    assert model.heads_used[-1] == "names"


def test_a_model_without_a_caption_head_uses_the_one_it_has():
    model = ColourClip()
    ZeroShotClassifier(model).fit({"x": ["red"], "y": ["blue"]}).predict([RED])
    assert model.heads_used == ["names"]


def test_ranks_sum_what_lies_below_them(tree):
    classifier = ZeroShotClassifier(ColourClip()).fit(tree)
    leaves = classifier.predict_proba([RED])[0]
    by_name = dict(zip(classifier.names(), leaves, strict=True))
    family = dict(
        zip(classifier.names("family"), classifier.predict_proba([RED], "family")[0], strict=True)
    )
    assert family["Warm"] == pytest.approx(by_name["red"] + by_name["scarlet"], abs=1e-6)
    genus = dict(
        zip(classifier.names("genus"), classifier.predict_proba([RED], "genus")[0], strict=True)
    )
    assert genus["no genus, under Cold"] == pytest.approx(by_name["blue"], abs=1e-6)
    assert sum(genus.values()) == pytest.approx(1)
    assert classifier.predict([RED, BLUE], "family").tolist() == ["Warm", "Cold"]


def test_rows_have_the_columns_of_pybioclip(tree, files):
    classifier = ZeroShotClassifier(ColourClip()).fit(tree)
    rows = list(classifier.predict_rows(files, k=2))
    assert len(rows) == 6
    first = rows[0]
    assert list(first) == ["file_name", "family", "genus", "species", "common_name", "score"]
    assert first["file_name"] == str(files[0])
    assert (first["family"], first["species"], first["common_name"]) == ("Warm", "red", "poppy")
    assert rows[1]["species"] == "scarlet" and rows[1]["common_name"] == ""
    assert first["score"] > rows[1]["score"]
    assert (rows[4]["species"], rows[4]["genus"]) == ("blue", "")
    assert rows[2]["common_name"] == "grass, tall"


def test_rows_at_a_rank_stop_there(tree, files):
    classifier = ZeroShotClassifier(ColourClip()).fit(tree)
    rows = list(classifier.predict_rows(files, rank="genus", k=9))
    assert len(rows) == 9  # three genera, the bucket among them, for three pictures
    assert list(rows[0]) == ["file_name", "family", "genus", "score"]
    assert rows[6]["genus"] == "no genus, under Cold" and rows[6]["family"] == "Cold"
    assert sum(row["score"] for row in rows[:3]) == pytest.approx(1)


def test_common_names_stand_at_a_coarser_rank_where_there_are_some(files):
    columns = {"family": ["F", "F"], "genus": ["a", "b"], "species": ["a a", ""]}
    classifier = ZeroShotClassifier(ColourClip()).fit(
        LabelTree.from_columns(columns, common=["", "bees"])
    )
    rows = list(classifier.predict_rows(files[:1], rank="genus"))
    assert {row["genus"]: row["common_name"] for row in rows} == {"a": "", "b": "bees"}
    assert "common_name" not in next(classifier.predict_rows(files[:1], rank="family"))
    assert "common_name" in next(classifier.predict_rows(files[:1], rank="species"))


def test_rows_of_custom_labels(files):
    classifier = ZeroShotClassifier(ColourClip()).fit(["red", "green, or blue"])
    rows = list(classifier.predict_rows(files[:1], k=5))
    assert [list(r) for r in rows] == [["file_name", "classification", "score"]] * 2
    assert rows[0]["classification"] == "red"


def test_what_cannot_be_read_is_listed_and_stops_nothing(files, tmp_path):
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(b"no picture")
    classifier = ZeroShotClassifier(ColourClip(), batch_size=2).fit(["red", "green", "blue"])
    rows = list(classifier.predict_rows([broken, files[0], missing, broken, files[2]], k=1))
    assert [r["classification"] for r in rows] == ["red", "blue"]
    assert [path for path, _ in classifier.unreadable_] == [str(broken), str(missing), str(broken)]
    assert all(reason for _, reason in classifier.unreadable_)
    list(classifier.predict_rows(files, k=1))
    assert classifier.unreadable_ == []
    with pytest.raises(UnreadableImage, match="missing"):
        classifier.predict([missing])


def test_rows_are_streamed_by_batch(files):
    model = ColourClip()
    classifier = ZeroShotClassifier(model, batch_size=4).fit(["red", "green"])
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield files[0]

    rows = list(islice(classifier.predict_rows(endless(), k=1), 6))
    assert len(rows) == 6
    assert asked <= 12  # the batch at hand and the next one, not all
    assert model.batches == [4, 4]


def test_wrong_use_is_told(tree, files):
    classifier = ZeroShotClassifier(ColourClip())
    with pytest.raises(UsageError, match="no labels yet"):
        classifier.predict([RED])
    with pytest.raises(UsageError, match="without labels"):
        classifier.fit()
    with pytest.raises(LabelError, match="'red' is given twice"):
        classifier.fit(["red", "blue", "red"])
    with pytest.raises(LabelError, match="no label"):
        classifier.fit([])
    with pytest.raises(LabelError, match="has no text"):
        classifier.fit({"x": []})
    classifier.fit(tree)
    with pytest.raises(UsageError, match="no rank 'familly'") as error:
        classifier.predict_rows(files, rank="familly")
    assert "family" in error.value.hint
    with pytest.raises(UsageError, match="k = 0"):
        classifier.predict_rows(files, k=0)
    with pytest.raises(UsageError, match="no ranks"):
        classifier.fit(["red"]).predict([RED], rank="family")


def test_homonyms_are_two_labels_with_their_own_lineage(files):
    columns = {"family": ["A", "B"], "species": ["red", "red"]}
    tree = LabelTree.from_columns(columns)
    rows = list(ZeroShotClassifier(ColourClip()).fit(tree).predict_rows(files[:1]))
    assert {(r["family"], r["species"]) for r in rows} == {("A", "red"), ("B", "red")}
    assert [r["score"] for r in rows] == pytest.approx([0.5, 0.5])


def test_a_label_is_said_by_its_names_and_its_path(tree):
    texts = label_texts(tree, tree.find("red")[0])
    expected = {
        "red",
        "poppy",
        "red with common name poppy",
        "Warm Ember red with common name poppy",
    }
    assert set(texts) == expected and len(texts) == 4
    assert set(label_texts(tree, tree.find("blue")[0], PromptSet(templates=("a {}.",)))) == {
        "a blue.",
        "a sky.",
        "a blue with common name sky.",
        "a Cold blue with common name sky.",
    }
    assert set(label_texts(tree, tree.find("scarlet")[0])) == {"scarlet", "Warm Ember scarlet"}


def test_pooling_orders_differ_as_they_should():
    model = ColourClip()
    texts = [["loud", "green"]]  # features (3, 0, 0) and (0, 1, 0)
    unit = embed_labels(model, texts, "normalise-mean")
    raw = embed_labels(model, texts, "mean-normalise")
    assert unit[0].tolist() == pytest.approx([2**-0.5, 2**-0.5, 0])
    assert raw[0].tolist() == pytest.approx([3 / 10**0.5, 1 / 10**0.5, 0])


def test_every_text_is_encoded_once_and_batches_do_not_matter():
    model = ColourClip()
    texts = [["red", "blue"], ["blue"], ["green", "red", "loud green"], ["a much longer red"]]
    whole = embed_labels(model, texts)
    assert sorted(model.encoded) == sorted({t for said in texts for t in said})
    assert not whole.requires_grad
    torch.testing.assert_close(embed_labels(model, texts, batch_size=2), whole)
    for row, said in zip(whole, texts, strict=True):
        torch.testing.assert_close(row, embed_labels(model, [said])[0])


def test_prepare_sees_the_centre_at_the_scale_of_the_packed_pictures():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 90, 3), dtype=np.uint8))
    preprocess = Preprocess(size=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = prepare(image, preprocess)
    assert pixels.shape == (3, 16, 16) and pixels.dtype == torch.float32
    back = pixels.permute(1, 2, 0).numpy() * (0.5, 0.6, 0.7) + (0.1, 0.2, 0.3)
    assert np.rint(back * 255) == pytest.approx(square(image, 16))
    assert prepare(Image.new("RGB", (1, 30_000)), preprocess).shape == (3, 16, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder as training leaves it: trained on two of the four labels of its tree."""
    tree = LabelTree.from_columns(
        {"family": ["F", "F", "G", "G"], "species": ["a", "b", "c", "d"]}, common=["", "x", "", ""]
    )
    torch.manual_seed(0)
    model, _ = create_model("small")
    path = tmp_path_factory.mktemp("run")
    candidates = [list(tree.key(int(tree.find(name)[0]))) for name in ("d", "b")]
    save_model(model.eval(), path / "model", tree=tree, card={"candidates": candidates})
    return path


def test_a_run_folder_names_the_labels_it_was_trained_on(folder, files):
    classifier = ZeroShotClassifier(folder, device="cpu").fit()
    assert classifier.classes_.tolist() == ["d", "b"]
    rows = list(classifier.predict_rows(files[:1]))
    assert {r["species"]: r["family"] for r in rows} == {"d": "G", "b": "F"}
    assert sum(r["score"] for r in rows) == pytest.approx(1)
    everything = LabelTree.from_csv(folder / "model" / "labels.csv")
    assert len(classifier.fit(everything).classes_) == 4


def test_batches_give_what_single_pictures_give(folder, files):
    classifier = ZeroShotClassifier(folder, device="cpu", batch_size=3).fit()
    together = classifier.predict_proba(files)
    alone = np.concatenate([classifier.predict_proba([path]) for path in files])
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_notice_of_a_model_is_at_hand(tmp_path):
    model, _ = create_model("small")
    save_model(model, tmp_path, tree=None, card={"notice": "Not for clinical use."})
    classifier = ZeroShotClassifier(tmp_path, device="cpu").fit(["a", "b"])
    assert classifier.notice_ == "Not for clinical use."
    with pytest.raises(UsageError, match="without labels"):
        classifier.fit()


def test_descriptions_begin_with_their_own_word_though_there_is_one_head(tmp_path):
    prefixes = {"names": "name:", "captions": "caption:"}
    model, _ = create_model("small", heads=("names",), prefixes=prefixes)
    save_model(model.eval(), tmp_path, tree=None, card={})
    classifier = ZeroShotClassifier(tmp_path, device="cpu")
    names = classifier.fit(["a red one", "a blue one"]).label_features_
    told = classifier.fit({"x": ["a red one"], "y": ["a blue one"]}).label_features_
    assert classifier.head_ == "names"
    tokenize = open_clip.get_tokenizer(f"local-dir:{tmp_path}")  # stock open_clip knows no word
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    stock.eval()
    for ours, word in ((names, "name"), (told, "caption")):
        said = tokenize([f"{word}: a red one", f"{word}: a blue one"])
        with torch.no_grad():
            theirs = stock.encode_text(said, normalize=True)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert "caption" in read_card(tmp_path)["prefixes_note"]


def test_vectors_stand_for_pictures(tree):
    classifier = ZeroShotClassifier(ColourClip()).fit(tree)
    seen = np.array([[0.9, 0.1, 0.0], [0.0, 0.0, 2.0]], dtype=np.float32)
    for vectors in (seen, torch.from_numpy(seen), seen.astype(np.float64)):
        assert classifier.predict(vectors).tolist() == ["red", "blue"]
    unit = torch.nn.functional.normalize(torch.from_numpy(seen), dim=-1)
    expected = (10 * unit @ classifier.label_features_.T).softmax(-1)
    assert classifier.predict_proba(seen) == pytest.approx(expected.numpy(), abs=1e-6)
    rows = list(classifier.predict_rows(seen, k=1))
    assert [(r["file_name"], r["species"]) for r in rows] == [("0", "red"), ("1", "blue")]
    with pytest.raises(UsageError, match="4 numbers, the model's have 3"):
        classifier.predict(np.zeros((2, 4), dtype=np.float32))
    grey = np.full((8, 8), 200, dtype=np.uint8)  # bytes are a picture
    assert classifier.predict_proba(grey).shape == (1, 4)


def test_tensors_are_pictures_too():
    classifier = ZeroShotClassifier(ColourClip()).fit(["red", "green", "blue"])
    blue = torch.from_numpy(np.asarray(BLUE).copy()).permute(2, 0, 1)
    assert classifier.predict(blue).tolist() == ["blue"]
    assert classifier.predict([blue, blue.float() / 255]).tolist() == ["blue", "blue"]


def test_coarse_to_fine_gives_one_line(tree):
    seen = np.array([[0.6, 0.0, 0.62]], dtype=np.float32)  # blue alone beats each warm one
    flat = ZeroShotClassifier(ColourClip()).fit(tree)
    line = ZeroShotClassifier(ColourClip(), coarse_to_fine=True).fit(tree)
    assert flat.predict(seen).tolist() == ["blue"]
    assert flat.predict(seen, "family").tolist() == ["Warm"]
    assert line.predict(seen, "family").tolist() == ["Warm"]
    assert line.predict(seen).tolist() == ["red"]
    first = next(iter(line.predict_rows(seen, k=1)))
    plain = dict(zip(flat.names(), flat.predict_proba(seen)[0], strict=True))
    assert first["score"] == pytest.approx(plain["red"])


def test_a_notebook_shows_pictures_beside_their_names(tree, files):
    classifier = ZeroShotClassifier(ColourClip()).fit(tree)
    shown = classifier.show(files, k=2)
    page = shown._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 3 and "red (poppy)" in page
    assert "grass, tall" in page and len(shown.rows[0]) == 2
    assert repr(shown).splitlines()[0].startswith(f"{files[0]}: red (poppy) 0.")
    assert "4 labels" in repr(classifier)


def test_a_model_without_its_tokenizer_still_sees(tmp_path, files):
    network, _ = create_model("small", image_size=32)
    save_model(network.eval(), tmp_path / "m", tree=None, card={})
    config = json.loads((tmp_path / "m" / CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    (tmp_path / "m" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UsageError, match="has no tokenizer here, so it reads no text") as error:
        ZeroShotClassifier(tmp_path / "m", device="cpu").fit(["a", "b"])
    assert "fewshot" in error.value.hint
    seen = Encoder(tmp_path / "m", device="cpu").encode(files)
    assert seen.shape == (3, 256)
    learned = FewShotClassifier(tmp_path / "m", method="centroid", device="cpu")
    assert learned.fit(seen, ["r", "g", "b"]).predict(files).tolist() == ["r", "g", "b"]


DESCRIBED = "DOMAINCLIP_TEST_DATA"


@pytest.mark.skipif(DESCRIBED not in os.environ, reason=f"{DESCRIBED} is not set")
@pytest.mark.parametrize("name", ["cupl_cub", "descriptors_eurosat", "cupl_res45_full"])
def test_published_descriptions_are_read_as_they_are(name, folder, files):
    path = Path(os.environ[DESCRIBED]) / "text_classdescriptions" / f"{name}.json"
    said = read_descriptions(str(path))
    classifier = ZeroShotClassifier(folder, device="cpu").fit({k: v[:3] for k, v in said.items()})
    assert classifier.names() == tuple(said)
    assert classifier.predict_proba(files).sum(1) == pytest.approx(1, abs=1e-5)
