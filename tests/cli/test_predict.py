"""`domainclip predict` as people type it, with a small model of random weights."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli.app import app
from domainclip.domains.labels import LabelTree
from domainclip.inference import encoding
from domainclip.inference.fewshot.classifier import FewShotClassifier
from domainclip.inference.rows import shorten
from domainclip.model.folder import create_model, save_model

SPECIES = ("Danaus plexippus", "Vanessa atalanta", "Pieris rapae", "Papilio machaon")
COLUMNS = {
    "family": ["Nymphalidae", "Nymphalidae", "Pieridae", "Papilionidae"],
    "genus": [name.split()[0] for name in SPECIES],
    "species": SPECIES,
}
NAMES = ["file_name", "family", "genus", "species_epithet", "species", "common_name", "score"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tree = LabelTree.from_columns(COLUMNS, common=["monarch", "", "", ""])
    torch.manual_seed(0)
    network, _ = create_model("small", image_size=32)
    card = {"domain": "biology", "notice": "for research only"}
    return save_model(network.eval(), tmp_path_factory.mktemp("m") / "model", tree=tree, card=card)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def predict(model):
    def run(*args, **kwargs):
        typed = ["predict", *map(str, args), "--model", str(model), "--device", "cpu"]
        return CliRunner().invoke(app, typed, prog_name="domainclip", **kwargs)

    return run


def rows_of(result):
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_rows_have_the_columns_of_pybioclip(predict, photos):
    result = predict(photos, "--k", 2)
    rows = rows_of(result)
    assert [*rows[0]] == NAMES and len(rows) == 6
    assert [row["file_name"] for row in rows[::2]] == [str(photos / f"{n}.png") for n in "abc"]
    for row in rows:
        assert row["species"] == f"{row['genus']} {row['species_epithet']}"
        assert (row["common_name"] == "monarch") == (row["species"] == "Danaus plexippus")
    assert float(rows[0]["score"]) >= float(rows[1]["score"])
    assert "for research only" in result.stderr


def test_ranks_sum_the_labels_below_them_and_all_come_at_once(predict, photos):
    one = photos / "a.png"
    leaves = {row["species"]: float(row["score"]) for row in rows_of(predict(one))}
    family = rows_of(predict(one, "--rank", "family"))
    assert [*family[0]] == ["file_name", "family", "score"]  # as pybioclip has them
    by_name = {row["family"]: float(row["score"]) for row in family}
    two = leaves["Danaus plexippus"] + leaves["Vanessa atalanta"]
    assert by_name["Nymphalidae"] == pytest.approx(two, abs=1e-6)
    every = rows_of(predict(one, "--rank", "all", "--k", 9))
    assert [row["rank"] for row in every] == ["family"] * 3 + ["genus"] * 4 + ["species"] * 4
    assert {float(r["score"]) for r in every if r["rank"] == "species"} == {*leaves.values()}
    assert every[0]["family"] and every[0]["species"] == ""


def test_labels_of_a_list_a_file_a_table_and_bins(predict, photos, tmp_path):
    one = photos / "a.png"
    rows = rows_of(predict(one, "--cls", 'cat, "dog, small"'))
    assert {row["classification"] for row in rows} == {"cat", "dog, small"}
    assert [*rows[0]] == ["file_name", "classification", "score"]
    assert len(rows_of(predict(one, "--cls", "a,b,c,d,e,f,g"))) == 7  # all, as pybioclip does
    (tmp_path / "l.txt").write_text("\ufeffcat\n\n 012 \ndog, small\n", encoding="utf-8")
    rows = rows_of(predict(one, "--cls", tmp_path / "l.txt"))
    assert {row["classification"] for row in rows} == {"cat", "012", "dog, small"}
    (tmp_path / "l.csv").write_text("family,species\nF,a\nF,b\n")
    rows = rows_of(predict(one, "--cls", tmp_path / "l.csv", "--rank", "family"))
    assert [row["family"] for row in rows] == ["F"]
    (tmp_path / "b.csv").write_text("what,bin\ncat,pet\ncow,farm\n\ndog,pet\n")
    bins = {r["classification"]: float(r["score"]) for r in
            rows_of(predict(one, "--bins", tmp_path / "b.csv"))}  # fmt: skip
    alone = {r["classification"]: float(r["score"]) for r in
             rows_of(predict(one, "--cls", "cat,cow,dog"))}  # fmt: skip
    assert bins["pet"] == pytest.approx(alone["cat"] + alone["dog"], abs=1e-6)
    assert bins["farm"] == pytest.approx(alone["cow"], abs=1e-6)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--cls", ","), "no label"),
        (("--cls", ""), "no label"),
        (("--subset", "none.txt"), "none.txt: no such file"),
        (("--prior", "none.csv"), "no file none.csv"),
        (("--cls", "a,,b"), "an empty label"),
        (("--cls", "missing.csv"), "no such file"),
        (("--cls", "a,b,a"), "'a' is given twice"),
        (("--cls", "a,b", "--domain", "medical"), "both say what to choose from"),
        (("--cls", "a,b", "--rank", "family"), "these labels have no ranks"),
        (("--cls", "a,b", "--within", "Pieridae"), "no tree to narrow"),
        (("--rank", "familly"), "did you mean 'family'?"),
        (("--within", "Pieridea"), "did you mean 'Pieridae'?"),
        (("--bins", "none.csv"), "no such file"),
        (("--descriptions", "none.json"), "no such file"),
        (("--k", "0"), "0 is not in the range"),
    ],
)
def test_wrong_use_is_one_line_and_nothing_is_written(predict, photos, typed, said):
    result = predict(photos, *typed)
    assert result.exit_code in (1, 2) and result.stdout == ""
    assert said in result.stderr and "Traceback" not in result.stderr


def test_a_model_that_is_not_there_is_not_asked_for_labels_alone(photos):
    result = CliRunner().invoke(app, ["predict", str(photos), "--model", "nosuch"])
    assert result.exit_code == 2 and "Traceback" not in result.stderr
    assert "nosuch" in result.stderr and "name a run folder or a model folder" in result.stderr


def test_a_label_set_of_one_is_told(predict, photos):
    result = predict(photos / "a.png", "--cls", "cat")
    assert rows_of(result)[0]["score"] == "1.0"
    assert "'cat' is the only label" in result.stderr


def test_labels_under_a_name_and_of_a_region(predict, photos, tmp_path):
    one = photos / "a.png"
    inside = rows_of(predict(one, "--within", "Nymphalidae"))
    assert {row["genus"] for row in inside} == {"Danaus", "Vanessa"}
    assert sum(float(row["score"]) for row in inside) == pytest.approx(1)
    both = rows_of(predict(one, "--within", "nymphalidae", "--within", "Pieris rapae"))
    assert len(both) == 3
    region = tmp_path / "region.csv"
    region.write_text("species,seen\nPieris rapae,3\nmonarch,1\nHomo sapiens,9\n")
    result = predict(one, "--subset", region)
    assert {row["species"] for row in rows_of(result)} == {"Pieris rapae", "Danaus plexippus"}
    assert "1 of 3 names not known: 'Homo sapiens'" in result.stderr
    region.write_text("species\nPieris rapae\nHomo sapiens\nPapilio machoan\n")
    misspelt = predict(one, "--subset", region).stderr
    assert "for 'Papilio machoan', did you mean 'Papilio machaon'?" in misspelt
    plain = tmp_path / "region.txt"
    plain.write_text("Homo sapiens\n")
    result = predict(one, "--subset", plain)
    assert result.exit_code == 1 and "Homo sapiens" in result.stderr
    region.write_text("genus\nPieris\n")  # a family of that name would not count
    assert len(rows_of(predict(one, "--subset", region))) == 1
    assert predict(one, "--subset", region, "--within", "Nymphalidae").exit_code == 1


def test_descriptions_stand_beside_names(predict, photos, tmp_path):
    one = photos / "a.png"
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"monarch": ["orange wings with black veins"]}))
    plain, told = rows_of(predict(one)), rows_of(predict(one, "--descriptions", said))
    assert [*plain] != [*told] and sum(float(r["score"]) for r in told) == pytest.approx(1)
    table = tmp_path / "said.csv"
    table.write_text("label,text\nmonarch,orange wings with black veins\n")
    assert rows_of(predict(one, "--descriptions", table)) == told
    some = {"monarch": ["orange wings with black veins"], "monarhc": ["black"], "ox": ["horns"]}
    said.write_text(json.dumps(some))
    partly = predict(one, "--descriptions", said)
    assert rows_of(partly) == told
    assert "2 of 3 descriptions are of no label to choose from, such as 'monarhc'" in partly.stderr
    said.write_text(json.dumps({"unicorn": ["a horn"]}))
    none = predict(one, "--descriptions", said)
    assert none.exit_code == 1 and "'unicorn' is none" in none.stderr
    said.write_text("[1]")
    assert predict(one, "--descriptions", said).exit_code == 1
    known = rows_of(predict(one, "--descriptions", "knowledge"))  # the sheets that ship
    assert known != plain


def test_labels_may_be_said_by_descriptions_alone(predict, photos, tmp_path):
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"warm": ["orange wings", "red wings"], "cold": ["blue wings"]}))
    rows = rows_of(predict(photos / "a.png", "--cls", said))
    assert {row["classification"] for row in rows} == {"warm", "cold"}
    said.write_text(json.dumps({"warm": ["green wings", "grey wings"], "cold": ["blue wings"]}))
    assert rows_of(predict(photos / "a.png", "--cls", said)) != rows  # they are what is looked at
    said.write_text("{")
    broken = predict(photos / "a.png", "--cls", said)
    assert broken.exit_code == 1 and "is not JSON" in broken.stderr


def test_rows_of_all_ranks_are_shortened_to_the_deepest_name(predict, photos):
    full = json.loads(predict(photos / "a.png", "--k", 1, "--json").stdout)[0]
    short = shorten(full)
    assert [*short] == ["file_name", "name", "common_name", "score"]
    assert short["name"] == full["species"] and short["score"] == full["score"]
    every = json.loads(predict(photos / "a.png", "--rank", "all", "--k", 1, "--json").stdout)
    names = [(shorten(row)["rank"], shorten(row)["name"]) for row in every]
    assert names == [(row["rank"], row[row["rank"]]) for row in every]


def test_rows_in_each_format(predict, photos):
    one = photos / "a.png"
    as_json = json.loads(predict(one, "--json").stdout)
    assert [*as_json[0]] == NAMES and len(as_json) == 4
    assert json.loads(predict(one, "--format", "json").stdout) == as_json
    best = as_json[0]["species"]
    lines = predict(one, "--format", "table").stdout.splitlines()
    assert len(lines) == 5 and best in lines[1]
    quiet = predict(one, "--quiet", "--k", 1)
    assert (quiet.stdout, quiet.stderr) == (f"{best}\n", "")
    several = predict(photos, "--quiet", "--k", 1).stdout.splitlines()
    assert [line.split("\t")[0] for line in several] == [str(photos / f"{n}.png") for n in "abc"]


@pytest.mark.parametrize("name", ["-", "stdout"])
def test_stdout_may_be_named_as_pybioclip_names_it(predict, photos, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rows_of(predict(photos, "--k", 1, "--output", name)) == rows_of(
        predict(photos, "--k", 1)
    )
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("name", "args"), [("x.csv", ()), ("x.json", ()), ("x.txt", ("--json",))])
def test_rows_go_to_a_file_in_its_format(predict, photos, tmp_path, name, args):
    result = predict(photos, "--k", 1, "--output", tmp_path / name, *args)
    assert (result.exit_code, result.stdout) == (0, "")
    text = (tmp_path / name).read_text()
    rows = json.loads(text) if text.startswith("[") else list(csv.DictReader(io.StringIO(text)))
    assert [row["file_name"] for row in rows] == [str(photos / f"{n}.png") for n in "abc"]
    assert text.startswith("[") == (name != "x.csv")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_read_is_listed_at_the_end_and_loses_nothing(predict, photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    result = predict(broken, photos / "a.png", tmp_path / "missing.jpg", "--k", 1)
    assert result.exit_code == 1
    assert [r["file_name"] for r in csv.DictReader(io.StringIO(result.stdout))] == [
        str(photos / "a.png")
    ]
    assert "broken.jpg: not a picture" in result.stderr
    assert "2 of 3 pictures could not be read" in result.stderr


def test_nothing_to_look_at_is_wrong_use(predict, tmp_path):
    result = predict(tmp_path)
    assert result.exit_code == 2 and str(tmp_path) in result.stderr


def test_a_file_that_cannot_be_written_is_one_line(predict, photos, tmp_path):
    result = predict(photos, "--output", tmp_path / "no" / "x.csv")
    assert result.exit_code == 1
    assert "x.csv cannot be written: No such file" in result.stderr
    assert "Error" not in result.stderr and "Traceback" not in result.stderr


def test_names_and_boxes_come_from_lists_and_standard_input(predict, photos, tmp_path):
    a, b = photos / "a.png", photos / "b.png"
    plain = rows_of(predict("-", "--k", 1, input=f"{a}\n\n{b}\n"))
    assert [row["file_name"] for row in plain] == [str(a), str(b)]
    boxes = f"file,x,y,w,h\n{a},10,5,20,20\n{a},25,5,20,20\n{b},,,,\n{b},500,0,9,9\n"
    result = predict("-", "--k", 1, input=boxes)
    assert result.exit_code == 1
    assert "holds nothing of its 50 x 40 pixels" in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(r["file_name"], r["x"]) for r in rows] == [(str(a), "10"), (str(a), "25"),
                                                        (str(b), "")]  # fmt: skip
    with Image.open(a) as image:
        image.crop((10, 5, 30, 25)).save(tmp_path / "cut.png")
    cut = rows_of(predict(tmp_path / "cut.png", "--k", 1))[0]
    assert (cut["species"], cut["score"]) == (rows[0]["species"], rows[0]["score"])
    listed = photos.parent / "list.csv"
    listed.write_text(f"file_name\n{photos.name}/a.png\n")
    assert len(rows_of(predict(listed, "--k", 1))) == 1  # beside the list
    listed.write_text("x,y\n1,2\n")
    assert "no column of files" in predict(listed).stderr
    listed.write_text("file,x,y,w,h\na.png,1,2,3,oops\n")
    assert "line 2: 1,2,3,oops is no box" in predict(listed).stderr


def test_what_was_asked_is_logged(predict, photos, model, tmp_path):
    log = tmp_path / "log.json"
    predict(photos, "--log", log, "--rank", "family")
    told = json.loads(log.read_text())
    assert told["pictures"] == 3 and told["rank"] == "family" and told["rows"] == 9
    assert told["model"] == str(model) and len(told["digest"]) == 32
    text = tmp_path / "log.txt"
    for _ in range(2):
        predict(photos, "--log", text)
    assert text.read_text().count("\ndigest: ") == 2


def test_a_stopped_run_goes_on_where_it_was(predict, photos, tmp_path, monkeypatch):
    file, note = tmp_path / "out.csv", tmp_path / "out.csv.unfinished"
    asked = (photos, "--k", 2, "--batch-size", 1, "--output", file)
    whole = predict(*asked[:-2]).stdout
    real = encoding.read_picture

    def read(source, **how):
        if str(source).endswith("c.png"):
            raise KeyboardInterrupt
        return real(source, **how)

    with monkeypatch.context() as patched:
        patched.setattr(encoding, "read_picture", read)
        patched.setattr(sys, "argv", ["x/domainclip", "predict", "my photos", "--output", "o.csv"])
        stopped = predict(*asked)
        assert stopped.exit_code == 130
        assert "to go on: domainclip predict 'my photos' --output o.csv" in stopped.stderr
        printed = predict(*asked[:-2])  # of that there is nothing to go on with
        assert printed.exit_code == 130 and "to go on" not in printed.stderr
    begun = file.read_text()
    assert note.is_file() and whole.startswith(begun) and begun.count("\n") >= 3
    file.write_text(begun + "torn, ")
    for other in (("--k", 3), ("--rank", "family"), ("--confidence", "0.9")):
        refused = predict(*asked, *other)
        assert refused.exit_code == 2 and refused.stdout == ""
    assert "begun with another k" in predict(*asked, "--k", 3).stderr
    assert file.read_text() == begun + "torn, "
    went_on = predict(*asked)
    assert went_on.exit_code == 0 and "1 picture in" in went_on.stderr
    assert file.read_text() == whole and not note.exists()
    assert predict(*asked).exit_code == 0 and file.read_text() == whole  # anew, once finished


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(model, photos, tmp_path):
    listed = tmp_path / "list.csv"
    typed = [sys.executable, "-m", "domainclip", "predict", str(listed), "--model", str(model)]
    typed += ["--device", "cpu", "--k", "1", "--batch-size", "8", "--output"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    file, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    listed.write_text("file,x,y,w,h\n" + "".join(
        f"{photos / 'a.png'},{i / 150},0,20,20\n" for i in range(3000)
    ))  # fmt: skip
    with subprocess.Popen([*typed, str(file)], env=env, stderr=subprocess.DEVNULL) as job:
        while not file.is_file() or file.stat().st_size < 60_000:
            assert job.poll() is None
            time.sleep(0.05)
        job.send_signal(signal.SIGKILL)
    assert (tmp_path / "out.csv.unfinished").is_file()
    for out in (file, whole):
        subprocess.run([*typed, str(out)], env=env, check=True, stderr=subprocess.DEVNULL)
    went_on, never_stopped = (
        list(csv.DictReader(io.StringIO(one.read_text()))) for one in (file, whole)
    )
    assert [(r["x"], r["species"]) for r in went_on] == [
        (r["x"], r["species"]) for r in never_stopped
    ]  # other pictures share their batches, so that the last digits may differ
    scores = [np.array([float(r["score"]) for r in rows]) for rows in (went_on, never_stopped)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-5


def test_a_reader_that_goes_away_is_no_accident(model, photos):
    typed = f"{sys.executable} -m domainclip predict {photos} {photos} --model {model}"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", f"{typed} --device cpu --batch-size 1 | head -n 1; exit ${{PIPESTATUS[0]}}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("file_name,")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_fewshot_classifier_names_pictures_by_its_own_labels(model, photos, tmp_path):
    rng = np.random.default_rng(1)
    colours = {"red": (200, 20, 20), "blue": (20, 20, 200)}
    pictures = [
        Image.fromarray(np.clip(rng.normal(c, 20, (40, 40, 3)), 0, 255).astype(np.uint8))
        for c in colours.values() for _ in range(4)
    ]  # fmt: skip
    labels = [name for name in colours for _ in range(4)]
    made = FewShotClassifier(model, method="centroid", device="cpu").fit(pictures, labels)
    made.save(tmp_path / "mine")
    pictures[0].save(tmp_path / "red.png")

    def run(*args):
        typed = ["predict", str(tmp_path / "red.png"), "--device", "cpu", *map(str, args)]
        return CliRunner().invoke(app, typed, prog_name="domainclip")

    rows = rows_of(run("--classifier", tmp_path / "mine"))
    assert [row["classification"] for row in rows] == ["red", "blue"]
    assert rows_of(run("--classifier", tmp_path / "mine", "--model", model)) == rows
    assert "has its own labels" in run("--classifier", tmp_path / "mine", "--cls", "a,b").stderr
    neither = run()
    assert neither.exit_code == 2 and "--model" in neither.stderr
