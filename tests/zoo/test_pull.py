"""`domainclip zoo pull` and the commands around it, against a hub on this machine."""

import hashlib
import json
import threading

import open_clip
import pytest
import torch
from run_folders import make_run
from safetensors.torch import load_file, save_file
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
)

from domainclip import load_model, paths
from domainclip.model.digest import digest_folder
from domainclip.zoo.provenance import walk
from domainclip.zoo.pull import pull
from domainclip.zoo.push import plan_push
from domainclip.zoo.store import Place


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("published"))


@pytest.fixture
def commit(hub, files):
    sha = hub.add(REPO, {**files, "README.md": b"# Little\n", "train.py": b"raise SystemExit\n"})
    write_card(source={"revision": sha})
    return sha


def asked(hub, part="/resolve/"):
    return [r for r in hub.requests if part in r.path]


def test_a_pulled_model_is_loaded_by_its_name_and_is_what_was_published(hub, commit, tmp_path):
    result = zoo("pull", NAME)
    assert result.exit_code == 0, result.stderr
    folder = paths.home_dir() / "zoo" / NAME
    assert result.stdout == f"{folder}\n"
    assert commit[:12] in result.stderr and "next: domainclip predict" in result.stderr
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in hub.files(REPO).items():
        (copy / name).write_bytes(content)
    published = open_clip.create_model(f"local-dir:{copy}")
    tokenize = open_clip.get_tokenizer("ViT-B-32", context_length=published.context_length)
    texts = tokenize(["a cat", "a green field"])
    for name in (NAME, "little"):
        ours = load_model(name).clip.encode_text(texts)
        assert torch.allclose(ours, published.encode_text(texts), atol=1e-6)
    names = {r.path.rpartition("/")[2] for r in asked(hub)}
    assert names == {CONFIG, WEIGHTS}  # no code, no page


def test_the_record_tells_commit_checksums_licence_and_date(hub, commit, files):
    pull(NAME)
    record = json.loads((paths.home_dir() / "zoo" / NAME / "zoo.json").read_text())
    assert record["source"] == {
        "repo": REPO,
        "repo_type": "model",
        "revision": commit,
        "sha256": {name: hashlib.sha256(files[name]).hexdigest() for name in (CONFIG, WEIGHTS)},
    }
    assert record["licence"] == "MIT" and record["accepted"] is None and record["pulled"]
    told = json.loads((paths.home_dir() / "zoo" / NAME / "domainclip.json").read_text())
    assert told["provenance"]["revision"] == commit
    assert zoo("path", "little").stdout == f"{paths.home_dir() / 'zoo' / NAME}\n"
    shown = zoo("path", NAME, "--json")
    assert json.loads(shown.stdout)["folder"] == str(paths.home_dir() / "zoo" / NAME)


def test_a_second_pull_asks_nothing(hub, commit):
    pull(NAME)
    before = len(hub.requests)
    result = zoo("pull", "little")
    assert result.exit_code == 0 and "there already" in result.stderr
    assert len(hub.requests) == before


def test_another_commit_in_the_card_is_pulled_anew(hub, commit, files):
    pull(NAME)
    new = hub.add(REPO, {"README.md": b"# Better\n"})
    write_card(source={"revision": new})
    pull(NAME)
    assert Place(NAME).record()["source"]["revision"] == new
    assert visible() == ["little"]


def test_the_first_pull_pins_what_the_card_leaves_open(hub, files):
    first = hub.add(REPO, files)
    write_card()
    pull(NAME)
    assert zoo("rm", NAME).exit_code == 0
    assert visible() == []
    hub.add(REPO, {CONFIG: files[CONFIG] + b"\n"})
    pull(NAME)
    assert Place(NAME).record()["source"]["revision"] == first
    assert hub.requests[-1].path.count(first) or first in asked(hub)[-1].path


def test_other_content_than_that_of_the_first_pull_is_refused_naming_both(hub, files):
    hub.add(REPO, files)
    write_card()
    pull(NAME)
    zoo("rm", NAME)
    repo = hub.repos["model", REPO]  # a hub that gives a commit another content
    changed = hub.keep(CONFIG, files[CONFIG] + b" ")
    repo.commits[repo.refs["main"]][CONFIG] = changed
    result = zoo("pull", NAME)
    assert result.exit_code == 1
    assert hashlib.sha256(files[CONFIG]).hexdigest() in result.stderr
    assert changed.sha256 in result.stderr
    assert str(Place(NAME).pins) in result.stderr
    assert visible() == []


