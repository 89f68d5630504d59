"""Publishing: what is sent, what forbids it, and what the real client says of a hub in trouble."""

import json
import os

import open_clip
import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import constants
from run_folders import base_note, card_of, make_run, small_model

from domainclip.cli.app import app
from domainclip.errors import DataError, DomainclipError, UsageError
from domainclip.model.folder import load_model
from domainclip.zoo.push import plan_push
from domainclip.zoo.sending import send

FILES = {
    "README.md", "domainclip.json", "heads.safetensors", "labels.csv", "open_clip_config.json",
    "open_clip_model.safetensors",
}  # fmt: skip
TOKEN = "hf_secretsecretsecret"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("push") / "first")


@pytest.fixture
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.grant(TOKEN)
    return hub


def committed(hub, repo="me/cells"):
    return ("model", repo) in hub.repos and "README.md" in hub.repos["model", repo].head


def test_a_plan_sends_nothing_and_holds_what_belongs_to_a_model(hub, tmp_path):
    run = make_run(tmp_path / "run")
    (run / "model" / "last.ckpt").write_bytes(b"pickled")
    (run / "model" / "zoo.json").write_text("{}")
    (run / "model" / "LICENSE").symlink_to("/etc/hostname")
    (run / "model" / "calibration.json").write_text('{"source": "/home/ann/secret/cells, val"}')
    plan = plan_push(run, "me/cells")
    assert {piece.name for piece in plan.pieces} == FILES | {"calibration.json"}
    assert plan.left_out == ("LICENSE", "last.ckpt", "zoo.json")
    assert plan.size == sum(piece.size for piece in plan.pieces) > 5_000_000
    told = json.loads(next(p.content for p in plan.pieces if p.name == "domainclip.json"))
    assert told["licence"] == plan.licence == "MIT"
    written = plan.write(tmp_path / "out")
    assert sorted(p.name for p in written.iterdir()) == sorted(p.name for p in plan.pieces)
    assert not [p for p in written.iterdir() if b"/home/ann" in p.read_bytes()]
    assert hub.requests == []


@pytest.mark.parametrize(
    ("made_of", "licence", "word"),
    [
        ({"data_licences": {"MIT": 9, "CC BY-ND 4.0": 1}}, "MIT", "1 training pictures (CC-BY-ND"),
        ({"data_licences": {"(c) A, all rights reserved": 2}}, "MIT", "may not be passed on"),
        ({"data_licences": {"CC-BY-NC-4.0": 2}}, "MIT", "forbids commercial use, which MIT would"),
        (
            {"base": "x", "base_note": base_note("CC-BY-NC-ND-4.0")},
            "MIT",
            "base model general/them",
        ),
        (
            {"base": "x", "base_note": base_note("CC-BY-NC-4.0")},
            "Apache-2.0",
            "general/them (CC-BY",
        ),
        (
            {"base": "x", "base_note": base_note("odd", derivatives="no")},
            "MIT",
            "general/them (odd)",
        ),
    ],
)
def test_what_forbids_it_is_named(tmp_path, made_of, licence, word):
    with pytest.raises(UsageError) as refused:
        plan_push(
            make_run(tmp_path / "run", **made_of), "me/cells", licence=licence, acknowledge=True
        )
    assert "this may not be published" in refused.value.message and word in refused.value.message
    assert refused.value.hint


def test_the_licence_of_what_lies_deeper_counts_as_well(tmp_path):
    first = make_run(tmp_path / "first", data_licences={"CC-BY-ND-4.0": 7})
    note = {"card": card_of(first), "zoo": {}}
    second = make_run(tmp_path / "second", base="first", base_note=note)
    with pytest.raises(UsageError, match="7 training pictures of first"):
        plan_push(second, "me/cells", licence="CC-BY-4.0", acknowledge=True)


def test_a_publisher_answers_for_what_is_not_known(tmp_path):
    run = make_run(tmp_path / "run", own=True)
    with pytest.raises(UsageError, match="under which licence"):
        plan_push(run, "me/cells")
    with pytest.raises(UsageError, match="40 training pictures: unknown") as refused:
        plan_push(run, "me/cells", licence="MIT")
    assert "--data-licence" in refused.value.hint and "--acknowledge" in refused.value.hint
    plan = plan_push(run, "me/cells", licence="MIT", acknowledge=True)
    assert any("you answer for" in line for line in plan.warnings)
    plan = plan_push(run, "me/cells", licence="MIT", data_licence="CC0")
    assert not any("you answer for" in line for line in plan.warnings)
    told = json.loads(next(p.content for p in plan.pieces if p.name == "domainclip.json"))
    assert told["data_licences"] == {"CC0-1.0": 40}
    with pytest.raises(UsageError, match="CC-BY-ND"):
        plan_push(run, "me/cells", licence="MIT", data_licence="CC-BY-ND-4.0")


def test_the_licence_is_that_of_the_base_where_none_is_chosen(tmp_path):
    run = make_run(tmp_path / "run", base="x", base_note=base_note("CC-BY-NC-4.0"))
    assert plan_push(run, "me/cells").licence == "CC-BY-NC-4.0"


@pytest.mark.parametrize("name", ["cells", "a/b/c", "me/..", "-me/x", "me/a--b", "me/a b"])
def test_a_name_that_is_none(run, name):
    with pytest.raises(UsageError, match="no name on the Hub"):
        plan_push(run, name)


def test_damaged_weights_are_not_sent(tmp_path):
    run = make_run(tmp_path / "run")
    weights = run / "model" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        plan_push(run, "me/cells")


