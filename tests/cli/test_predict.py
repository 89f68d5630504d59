"""`domainclip predict` around the classifier: which pictures, which labels, which format."""

import csv
import io
import json
import sys
import types

import pytest
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.cli.predict import find_pictures, read_classes
from domainclip.errors import UsageError


@pytest.fixture
def classifier(monkeypatch):
    """A classifier that names every picture by its file; `bad.jpg` cannot be read."""

    class Fake:
        calls: dict = {}  # noqa: RUF012

        def __init__(self, model, *, device, batch_size):
            self.unreadable_, self.notice_ = [], "for research only"
            Fake.calls = {"model": model, "device": device, "batch_size": batch_size}

        def fit(self, labels=None):
            Fake.calls["labels"] = labels
            return self

        def predict_rows(self, paths, rank=None, k=5):
            Fake.calls |= {"rank": rank, "k": k}
            for path in paths:
                if path.endswith("bad.jpg"):
                    self.unreadable_.append((path, "is truncated"))
                else:
                    row = {"file_name": path, "family": "F", "species": "S a", "common_name": "s"}
                    yield {**row, "score": 0.25}

    fake = types.ModuleType("domainclip.inference.classify")
    fake.ZeroShotClassifier = Fake
    monkeypatch.setitem(sys.modules, "domainclip.inference.classify", fake)
    return Fake


def predict(*args, **kwargs):
    args = ["predict", *map(str, args), "--model", "m"]
    return CliRunner().invoke(app, args, prog_name="domainclip", **kwargs)


def test_folders_are_searched_in_order_and_named_files_taken_as_they_are(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "notes.txt", ".hidden/x.jpg", "b/.y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = list(find_pictures([str(tmp_path), "x.weird", "missing.jpg"]))
    inside = [str(tmp_path / name) for name in ("a.jpeg", "b/1.png", "b/2.JPG")]
    assert found == [*inside, "x.weird", "missing.jpg"]


def test_names_may_come_from_stdin(classifier):
    result = predict("-", input="a.jpg\n\nb c.jpg\n")
    assert [r["file_name"] for r in csv.DictReader(io.StringIO(result.stdout))] == [
        "a.jpg",
        "b c.jpg",
    ]


def test_rows_in_each_format(classifier):
    row = {"file_name": "a.jpg", "family": "F", "species": "S a", "common_name": "s", "score": 0.25}
    result = predict(
        "a.jpg", "--rank", "species", "--k", "3", "--batch-size", "8", "--device", "cpu"
    )
    assert result.exit_code == 0
    assert list(csv.DictReader(io.StringIO(result.stdout))) == [{**row, "score": "0.25"}]
    assert "for research only" in result.stderr
    assert classifier.calls == {
        "model": "m", "device": "cpu", "batch_size": 8, "labels": None, "rank": "species", "k": 3,
    }  # fmt: skip
    for args in (("--json",), ("--format", "json")):
        assert json.loads(predict("a.jpg", *args).stdout) == [row]
    assert predict("a.jpg", "--format", "table").stdout.splitlines()[1].split() == [
        "a.jpg", "F", "S", "a", "s", "0.2500",
    ]  # fmt: skip
    quiet = predict("a.jpg", "--quiet", "--k", 1)
    assert (quiet.stdout, quiet.stderr) == ("S a\n", "")
    assert predict("a.jpg", "--quiet", "--k", 2).stdout == "a.jpg\tS a\n"
    several = predict("a.jpg", "b.jpg", "--quiet", "--k", 1)
    assert several.stdout == "a.jpg\tS a\nb.jpg\tS a\n"


@pytest.mark.parametrize(("name", "args"), [("x.csv", ()), ("x.json", ()), ("x.txt", ("--json",))])
def test_rows_go_to_a_file_in_its_format(classifier, tmp_path, name, args):
    result = predict("a.jpg", "b.jpg", "--output", tmp_path / name, *args)
    assert (result.exit_code, result.stdout) == (0, "")
    text = (tmp_path / name).read_text()
    rows = json.loads(text) if text.startswith("[") else list(csv.DictReader(io.StringIO(text)))
    assert [row["file_name"] for row in rows] == ["a.jpg", "b.jpg"]
    assert text.startswith("[") == (name != "x.csv")


def test_unreadable_pictures_are_listed_at_the_end_and_lose_nothing(classifier):
    result = predict("bad.jpg", "a.jpg")
    assert result.exit_code == 1
    assert "a.jpg,F," in result.stdout and "bad.jpg" not in result.stdout
    assert "bad.jpg: is truncated" in result.stderr
    assert "1 of 2 pictures could not be read" in result.stderr


def test_a_folder_without_pictures_is_wrong_use(classifier, tmp_path):
    result = predict(tmp_path)
    assert result.exit_code == 2 and str(tmp_path) in result.stderr


def test_a_file_that_cannot_be_written_is_one_line(classifier, tmp_path):
    result = predict("a.jpg", "--output", tmp_path / "no" / "x.csv")
    assert result.exit_code == 1
    assert "FileNotFoundError" in result.stderr and "Traceback" not in result.stderr


def test_labels_from_a_list_a_file_and_a_table(tmp_path):
    assert read_classes('cat, "dog, small",fox') == ["cat", "dog, small", "fox"]
    (tmp_path / "l.txt").write_text("\ufeffcat\n\n 012 \ndog, small\n", encoding="utf-8")
    assert read_classes(str(tmp_path / "l.txt")) == ["cat", "012", "dog, small"]
    (tmp_path / "l.csv").write_text("family,species\nF,a\nF,b\n")
    tree = read_classes(str(tmp_path / "l.csv"))
    assert tree.ranks == ("family", "species") and len(tree.leaves) == 2
    for wrong in (",", str(tmp_path / "missing.csv")):
        with pytest.raises(UsageError):
            read_classes(wrong)


def test_labels_of_a_domain_and_only_one_source_of_labels(classifier):
    predict("a.jpg", "--domain", "medical")
    assert len(classifier.calls["labels"].leaves) == 20
    assert predict("a.jpg", "--domain", "medical", "--cls", "a,b").exit_code == 2
