"""What `domainclip zoo pull` says where a model cannot be had, and that nothing half-made stays."""

import re
import shlex
import socket
import subprocess
import sys
from collections import namedtuple

import pytest
from huggingface_hub import constants
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

from domainclip import paths
from domainclip.errors import DataError
from domainclip.zoo.hub import check_name
from domainclip.zoo.pull import pull
from domainclip.zoo.store import Place

TOKEN = "hf_averysecrettoken"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("published"))


@pytest.fixture
def commit(hub, files):
    sha = hub.add(REPO, files)
    write_card(source={"revision": sha})
    return sha


@pytest.fixture(autouse=True)
def nothing_half_made():
    yield
    assert unfinished() == []


def refused(*args, code=1):
    result = zoo("pull", *args)
    assert result.exit_code == code, result.stderr
    assert result.stdout == "" and visible() == []
    assert TOKEN not in result.output and TOKEN not in str(result.exception)
    return result.stderr


def test_a_restricted_licence_has_to_be_accepted_and_the_date_is_kept(hub, commit):
    write_card(source={"revision": commit}, licence="CC-BY-NC-4.0", commercial="no")
    said = refused(NAME, code=2)
    assert "CC-BY-NC-4.0" in said and "no commercial use" in said
    assert f"domainclip zoo pull {NAME} --accept-license" in said
    assert not hub.requests
    assert zoo("pull", NAME, "--accept-license").exit_code == 0
    assert Place(NAME).record()["accepted"][:2] == "20"


def test_an_unknown_licence_need_not_be_accepted(hub, commit):
    write_card(
        source={"revision": commit}, licence="unknown", commercial="unknown", derivatives="unknown"
    )
    assert zoo("pull", NAME).exit_code == 0
    assert Place(NAME).record()["accepted"] is None


