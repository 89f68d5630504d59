"""Hub ids, read from a Hub on this machine, as a whole and as a stream."""

import json
import os
import subprocess
import sys
from pathlib import Path

import data_fakes as fakes
import pytest
from hub_server import serve

import domainclip

READ = """
import json, sys
sys.path.insert(0, sys.argv[1])
import data_fakes as fakes
from domainclip.data.datamodule import open_data
from domainclip.data.sources import open_source
from domainclip.errors import DataError
from domainclip.recipe.schema import Recipe
spec, streaming = sys.argv[2], sys.argv[3] == "True"
try:
    source = open_source(spec, fakes.make_domain(), streaming=streaming)
except DataError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
else:
    recipe = Recipe(domain="fake", data={"source": spec, "streaming": streaming, "workers": 0})
    data = open_data(recipe, fakes.make_domain(), 8)
    print(json.dumps({
        "ids": list(source.dataset["id"]),
        "splits": list(source.dataset["split"]),
        "labels": list(source.dataset["label"]),
        "means": {k: s.read(range(len(s))).mean((1, 2, 3)).round(3).tolist()
                  for k, s in data.splits.items()},
    }))
"""


def read(tmp_path: Path, address: str, spec: str, streaming: bool = False):
    root = Path(domainclip.__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(root),
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, str(Path(__file__).parent), spec, str(streaming)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def folder_files(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "repo"
    for split, n in (("train", 5), ("validation", 2), ("test", 3)):
        fakes.class_folders(root, n=n, split=split)
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.png")}
    return {"README.md": b"---\nlicense: mit\n---\n# Birds\n", **files}


def parquet_files(tmp_path: Path) -> dict[str, bytes]:
    import datasets

    files = {}
    for split, n in (("train", 10), ("test", 4)):
        rows = {
            "image": [
                {"bytes": fakes.picture(tmp_path / "t.png", n * 100 + i).read_bytes(), "path": None}
                for i in range(n)
            ],
            "label": [i % 2 for i in range(n)],
        }
        kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])}
        table = datasets.Dataset.from_dict(rows, datasets.Features(kinds))
        table.to_parquet(tmp_path / "t.parquet")
        files[f"data/{split}-00000-of-00001.parquet"] = (tmp_path / "t.parquet").read_bytes()
    return files


@pytest.mark.slow
@pytest.mark.parametrize("made", [folder_files, parquet_files])
def test_a_hub_id_whole_and_as_a_stream(tmp_path, made):
    with serve({"nature/insects": made(tmp_path)}) as address:
        whole = read(tmp_path, address, "nature/insects")
        stream = read(tmp_path, address, "hf-hub:nature/insects", streaming=True)
    assert len(set(whole["ids"])) == len(whole["ids"])
    assert set(whole["labels"]) == {"ant", "bee"}
    assert set(whole["splits"]) == {"train", "val", "test"}
    rows, streamed = (
        sorted(zip(w["ids"], w["splits"], w["labels"], strict=True)) for w in (whole, stream)
    )
    assert rows == streamed
    if made is folder_files:
        assert rows[0] == ("test/test/ant/ant_0.png", "test", "ant")
    assert {k: sorted(v) for k, v in whole["means"].items()} == {
        k: sorted(v) for k, v in stream["means"].items()
    }


@pytest.mark.slow
def test_an_unknown_hub_id_is_explained(tmp_path):
    with serve({}) as address:
        said = read(tmp_path, address, "nature/nothing")
    assert said["error"].startswith("nature/nothing: no folder here, and the Hub says: ")
    assert "check the name" in said["hint"]