def test_what_is_sent_is_one_commit_and_loads_again(logged_in, run, tmp_path):
    hub = logged_in
    plan = plan_push(run, "me/cells", private=True)
    url = send(plan)
    repo = hub.repos["model", "me/cells"]
    assert repo.private and len(repo.commits) == 2  # the Hub's own first one, and ours
    assert url.endswith(f"me/cells/commit/{repo.refs['main']}")
    there = hub.files("me/cells")
    assert set(there) == FILES | {".gitattributes"}
    assert there["README.md"].decode() == plan.card
    for name, content in there.items():
        (tmp_path / name).write_bytes(content)
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = small_model().clip.encode_image(pictures)
        assert torch.equal(load_model(tmp_path).clip.encode_image(pictures), wanted)
    assert send(plan_push(run, "me/cells", private=True))  # once more changes nothing
    assert len(repo.commits) == 2


def test_what_an_older_model_left_there_goes(logged_in, run):
    """Heads of other weights would be read with these; what is not ours stays."""
    logged_in.add("me/cells", {"calibration.json": "{}", "README.md": "old", "figure.png": b"x"})
    send(plan_push(run, "me/cells"))
    assert set(logged_in.files("me/cells")) == FILES | {"figure.png"}


def test_a_member_writes_to_what_is_there(logged_in, run):
    logged_in.add("me/cells", {"x.txt": "old"})
    logged_in.faults.refuse(403, where="/repos/create")
    assert send(plan_push(run, "me/cells"))
    assert committed(logged_in)


def test_half_precision_takes_half_and_loads_in_both(run, tmp_path):
    whole, plan = plan_push(run, "me/cells"), plan_push(run, "me/cells", half=True)
    assert plan.size < 0.55 * whole.size and plan.size < 10_000_000
    assert "in half precision" in plan.card
    folder = plan.write(tmp_path / "half")
    pictures = torch.rand(2, 3, 32, 32)
    full = whole.write(tmp_path / "full")
    for load in (lambda at: open_clip.create_model(f"local-dir:{at}").eval(),
                 lambda at: load_model(at).clip):  # fmt: skip
        with torch.no_grad():
            wanted, found = (load(at).encode_image(pictures) for at in (full, folder))
        assert torch.cosine_similarity(found, wanted).min() > 0.999
        assert not torch.equal(found, wanted)


def test_a_number_too_large_for_half_precision(tmp_path):
    import numpy as np
    from safetensors.numpy import load_file, save_file

    run = make_run(tmp_path / "run")
    heads = run / "model" / "heads.safetensors"
    state = load_file(heads)
    save_file({name: np.asarray(value + 1e6) for name, value in state.items()}, heads)
    with pytest.raises(DataError, match="half precision cannot"):
        plan_push(run, "me/cells", half=True)


def test_nobody_is_logged_in(hub, run):
    with pytest.raises(UsageError, match="nobody is logged in") as refused:
        send(plan_push(run, "me/cells"))
    assert "HF_TOKEN" in refused.value.hint and hub.requests == []


@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        (lambda hub: hub.tokens.clear(), "does not know the token, or it has expired"),
        (lambda hub: hub.faults.refuse(403, where="/repos/create"), "may not write to me"),
        (lambda hub: hub.faults.refuse(403, where="/commit/"), "may not write to me"),
        (lambda hub: hub.faults.refuse(429, times=99, where="/repos/create", retry_after="7"),
         "too many requests"),
        (lambda hub: hub.faults.refuse(429, times=99, where="/commit/", retry_after="7"),
         "too many requests"),
        (lambda hub: hub.faults.refuse(500, times=99, where="/commit/"), "trouble of its own"),
        (lambda hub: hub.faults.drop(times=99, where="/repos/create"), "cannot be reached"),
        (lambda hub: hub.faults.drop(times=99, where="/commit/"), "cannot be reached"),
        (lambda hub: hub.faults.refuse(412, where="/commit/"), "somebody else has changed"),
        (lambda hub: hub.faults.refuse(400, where="/upload/"), "was not published"),
    ],
)  # fmt: skip
def test_a_hub_in_trouble_gets_nothing_by_halves(logged_in, run, monkeypatch, trouble, word):
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # the client waits between tries
    trouble(logged_in)
    with pytest.raises(DomainclipError) as refused:
        send(plan_push(run, "me/cells"))
    assert word in refused.value.message and "me/cells was not published" in refused.value.message
    assert refused.value.hint
    assert TOKEN not in f"{refused.value.message} {refused.value.hint}"
    assert not committed(logged_in)
    made = ("model", "me/cells") in logged_in.repos
    assert made == ("empty repository" in refused.value.hint)


def test_no_network(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(DomainclipError, match="cannot be reached"):
        send(plan_push(run, "me/cells"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DomainclipError, match="offline"):
        send(plan_push(run, "me/cells"))


def test_a_public_repository_does_not_get_what_is_to_be_private(logged_in, run):
    logged_in.add("me/cells", {"x.txt": "old"})
    with pytest.raises(UsageError, match="there already, and public"):
        send(plan_push(run, "me/cells", private=True))
    assert not committed(logged_in)


def test_the_command_sends_with_yes_and_never_says_the_token(logged_in, run, tmp_path):
    def push(*args):
        args = ["zoo", "push", str(run), "--to", "me/cells", *args]
        return CliRunner().invoke(app, args, prog_name="domainclip")

    result = push("--quiet")
    assert result.exit_code == 0 and set(result.stdout.split()) == FILES
    assert logged_in.requests == []
    result = push("--yes", "--author", "Ann", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["sent"].startswith(logged_in.url) and told["warnings"] == []
    assert committed(logged_in)
    logged_in.tokens.clear()
    result = push("--yes")
    assert result.exit_code == 1 and "expired" in result.output
    assert TOKEN not in result.output and os.environ["HF_TOKEN"] == TOKEN
