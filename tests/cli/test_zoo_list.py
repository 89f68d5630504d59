"""`domainclip zoo list` and `domainclip zoo show` as people type them."""

import csv
import io
import json

import pytest
import torch
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.cli.output import Output
from domainclip.cli.zoo import command as zoo
from domainclip.cli.zoo.listing import list_command, show
from domainclip.model.folder import create_model, save_model
from domainclip.zoo.catalogue import find_cards, get_card


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "home"


def invoke(*args):
    return CliRunner().invoke(app, ["zoo", *map(str, args)], prog_name="domainclip")


def screen_of(command, width, monkeypatch, **values):
    """What a command writes on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    screen = Terminal()
    command.callback.__wrapped__(out=Output("table", screen), **values)
    return screen.getvalue().splitlines()


def pull(home, name, size=3_000_000):
    folder = home / "zoo" / name
    folder.mkdir(parents=True)
    (folder / "zoo.json").write_text("{}")
    (folder / "open_clip_model.safetensors").write_bytes(b"0" * size)
    return folder


def test_every_model_is_listed_with_its_state(home):
    pull(home, "biology/bioclip")
    pull(home, "medical/own")
    rows = {row["name"]: row for row in json.loads(invoke("list", "--json").stdout)}
    assert set(rows) == {*find_cards(), "medical/own"}
    assert (rows["biology/bioclip"]["state"], rows["biology/bioclip"]["megabytes"]) == ("here", 3)
    assert rows["medical/own"]["state"] == "here"
    assert rows["biology/bioclip-2"]["state"] == "to pull"
    assert rows["biology/bioclip-2"]["architecture"] == "ViT-L-14"
    assert rows["remote_sensing/streetclip"]["state"] == "licence to accept"
    assert rows["medical/conch"]["state"] == "cannot be loaded"
    assert not any(row["error"] for row in rows.values())


def test_the_models_of_one_domain():
    rows = list(csv.DictReader(io.StringIO(invoke("list", "--domain", "medical").stdout)))
    assert rows and all(row["name"].startswith("medical/") for row in rows)
    assert "licence" in rows[0] and "\nmedical/plip\n" in invoke("list", "--quiet").stdout
    done = invoke("list", "--domain", "medicine")
    assert done.exit_code == 2 and "did you mean 'medical'?" in done.stderr


def test_a_broken_card_is_listed_and_hides_no_other(home):
    bad = home / "cards" / "biology" / "bad.yaml"
    bad.parent.mkdir(parents=True)
    bad.write_text("name: biology/bad\ntitel: Bad\n")
    done = invoke("list", "--json")
    assert done.exit_code == 0
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["biology/bad"]["state"] == "broken card"
    assert (
        f"{bad}:2: titel: there is no such key; did you mean 'title'?"
        in (rows["biology/bad"]["error"])
    )
    assert rows["biology/bioclip"]["state"] == "to pull"
    done = invoke("show", "biology/bad")
    assert done.exit_code == 1 and f"{bad}:2: titel" in done.stderr


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_keeps_names_and_states_whole(width, monkeypatch, home, capsys):
    bad = home / "cards" / "biology" / "bad.yaml"
    bad.parent.mkdir(parents=True)
    bad.write_text("nmae: biology/bad\n")
    lines = screen_of(list_command, width, monkeypatch, domain="")
    assert max(map(len, lines)) <= width
    assert lines[0].split() == [
        "name", *["title"] * (width > 100), "architecture", "licence", "size", "state",
    ]  # fmt: skip
    domain, names = "", set()
    for line in lines[1:]:
        if line.startswith("  "):
            names.add(f"{domain}/{line.split()[0]}")
        else:
            domain = line
    assert names == set(find_cards())
    assert lines[1] == "biology" and "general" in lines[-20:]
    ends = ("here", "to pull", "to import", "licence to accept", "cannot be loaded", "broken card")
    assert all(line.endswith(ends) for line in lines[1:] if line.startswith("  "))
    said = capsys.readouterr().err
    assert f"{bad}:1: nmae: there is no such key" in said and "models, 0 here" in said


def test_show_says_everything_and_marks_what_was_not_checked(monkeypatch, home):
    lines = screen_of(show, 80, monkeypatch, name="bioclip-2", domain="")
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert lines[0] == "biology/bioclip-2  BioCLIP 2"
    for said in (
        "state to pull",
        "domainclip zoo pull biology/bioclip-2 domainclip predict",
        "mean ? 0.48145466",
        "867,455 labels",
        "74.9 NABirds",
        "? not checked against the files",
    ):
        assert said in text, said
    assert "licence MIT" in text and "licence ?" not in text
    assert "imageomics/bioclip-2, no commit pinned" in text
    folder = pull(home, "biology/bioclip-2")
    pins = home / "pins" / "biology" / "bioclip-2.json"
    pins.parent.mkdir(parents=True)
    pins.write_text(json.dumps({"source": {"revision": "0123456789abcdef" * 2 + "01234567"}}))
    (folder / "zoo.json").write_text(json.dumps({"accepted": "2026-01-02"}))
    (folder / "domainclip.json").write_text(json.dumps({"card_differs": ["mean is another"]}))
    text = " ".join(
        " ".join(screen_of(show, 300, monkeypatch, name="bioclip-2", domain="")).split()
    )
    assert f"it lies in {folder}" in text and "zoo pull" not in text
    assert "imageomics/bioclip-2, commit 0123456789ab, as first pulled" in text
    assert "accepted 2026-01-02" in text and "otherwise mean is another" in text


def test_show_tells_what_stands_before_a_restricted_or_blocked_model(monkeypatch):
    text = " ".join(screen_of(show, 200, monkeypatch, name="medsiglip", domain=""))
    assert "Not for clinical use." in text and "--accept-license" in text
    assert "ask for access at https://huggingface.co/google/medsiglip-448" in text
    text = " ".join(screen_of(show, 200, monkeypatch, name="medical/conch", domain=""))
    assert "cannot be loaded: its towers" in text and "zoo pull" not in text


def test_show_as_json_is_the_card_whole():
    card = json.loads(invoke("show", "biocap", "--json").stdout)
    assert card["heads"]["captions"]["scale"] == "logit_scale_caption"
    assert card["card"].endswith("biocap.yaml") and card["folder"] is None
    assert card["unverified"] and card["scores"][0]["value"] == 67.6
    table = dict(csv.reader(io.StringIO(invoke("show", "biocap").stdout)))
    assert table["name"] == "biology/biocap" and table["state"] == "to pull"


def test_examples_name_models_that_can_be_had():
    said = [example for sub in zoo.commands.values() for example in sub.examples]
    for line in said:
        words = line.split()[2:]
        if words[0] in ("pull", "import", "rm", "path", "verify") and len(words) > 1:
            domain = words[words.index("--domain") + 1] if "--domain" in words else ""
            card = get_card(words[1], domain)
            assert not card.blocked, line
            assert ("--accept-license" in words) >= card.restricted, line
    assert any("--accept-license" in line for line in said)


def test_show_of_a_name_that_is_not_there():
    done = invoke("show", "biology/bioclp")
    assert done.exit_code == 2 and "did you mean 'biology/bioclip'?" in done.stderr


def test_show_of_a_folder_walks_what_made_it(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network, _ = create_model("small", image_size=32)
    provenance = {"recipe": {"seed": 3, "model": {"name": "small"}}, "data": "abc"}
    card = {"heads": ["names", "captions"], "provenance": provenance}
    folder = save_model(network.eval(), tmp_path / "runs" / "first", tree=None, card=card)
    steps = json.loads(invoke("show", folder, "--json").stdout)
    assert [step["kind"] for step in steps] == ["run", "nothing"]
    assert steps[0]["name"] == "first" and "seed 3" in steps[1]["name"]
    lines = screen_of(show, 80, monkeypatch, name=str(folder), domain="")
    assert any(line.split() == ["recipe:", "seed", "3"] for line in lines)
    (tmp_path / "empty").mkdir()
    done = invoke("show", tmp_path / "empty")
    assert done.exit_code == 2 and "no model in" in done.stderr


def test_the_list_imports_nothing_slow(run_python):
    script = (
        "import sys\n"
        "from domainclip.cli.app import app\n"
        "try: app(['zoo', 'list', '--json'])\n"
        "finally:\n"
        "    banned = 'torch', 'numpy', 'pydantic', 'open_clip', 'transformers', 'datasets'\n"
        "    print(*(m for m in banned if m in sys.modules), file=sys.stderr)\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 0 and done.stderr.split() == []
    assert len(json.loads(done.stdout)) == len(find_cards())
