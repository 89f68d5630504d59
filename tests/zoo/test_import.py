"""`domainclip zoo import`: the checks and the conversion of a pull, from files on this disk."""

import hashlib
import zipfile

import pytest
import torch
from families import of_bert
from run_folders import small_model
from tiny_model import (
    CONFIG,
    NAME,
    REPO,
    WEIGHTS,
    make_files,
    unfinished,
    visible,
    write_card,
    zoo,
)  # fmt: skip

from domainclip import load_model
from domainclip.errors import UsageError
from domainclip.zoo.pull import pull
from domainclip.zoo.resolving import find_model
from domainclip.zoo.store import Place, list_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("downloads")
    make_files(folder)
    return folder


def test_an_imported_model_is_the_pulled_one(hub, folder):
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    sums = {name: hashlib.sha256(files[name]).hexdigest() for name in (CONFIG, WEIGHTS)}
    sha = hub.add(REPO, files)
    write_card(source={"revision": sha, "sha256": sums})
    pull(NAME)
    pulled = list_files(Place(NAME).folder)
    zoo("rm", NAME)
    before = len(hub.requests)
    result = zoo("import", NAME, folder)
    assert result.exit_code == 0, result.stderr
    assert len(hub.requests) == before
    again = list_files(Place(NAME).folder)
    assert {k: v for k, v in again.items() if k != "domainclip.json"} == {
        k: v
        for k, v in pulled.items()
        if k != "domainclip.json"  # it tells the time
    }
    record = Place(NAME).record()
    assert record["imported"] and record["source"]["revision"] == sha


def test_files_of_which_nothing_is_known_are_taken_and_bind_later_pulls(hub, folder):
    write_card()
    result = zoo("import", NAME, folder)
    assert result.exit_code == 0 and "no checksum is known" in result.stderr
    assert Place(NAME).record()["source"]["revision"] == ""
    zoo("rm", NAME)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.add(REPO, {**files, CONFIG: files[CONFIG] + b" "})
    result = zoo("pull", NAME)
    assert result.exit_code == 1 and "the first pull" in result.stderr
    sha = hub.add(REPO, files)
    assert zoo("pull", NAME).exit_code == 0
    assert Place(NAME).record()["source"]["revision"] == sha


def test_a_file_with_another_checksum_is_refused(folder):
    write_card(source={"sha256": {WEIGHTS: "0" * 64}})
    result = zoo("import", NAME, folder)
    assert result.exit_code == 1 and "0" * 64 in result.stderr
    assert visible() == [] and unfinished() == []


def test_a_folder_without_the_weights_is_refused(folder, tmp_path):
    write_card()
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / CONFIG).write_bytes((folder / CONFIG).read_bytes())
    result = zoo("import", NAME, tmp_path / "some")
    assert result.exit_code == 1 and WEIGHTS in result.stderr
    for wrong in (tmp_path / "none", folder / WEIGHTS):
        result = zoo("import", NAME, wrong)
        assert result.exit_code == 2, result.stderr
    assert "give the folder" in result.stderr
    assert visible() == [] and unfinished() == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"dimension": 512}, "its vectors have 24 numbers, and the card says 512"),
        ({"architecture": "ViT-B-16"}, "layers is 2, and 12 in ViT-B-16"),
    ],
)
def test_files_of_another_model_are_refused(folder, told, said):
    write_card(**told)
    result = zoo("import", NAME, folder)
    assert result.exit_code == 1 and f"is of another model than {NAME}: " in result.stderr
    assert said in result.stderr and f"those of {REPO}" in result.stderr
    assert visible() == [] and unfinished() == [] and not Place(NAME).pins.exists()


def test_what_files_say_otherwise_than_their_card_is_told(folder):
    write_card(dimension=512, image_size=48, unverified=["dimension"])
    result = zoo("import", NAME, folder)
    assert result.exit_code == 0, result.stderr
    for said in ("dimension is 24 in the files, and 512", "image_size is 32 in the files, and 48"):
        assert f"{NAME}: {said} in the card; the files are followed" in result.stderr