def test_a_gated_model_tells_how_to_get_access(hub, files, monkeypatch):
    sha = hub.add(REPO, files, gated=True)
    write_card(source={"revision": sha}, gated=True)
    said = refused(NAME, "--accept-license")
    assert f"{hub.url}/{REPO}" in said and "HF_TOKEN" in said and "settings/tokens" in said
    hub.grant(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = refused(NAME, "--accept-license")
    assert "your token has no access yet" in said and f"{hub.url}/{REPO}" in said
    hub.grant(TOKEN, REPO)
    assert zoo("pull", NAME, "--accept-license").exit_code == 0
    delivered = [r for r in hub.requests if "/cdn/" in r.path]
    assert delivered and not any("authorization" in r.headers for r in delivered)


def test_an_expired_token_is_told_and_never_printed(hub, commit, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = refused(NAME)
    assert "refuses your token" in said and f"{hub.url}/settings/tokens" in said
    said = refused(NAME, "--debug")
    assert TOKEN not in said


def test_a_token_that_no_header_can_hold_is_not_printed_either(hub, commit, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\x01")
    refused(NAME)


def test_a_private_or_missing_repository_is_told(hub):
    write_card()
    said = refused(NAME)
    assert f"has no {REPO}, or does not show it to you" in said


def test_without_a_network_the_address_is_told(hub, commit, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr("domainclip.zoo.hub.time.sleep", lambda seconds: None)
    said = refused(NAME)
    assert "cannot be reached" in said and "127.0.0.1" in said and "HF_ENDPOINT" in said


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_says_what_is_missing_and_how_to_get_it(hub, commit, monkeypatch, how):
    if how == "environment":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    args = [NAME, "--offline"] if how == "option" else [NAME]
    said = refused(*args)
    assert f"{CONFIG}, {WEIGHTS}" in said and REPO in said and commit[:12] in said
    assert ("--offline" if how == "option" else "HF_HUB_OFFLINE") in said
    assert f"hf download {REPO} --revision {commit}" in said
    assert f"domainclip zoo import {NAME} FOLDER" in said
    assert not hub.requests


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("open_clip", f"{WEIGHTS} (or open_clip_pytorch_model.bin)"),
        ("transformers", "model.safetensors (or pytorch_model.bin)"),
        ("domainclip", WEIGHTS),
    ],
)
def test_offline_names_the_usual_files_of_a_model_that_nobody_has_seen(hub, kind, weights):
    write_card(kind=kind)
    assert f".json, {weights} of {REPO}\n" in refused(NAME, "--offline")


def test_offline_is_no_matter_for_a_model_that_is_there(hub, commit):
    folder = pull(NAME)
    before = len(hub.requests)
    result = zoo("pull", NAME, "--offline")
    assert result.exit_code == 0 and result.stdout == f"{folder}\n"
    assert len(hub.requests) == before


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:evil", "..", "a\0b"]
)
def test_names_that_lead_out_of_the_folder_are_refused(name):
    with pytest.raises(DataError, match="leads out of its folder"):
        check_name(name, "them/little")


def test_a_repository_with_such_a_name_is_not_fetched_at_all(hub, files):
    sha = hub.add(REPO, {**files, "../../evil.txt": b"out"})
    write_card(source={"revision": sha})
    said = refused(NAME)
    assert "'../../evil.txt'" in said
    assert not [r for r in hub.requests if "/resolve/" in r.path]
    assert not [*paths.home_dir().rglob("evil.txt")]


def test_a_model_that_cannot_be_loaded_says_why(hub):
    write_card(blocked="its code would have to be run")
    said = refused(NAME, code=2)
    assert "its code would have to be run" in said and "zoo show" in said


def test_what_the_repository_lacks_is_named(hub, files):
    hub.add(REPO, {CONFIG: files[CONFIG]})
    write_card()
    assert f"{REPO} has no {WEIGHTS}" in refused(NAME)
    write_card(source={"files": ["none.pt"]})
    assert f"{REPO} has no none.pt" in refused(NAME)


def test_no_label_vectors_are_told_before_anything_is_fetched(hub, commit):
    assert "no label vectors" in refused(NAME, "--label-vectors", code=2)
    assert not hub.requests


def test_a_full_disk_while_fetching_is_told(hub, commit):
    hub.faults.truncate(to=1000, where=WEIGHTS)
    refused(NAME)  # leaves a begun file
    hub.faults.clear()
    (begun,) = Place(NAME).downloads.rglob("*.partial")
    begun.unlink()
    begun.symlink_to("/dev/full")  # every write there fails as on a full disk
    said = refused(NAME)
    assert "no space is left" in said and "DOMAINCLIP_HOME" in said
    assert f"domainclip zoo rm {NAME}" in said
    begun.unlink()
    assert zoo("pull", NAME).exit_code == 0


WITHOUT_LOOKING_AHEAD = """
import domainclip.zoo.fetching as fetching
from domainclip.cli.app import app
fetching._check_room = lambda *asked: None
app(["zoo", "pull", "general/little"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [4, 10])
def test_a_disk_that_fills_up_leaves_nothing_half_made(hub, commit, tmp_path, megabytes):
    """With 4 MB the weights of 6.5 do not fit; with 10 the model folder made of them does not."""
    home = paths.home_dir()
    script = (
        f"mkdir -p {home}/zoo && mount -t tmpfs -o size={megabytes}m none {home}/zoo || exit 77\n"
        f"{shlex.quote(sys.executable)} -c {shlex.quote(WITHOUT_LOOKING_AHEAD)}\n"
        f"code=$?; find {home}/zoo; exit $code"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no disk can be mounted here")
    assert done.returncode == 1
    assert "no space is left" in done.stderr and "Traceback" not in done.stderr
    left = [line for line in done.stdout.splitlines() if "little" in line]
    assert left and all("/.little." in line for line in left)
    assert not [line for line in left if "/.little.new" in line]


def test_a_disk_that_cannot_hold_it_is_told_before_anything_is_fetched(hub, commit, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
    said = refused(NAME)
    assert re.search(r"needs 1\d MB in", said) and "1 MB are free" in said
    assert "DOMAINCLIP_HOME" in said
    assert not [r for r in hub.requests if "/resolve/" in r.path]
