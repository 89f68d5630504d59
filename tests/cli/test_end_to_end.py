"""The first commands a person types, as real processes."""

import csv
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import domainclip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("end-to-end")


def start(place, *args):
    path = str(Path(domainclip.__file__).resolve().parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "domainclip", *map(str, args)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def run(place):
    code, out, err = finish(start(place, "train", "--domain", "medical", "--tiny", "--seed", "3"))
    assert code == 0, err
    *table, folder = out.splitlines()
    rows = list(csv.DictReader(io.StringIO("\n".join(table))))
    assert {row["split"] for row in rows} == {"test", "test_unseen"}
    assert all(0 <= float(row["value"]) <= 1 for row in rows)
    assert f"next: domainclip predict PICTURES --model {folder}" in err
    return place / folder


def test_the_run_folder_holds_what_was_promised(place, run):
    for name in ("recipe.yaml", "environment.json", "metrics.json", "report.html", "model"):
        assert (run / name).exists(), name
    assert finish(start(place, "recipes", "validate", run))[0] == 0
    code, out, _ = finish(start(place, "recipes", "diff", "medical/quickstart", run))
    assert code == 0 and "\nseed,0,3\n" in out


def test_predict_names_pictures_and_survives_a_broken_one(place, run):
    from PIL import Image

    (place / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (90, 70), (80 * i, 10, 200)).save(place / "photos" / f"{i}.png")
    (place / "photos" / "x.jpg").write_bytes(b"no picture")
    code, out, err = finish(start(place, "predict", "photos", "--model", run, "--k", "2"))
    assert code == 1 and "x.jpg" in err and "1 of 4 pictures" in err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file_name"] for row in rows] == [f"photos/{i}.png" for i in (0, 0, 1, 1, 2, 2)]
    code, out, err = finish(start(place, "predict", "photos/0.png", "--model", run, "--rank", "x"))
    assert code == 2 and "lineage" in err and "Traceback" not in err


def test_a_finished_run_can_be_taken_up_and_a_folder_without_one_cannot(place, run):
    code, out, err = finish(start(place, "train", "--resume", run))
    assert code == 0, err
    assert out.splitlines()[-1] == str(run)
    code, out, err = finish(start(place, "train", "--resume", "nowhere"))
    assert code == 2 and "nowhere" in err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way")
def test_ctrl_c_saves_the_model_and_says_how_to_go_on(place):
    process = start(
        place, "train", "--domain", "medical", "--tiny", "--train.steps", "20000", "--out", "long"
    )
    told: list[str] = []
    training = threading.Event()

    def watch():
        while piece := process.stderr.read(1):
            told.append(piece)
            if "".join(told[-12:]).endswith("pictures/s"):
                training.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        assert training.wait(120), "".join(told)
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 130
        watcher.join(10)
        last = process.stdout.read().splitlines()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    assert "domainclip train --resume long" in "".join(told)
    assert last == "long"
    assert (place / "long" / "model").is_dir()
