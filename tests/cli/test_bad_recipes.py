"""What cannot be trained is refused as typed: exit code 2 and a line that says what to change."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app

TINY = ("--domain", "biology", "--tiny", "--device", "cpu", "--model.image_size", "32")


def train(*args):
    return CliRunner().invoke(app, ["train", *map(str, args)], prog_name="domainclip")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Labels in folders, no captions."""
    place = tmp_path_factory.mktemp("photos")
    for split in ("train", "val", "test"):
        for label in "ab":
            (place / split / label).mkdir(parents=True)
            noise = np.random.default_rng(ord(label)).integers(0, 255, (20, 20, 3), np.uint8)
            for i in range(4):
                Image.fromarray(noise).save(place / split / label / f"{i}.png")
    return place


@pytest.mark.parametrize(
    ("args", "said", "way"),
    [
        (
            ("--model.heads", "captions", "--data", "{photos}"),
            "model.heads has captions alone, but no training picture has a caption",
            "--model.heads names",
        ),
        (
            ("--recipe", "hard_negatives", "--data", "{photos}"),
            "text.negatives is 1, but no training picture has a caption",
            "domainclip caption",
        ),
        (
            ("--recipe", "subcaptions", "--data", "{photos}"),
            "text.parts is 0.5, but no training picture has a caption",
            "--data.captions FOLDER",
        ),
        (("--model.heads", "names,pictures"), "model.heads = ", "one of names, captions"),
        (
            ("--recipe", "lora", "--model.name", "small", "--train.wise_ft", "false"),
            "model.lora adapts trained weights, and 'small' starts from nothing",
            "name a pretrained model",
        ),
        (
            ("--recipe", "flyp", "--model.name", "small"),
            "train.wise_ft mixes with pretrained weights, and 'small' has none",
            "name a pretrained model",
        ),
        (("--recipe", "lora"), "flyp.yaml:10: model.name: has to be given", "or a run folder"),
        (
            ("--model.lock", "image", "--model.patch_dropout", "0.5"),
            "model.patch_dropout does nothing: the image tower is locked",
            "leave out one",
        ),
        (
            ("--data.batch_size", "100", "--train.micro_batch", "32"),
            "command line: train.micro_batch 32 does not divide data.batch_size 100; 25 and 50 do",
            "recipes show",
        ),
        (("--data.balance", "tribe"), "tribe", "family"),
        (("--train.steps", "3", "--train.minutes", "1"), "give one of epochs, steps", "train"),
        (
            ("--train.loggers", "abacus"),
            "train.loggers = [abacus]: should be one of",
            "tensorboard",
        ),
        (("--device", "cuda"), "there is no cuda device here", "--device cpu"),
        *(
            (
                ("--train.strategy", "fsdp", f"--{key}", value),
                f"command line: train.strategy fsdp does not go with {key}",
                "leave out one",
            )
            for key, value in (("train.ema", 0.9), ("train.compile", "true"), ("model.lora", 4))
        ),
    ],
)
def test_it_is_refused_before_the_first_step(args, said, way, photos, tmp_path):
    if "cuda" in args and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    filled = [str(arg).format(photos=photos) for arg in args]
    result = train(*TINY, "--out", tmp_path / "run", *filled)
    assert result.exit_code == 2, result.output
    assert said in result.stderr and way in result.stderr
    assert "Traceback" not in result.stderr and "\ntraining " not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_batch_that_fits_in_one_part_is_whole(tmp_path):
    result = train("--domain", "biology", "--dry-run", "--tiny", "--train.micro_batch", "24")
    assert result.exit_code == 0, result.output
