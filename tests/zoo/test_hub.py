"""The hub of the tests: the real client reads from it and publishes to it."""

import hashlib
import io

import pytest
from huggingface_hub import HfApi, errors, get_hf_file_metadata, hf_hub_url, snapshot_download

FILES = {"config.json": b"{}", "deep/model.safetensors": bytes(range(256)) * 2000}


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token=False)


def test_a_snapshot_is_what_was_added(hub, tmp_path):
    old = hub.add("them/model", FILES)
    new = hub.add("them/model", {"config.json": b"[]"})
    for revision, config in ((old, b"{}"), (new, b"[]"), ("main", b"[]")):
        out = tmp_path / revision
        snapshot_download(
            "them/model", revision=revision, local_dir=out, endpoint=hub.url, token=False
        )
        assert (out / "config.json").read_bytes() == config
        assert (out / "deep/model.safetensors").read_bytes() == FILES["deep/model.safetensors"]
    assert hub.sent == 3 * (2 + 512_000)  # each folder is filled anew


def test_info_tells_checksums_of_models_and_datasets(hub, api):
    for kind in ("model", "dataset"):
        sha = hub.add("them/model", FILES, repo_type=kind)
        info = api.repo_info("them/model", repo_type=kind, files_metadata=True)
        large = next(s for s in info.siblings if s.rfilename.startswith("deep"))
        assert info.sha == sha
        assert large.lfs.sha256 == hashlib.sha256(FILES["deep/model.safetensors"]).hexdigest()
        assert {f.path for f in api.list_repo_tree("them/model", repo_type=kind)} == {
            "config.json",
            "deep",
        }
        url = hf_hub_url("them/model", "config.json", repo_type=kind, endpoint=hub.url)
        found = get_hf_file_metadata(url, token=False)
        assert found.commit_hash == sha and found.size == 2


def test_what_is_missing_or_closed_is_told_apart(hub, api):
    hub.add("them/model", FILES)
    hub.add("them/closed", FILES, gated=True)
    hub.add("them/secret", FILES, private=True)
    hub.grant("good", "them/closed", "them/secret")
    hub.grant("other")

    def look(repo: str, token: str | bool = False, **asked: str) -> object:
        url = hf_hub_url(repo, endpoint=hub.url, **{"filename": "config.json", **asked})
        return get_hf_file_metadata(url, token=token)

    with pytest.raises(errors.RepositoryNotFoundError):
        look("them/none")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        look("them/model", filename="none.json")
    with pytest.raises(errors.RevisionNotFoundError):
        look("them/model", revision="none")
    for token in (False, "other"):
        with pytest.raises(errors.GatedRepoError):
            look("them/closed", token)
        with pytest.raises(errors.RepositoryNotFoundError):
            look("them/secret", token)
    for repo in ("them/closed", "them/secret"):
        assert look(repo, "good").size == 2
    with pytest.raises(errors.HfHubHTTPError) as error:
        look("them/model", "expired")
    assert error.value.response.status_code == 401
    assert api.model_info("them/closed").gated == "auto"  # a gated one is listed to everybody


def test_the_token_does_not_reach_the_other_host(hub, tmp_path):
    hub.add("them/model", FILES, gated=True)
    hub.grant("good", "them/model")
    snapshot_download("them/model", local_dir=tmp_path / "x", endpoint=hub.url, token="good")
    delivered = [r for r in hub.requests if r.path.startswith("/cdn/")]
    assert delivered and all("authorization" not in r.headers for r in delivered)


def test_a_cut_connection_and_a_busy_hub_are_got_over(hub, tmp_path):
    hub.add("them/model", FILES)
    hub.faults.cut(1000, where="/cdn/")
    hub.faults.refuse(429, where="/resolve/", retry_after="1")
    snapshot_download("them/model", local_dir=tmp_path / "x", endpoint=hub.url, token=False)
    found = (tmp_path / "x/deep/model.safetensors").read_bytes()
    assert found == FILES["deep/model.safetensors"]
    assert {r.status for r in hub.requests} >= {429, 302}


def test_a_model_is_published(hub):
    hub.grant("writer")
    api = HfApi(endpoint=hub.url, token="writer")
    api.create_repo("me/mine", private=True)
    api.create_repo("me/mine", exist_ok=True)
    with pytest.raises(errors.HfHubHTTPError):
        api.create_repo("me/mine")
    weights = bytes(300_000)
    for name, content in {"README.md": b"# Mine\n", "model.safetensors": weights}.items():
        api.upload_file(
            path_or_fileobj=io.BytesIO(content), path_in_repo=name, repo_id="me/mine",
            commit_message=f"Add {name}",
        )  # fmt: skip
    assert hub.files("me/mine")["model.safetensors"] == weights
    assert hub.files("me/mine")["README.md"] == b"# Mine\n"
    assert [*hub.repos["model", "me/mine"].messages.values()][1:] == [
        "Add README.md",
        "Add model.safetensors",
    ]
    with pytest.raises(errors.HfHubHTTPError):
        HfApi(endpoint=hub.url, token="expired").create_repo("me/other")


def test_a_folder_is_published_in_one_commit(hub, tmp_path):
    hub.grant("writer")
    (tmp_path / "m/deep").mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "m" / name).write_bytes(content)
    api = HfApi(endpoint=hub.url, token="writer")
    api.create_repo("me/mine")
    done = api.upload_folder(folder_path=tmp_path / "m", repo_id="me/mine", commit_message="All")
    assert {k: v for k, v in hub.files("me/mine", done.oid).items() if k in FILES} == FILES
    assert len(hub.repos["model", "me/mine"].commits) == 2
