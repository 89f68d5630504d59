"""`domainclip embed` as a user types it."""

import json
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.embed import command
from domainclip.errors import UsageError
from domainclip.inference.encoding import Encoder
from domainclip.model.folder import create_model, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network, _ = create_model("small", image_size=32)
    folder = tmp_path_factory.mktemp("model")
    return save_model(network.eval(), folder, tree=None, card={"heads": ["names", "captions"]})


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "photos" / f"{i}.png")


def embed(model, *args, **kwargs):
    return CliRunner().invoke(command, [*map(str, args), "--model", str(model)], **kwargs)


def test_json_goes_to_stdout_as_it_comes(model):
    result = embed(model, "photos", "--batch-size", "2", "--device", "cpu")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    files = [f"photos/{i}.png" for i in range(3)]
    assert list(told["embeddings"]) == files and told["model"] == str(model)
    assert np.allclose(list(told["embeddings"].values()), Encoder(model).encode(files), atol=1e-6)


def test_boxes_come_from_a_list_and_names_from_stdin(model, tmp_path):
    (tmp_path / "boxes.csv").write_text("file,x,y,w,h\nphotos/0.png,1,2,9,9\n")
    result = embed(model, "boxes.csv", "-", input="photos/1.png\n")
    keys = list(json.loads(result.stdout)["embeddings"])
    assert [key.removeprefix(f"{tmp_path}/") for key in keys] == [
        "photos/0.png#xywh=1,2,9,9", "photos/1.png",
    ]  # fmt: skip


def test_a_file_is_written_and_named(model, tmp_path):
    result = embed(model, "photos", "--head", "captions", "--output", "f.npz")
    assert (result.exit_code, result.stdout) == (0, "f.npz\n")
    assert "3 pictures, head captions" in result.stderr
    assert "next: domainclip index --embeddings f.npz" in result.stderr
    with np.load("f.npz") as held:
        assert held["names"].tolist() == [f"photos/{i}.png" for i in range(3)]
        assert held["embeddings"].shape == (3, 256) and held["head"] == "captions"
        assert held["digest"] == Encoder(model).digest


def test_texts_from_arguments_a_file_and_stdin(model, tmp_path):
    (tmp_path / "more.txt").write_text("\ufeffblue wings\n\n red wings \n", encoding="utf-8")
    result = embed(model, "--text", "a beetle", "@more.txt", "-", input="one, more\n")
    told = json.loads(result.stdout)
    assert list(told["embeddings"]) == ["a beetle", "blue wings", "red wings", "one, more"]
    assert told["origin"]["kind"] == "texts"
    expected = Encoder(model).encode_texts(["a beetle"], "names")
    assert np.allclose(told["embeddings"]["a beetle"], expected, atol=1e-5)


def test_unreadable_pictures_are_listed_and_lose_nothing(model, tmp_path):
    (tmp_path / "photos" / "1.png").write_bytes(b"no")
    for args in ((), ("--output", "f.parquet")):
        result = embed(model, "photos", "gone.png", *args)
        assert result.exit_code == 1
        assert "warning: photos/1.png: not a picture that can be opened" in result.stderr
        assert "warning: gone.png: the file is missing" in result.stderr
        assert "error: 2 of 4 pictures could not be read" in result.stderr
    assert "2 pictures, head names" in result.stderr
    assert len(json.loads(embed(model, "photos").stdout)["embeddings"]) == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("empty",), "no picture in empty"),
        (("--text", " "), "no text in"),
        (("--text", "@gone.txt"), "@gone.txt: no such file"),
        (("photos", "--output", "f.txt"), "not written as .txt"),
    ],
)
def test_wrong_use_is_told(model, tmp_path, args, said):
    (tmp_path / "empty").mkdir()
    result = embed(model, *args)
    assert isinstance(result.exception, UsageError) and said in result.exception.message
    assert result.exception.exit_code == 2


def test_ctrl_c_says_how_to_go_on(model, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x/domainclip", "embed", "my photos", "--output", "f.npz"])
    before = Encoder._read
    again = []

    def interrupted(self, images, skip):
        for number, batch in enumerate(before(self, images, skip)):
            if number == 1 and not again:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(Encoder, "_read", interrupted)
    args = ("photos", "--output", "f.npz", "--batch-size", "1")
    result = embed(model, *args)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "to go on: domainclip embed 'my photos' --output f.npz" in result.stderr
    again.append(True)
    result = embed(model, *args)
    assert result.exit_code == 0 and "3 pictures, 1 of them before" in result.stderr


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(model, run_python, tmp_path):
    script = f"""
import os, sys
from domainclip.cli import app
app.COMMANDS.setdefault("embed", "")
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
app.app.main(["embed", {str(tmp_path / "photos")!r}, "--model", {str(model)!r}])
"""
    done = run_python("-c", script)
    assert done.returncode == 1
    assert done.stderr == ""