def test_a_commit_that_is_gone_is_named(hub, files):
    hub.add(REPO, files)
    write_card(source={"revision": "a" * 40})
    result = zoo("pull", NAME)
    assert result.exit_code == 1
    assert f"{REPO} has no commit {'a' * 40}" in result.stderr


def test_another_repository_than_the_first_pulls_is_refused(hub, files):
    hub.add(REPO, files)
    hub.add("others/tiny", files)
    write_card()
    pull(NAME)
    zoo("rm", NAME)
    write_card(source={"repo": "others/tiny"})
    result = zoo("pull", NAME)
    assert result.exit_code == 1
    assert "others/tiny" in result.stderr and REPO in result.stderr


def test_the_checksum_of_the_card_is_asked_for_before_anything_large_is_fetched(hub, commit):
    write_card(source={"revision": commit, "sha256": {WEIGHTS: "0" * 64}})
    result = zoo("pull", NAME)
    assert result.exit_code == 1
    assert "0" * 64 in result.stderr and "its card says" in result.stderr
    assert not asked(hub)


@pytest.mark.parametrize("where", [WEIGHTS, CONFIG])
def test_a_damaged_file_is_refused_and_fetched_again(hub, commit, where):
    hub.faults.corrupt(times=1, where=where)
    result = zoo("pull", NAME)
    assert result.exit_code == 1 and f"{where} of {REPO}" in result.stderr
    assert "checksum" in result.stderr and visible() == []
    assert zoo("pull", NAME).exit_code == 0
    assert zoo("verify").exit_code == 0


def test_a_truncated_file_is_refused(hub, commit):
    hub.faults.truncate(to=1000, where=WEIGHTS)
    result = zoo("pull", NAME)
    assert result.exit_code == 1 and "ends after 1,000 of" in result.stderr
    assert visible() == []
    hub.faults.clear()
    assert zoo("pull", NAME).exit_code == 0


def test_cut_connections_are_taken_up_where_they_ended(hub, commit, files):
    hub.faults.cut(1_000_000, times=4, where="/cdn/")
    pull(NAME)
    size = len(files[WEIGHTS]) + len(files[CONFIG])
    assert size <= hub.sent <= size + 4 * 200_000  # what was on its way may be lost
    assert [r.range for r in asked(hub, "/cdn/")][1].startswith("bytes=")


def test_a_hub_without_ranges_is_got_along_with(hub, commit):
    hub.faults.ranges = False
    hub.faults.cut(1_000_000, times=1, where="/cdn/")
    pull(NAME)
    assert zoo("verify", NAME).exit_code == 0


def test_a_mirror_that_lists_names_alone_is_asked_for_the_rest(hub, commit):
    hub.faults.bare = True
    hub.faults.corrupt(times=1, where="/cdn/")
    result = zoo("pull", NAME)
    assert result.exit_code == 1 and "checksum" in result.stderr and visible() == []
    assert zoo("pull", NAME).exit_code == 0