def test_broken_weights_leave_nothing(folder, tmp_path):
    write_card()
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / CONFIG).write_bytes((folder / CONFIG).read_bytes())
    (tmp_path / "some" / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    result = zoo("import", NAME, tmp_path / "some")
    assert result.exit_code == 1 and visible() == [] and unfinished() == []
    assert str(tmp_path / "some" / WEIGHTS) in result.stderr and ".download" not in result.stderr
    assert not Place(NAME).downloads.exists()  # no copy is left either
    write_card(kind="checkpoint", architecture="ViT-B-32", source={"files": [WEIGHTS]})
    result = zoo("import", NAME, tmp_path / "some" / WEIGHTS)
    assert result.exit_code == 1 and not Place(NAME).downloads.exists()
    assert str(tmp_path / "some" / WEIGHTS) in result.stderr and ".download" not in result.stderr


def test_a_refused_import_leaves_alone_what_a_pull_has_begun(tmp_path):
    write_card()
    begun = Place(NAME).downloads / "source" / f"{WEIGHTS}.partial"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"0" * 10)
    assert zoo("import", NAME, tmp_path / "nowhere").exit_code == 2
    assert zoo("import", NAME, tmp_path).exit_code == 1
    assert begun.is_file()


def test_one_file_is_enough_where_the_card_names_one(tmp_path):
    clip = torch.nn.Module()  # what is in it is the conversion's matter: here it does not fit
    torch.save(clip.state_dict(), tmp_path / "mine.pt")
    write_card(kind="checkpoint", architecture="ViT-B-32", source={"files": ["deep/theirs.pt"]})
    result = zoo("import", NAME, tmp_path / "mine.pt")
    assert result.exit_code == 1 and f"{tmp_path / 'mine.pt'}: " in result.stderr
    assert visible() == [] and unfinished() == []


def test_a_text_tower_of_a_second_repository_comes_along(hub, tmp_path):
    """It is pinned as the first is, and asked for where files are imported."""
    family = of_bert(tmp_path / "model", tmp_path / "text")
    text = {f.name: f.read_bytes() for f in (tmp_path / "text").iterdir()}
    shas = [
        hub.add(REPO, {f.name: f.read_bytes() for f in (tmp_path / "model").iterdir()}),
        hub.add("others/text", {**text, "model.safetensors": b"large, and not needed"}),
    ]
    write_card(text_source={"repo": "others/text"})
    pull(NAME)
    record = Place(NAME).record()
    assert [record[part]["revision"] for part in ("source", "text_source")] == shas
    assert "model.safetensors" not in record["text_source"]["sha256"]
    said = ["a cat on a road", "red field"]
    model = load_model(NAME)
    ours = model.clip.encode_text(model.tokenizer(said))
    assert torch.allclose(ours, family.texts(said), atol=1e-4)
    hub.add("others/text", {"config.json": b"{}"})
    zoo("rm", NAME)
    pull(NAME)
    assert Place(NAME).record()["text_source"]["revision"] == shas[1]
    zoo("rm", NAME)
    result = zoo("import", NAME, tmp_path / "model")
    assert result.exit_code == 2 and "--text" in result.stderr
    result = zoo("import", NAME, tmp_path / "model", "--text", tmp_path / "text")
    assert result.exit_code == 0, result.stderr


def test_a_checkpoint_on_no_hub_is_fetched_by_hand_and_imported(tmp_path):
    """Zipped, as its publishers offer it, whatever they call the file."""
    state = small_model().stock_state()
    torch.save({"state_dict": state}, tmp_path / "epoch_20.pt")
    with zipfile.ZipFile(tmp_path / "downloaded.zip", "w") as zipped:
        zipped.write(tmp_path / "epoch_20.pt", "release/epoch_20.pt")
    page = "https://example.org/ours"
    write_card(
        kind="checkpoint", architecture="tiny", image_size=32, page=page, source={"repo": ""}
    )
    told = zoo("pull", NAME)
    assert told.exit_code == 2 and page in told.stderr
    assert f"domainclip zoo import {NAME} FILE" in told.stderr
    with pytest.raises(UsageError, match="not on this machine") as raised:
        find_model(NAME)
    assert raised.value.hint == f"domainclip zoo import {NAME} FILE"
    folder = zoo("import", NAME, tmp_path)
    assert folder.exit_code == 2 and "no such file" in folder.stderr
    result = zoo("import", NAME, tmp_path / "downloaded.zip")
    assert result.exit_code == 0, result.stderr
    made = load_model(NAME).stock_state()
    assert made.keys() == state.keys() and all(torch.equal(made[k], state[k]) for k in state)
    assert "is there already" in zoo("pull", NAME).stderr
    zoo("rm", NAME)
    torch.save({"state_dict": {**state, "logit_scale": torch.tensor(1.0)}}, tmp_path / "b.pt")
    other = zoo("import", NAME, tmp_path / "b.pt")
    assert other.exit_code == 0, "another name of the file, so nothing is known of it"
