"""`domainclip zoo push` and `domainclip zoo make` as a user types them."""

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.model.folder import load_model
from domainclip.zoo.card import read_card_file

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
from run_folders import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("push") / "first")


def zoo(*args):
    return CliRunner().invoke(app, ["zoo", *map(str, args)], prog_name="domainclip")


def test_nothing_is_sent_but_all_is_shown(run, tmp_path):
    card = tmp_path / "card.md"
    result = zoo("push", run, "--to", "me/cells", "--card", card)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["file"] for row in rows} >= {"README.md", "open_clip_model.safetensors"}
    assert "nothing was sent: 6 files" in result.stderr
    assert "me/cells (licence MIT)" in result.stderr
    assert "# cells" in result.stderr and "A CLIP model for" in result.stderr
    assert "next: domainclip" in result.stderr and "--yes" in result.stderr
    assert "warning: --author is not given: the card names me" in result.stderr
    assert card.read_text().startswith("---\nlicense: mit\n")


def test_the_whole_plan_as_json(run):
    told = json.loads(zoo("push", run, "--to", "me/cells", "--private", "--json").stdout)
    assert (told["private"], told["licence"], told["sent"]) == (True, "MIT", None)
    assert told["card"].startswith("---\n") and len(told["files"]) == 6


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--licence", "MTI"), "what it allows is not known here"),
        (("--licence", "CC-BY-4.0", "--notes", "{tmp}/binary"), "cannot be read as text"),
        (("--card", "{tmp}/none/card.md"), "cannot be written"),
        (("--yes",), "nobody is logged in"),
    ],
)
def test_wrong_use_is_said_in_a_line(run, tmp_path, monkeypatch, args, word):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    result = zoo("push", run, "--to", "me/cells", *(arg.format(tmp=tmp_path) for arg in args))
    assert result.exit_code in (1, 2) and word in result.stderr
    assert "Traceback" not in result.output


def test_a_folder_without_a_model(tmp_path):
    result = zoo("push", tmp_path, "--to", "me/cells")
    assert result.exit_code == 2 and "no model in" in result.stderr


@pytest.mark.slow
def test_our_own_small_models_are_made_by_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = zoo("make", "--domain", "medical", "--out", "out", "--tiny", "--json")
    assert result.exit_code == 0, result.output
    (made,) = json.loads(result.stdout)
    assert made["model"] == "domainclip/medical-tiny"
    folder = Path(made["folder"])
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size == made["bytes"] < 10_000_000
    text = (folder / "README.md").read_text()
    said = re.search(r"Stored in half precision: of (\d+) test pictures (\d+) get another", text)
    assert said and int(said[1]) > 30 and int(said[2]) <= 3
    assert "top-1" in text and "| MIT |" in text
    card = read_card_file(Path(made["card"]))
    assert (card.name, card.source.repo) == ("medical/tiny", "domainclip/medical-tiny")
    assert card.licence == "MIT" and card.scores and card.notice
    model = load_model(folder)
    assert model.config["embed_dim"] == card.dimension and model.preprocess.size == card.image_size
    again = zoo("make", "--domain", "medical", "--out", "out", "--tiny")
    assert again.exit_code == 0 and "used as it is" in again.stderr
    assert "domainclip zoo push out/runs/medical-tiny --to domainclip/medical-tiny" in again.stderr


def test_an_unknown_domain_is_told_before_training():
    result = zoo("make", "--domain", "medicine", "--out", "out")
    assert result.exit_code == 2 and "did you mean 'medical'" in result.stderr