def test_a_connection_that_never_holds_is_told_and_gone_on_with(hub, commit, files, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.cut(0, times=99, where="/cdn/")
    result = zoo("pull", NAME)
    assert result.exit_code == 1 and "breaks off" in result.stderr
    assert "goes on where it stopped" in result.stderr
    hub.faults.clear()
    assert zoo("pull", NAME).exit_code == 0


def test_a_busy_hub_is_waited_for_as_long_as_it_asks(hub, commit, monkeypatch):
    waited = []
    monkeypatch.setattr("domainclip.zoo.hub.time.sleep", waited.append)
    hub.faults.refuse(429, times=2, where="/resolve/", retry_after="7")
    hub.faults.refuse(503, where="/api/models/")
    result = zoo("pull", NAME)
    assert result.exit_code == 0
    assert [s for s in waited if s == 7] == [7, 7] and "going on in 7 s" in result.stderr


def test_a_hub_that_stays_busy_is_told(hub, commit, monkeypatch):
    monkeypatch.setattr("domainclip.zoo.hub.time.sleep", lambda seconds: None)
    hub.faults.refuse(429, times=99, retry_after="3600")
    result = zoo("pull", NAME)
    assert result.exit_code == 1
    assert "HTTP 429" in result.stderr and "3600 s" in result.stderr
    assert len(hub.requests) == 1  # nobody waits an hour for a command


def test_threads_that_pull_one_model_make_one_good_copy(hub, commit, files):
    found, said = [], []
    threads = [
        threading.Thread(target=lambda: found.append(pull(NAME, say=said.append))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len({*found}) == 1
    assert hub.sent == len(files[WEIGHTS]) + len(files[CONFIG])
    assert zoo("verify").exit_code == 0


def test_verify_finds_what_has_changed(hub, commit):
    folder = pull(NAME)
    (folder / "calibration.json").write_text("{}")  # what comes later is nobody's fault
    result = zoo("verify", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)[0]["verdict"] == "unchanged"
    assert "1 model, " in result.stderr and str(paths.home_dir() / "zoo") in result.stderr
    weights = folder / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (folder / CONFIG).unlink()
    result = zoo("verify", NAME)
    assert result.exit_code == 1
    assert f"{WEIGHTS} has the checksum" in result.stdout
    assert f"{CONFIG} is missing" in result.stdout
    assert f"domainclip zoo pull {NAME}" in result.stderr


def test_removing_frees_the_place_and_says_so(hub, commit):
    folder = pull(NAME)
    result = zoo("rm", "little", "--csv")
    assert result.exit_code == 0 and not folder.exists()
    assert result.stdout == f"name,megabytes\n{NAME},7\n"
    assert "0 models" in result.stderr
    again = zoo("rm", "little")
    assert again.exit_code == 2 and "no model" in again.stderr
    assert zoo("path", "little").exit_code == 2
    for name in ("../cards", "general/../../cards", "/etc"):
        assert zoo("rm", name).exit_code == 2
    assert (paths.home_dir() / "cards").is_dir()


def test_a_pull_that_was_given_up_is_removed_too(hub, commit, monkeypatch):
    hub.faults.truncate(to=1000, where=WEIGHTS)
    zoo("pull", NAME)
    assert Place(NAME).downloads.is_dir()
    assert zoo("rm", NAME).exit_code == 0
    assert not Place(NAME).downloads.exists()


def test_a_published_run_comes_back_with_heads_labels_calibration_and_its_past(hub, tmp_path):
    """What `zoo push` would send, pulled: to the bit, so that a calibration still holds."""
    run = make_run(tmp_path / "run")
    (run / "model" / "calibration.json").write_text('{"format": 1, "fitted": []}')
    sent = plan_push(run, REPO).write(tmp_path / "sent")
    commit = hub.add(REPO, {p.name: p.read_bytes() for p in sent.iterdir()})
    write_card(kind="domainclip")
    place = pull(NAME)
    assert json.loads((place / "calibration.json").read_text()) == {"format": 1, "fitted": []}
    for name in ("heads.safetensors", "labels.csv", WEIGHTS):
        assert (place / name).read_bytes() == (run / "model" / name).read_bytes(), name
    assert digest_folder(place) == digest_folder(run)
    there, here = load_model(run), load_model(NAME)
    assert list(here.heads) == list(there.heads) == ["names", "captions"]
    step, origin = walk(place)
    assert (step.name, step.kind, step.source, step.revision) == (NAME, "run", REPO, commit)
    assert step.pictures == {"train": 40, "test": 64} and origin.kind == "nothing"


def test_a_folder_of_ours_whose_heads_do_not_fit_is_refused(hub, tmp_path):
    sent = plan_push(make_run(tmp_path / "run"), REPO).write(tmp_path / "sent")
    heads = load_file(sent / "heads.safetensors")
    save_file({k: v[..., :-1].contiguous() if v.ndim else v for k, v in heads.items()},
              sent / "heads.safetensors")  # fmt: skip
    hub.add(REPO, {p.name: p.read_bytes() for p in sent.iterdir()})
    write_card(kind="domainclip")
    result = zoo("pull", NAME)
    assert result.exit_code == 1 and "heads" in result.stderr, result.stderr
    assert visible() == [] and unfinished() == []
