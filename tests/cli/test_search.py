"""`domainclip index` and `domainclip search` as a user types them."""

import csv
import io
import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from domainclip.cli import embed as embed_command
from domainclip.cli import index as index_command
from domainclip.cli import search as search_command
from domainclip.errors import DataError, UsageError
from domainclip.inference.encoding import Encoder
from domainclip.model.folder import create_model, save_model


def make_model(folder, seed):
    torch.manual_seed(seed)
    network, _ = create_model("small", image_size=32)
    return save_model(network.eval(), folder, tree=None, card={"heads": ["names", "captions"]})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), 0)


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    lines = ["file,family,year"]
    for i, colour in enumerate(("red", "green", "blue", "white", "black")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "photos" / f"{colour}.png")
        lines.append(f"{colour}.png,{('Apidae', 'Sphecidae')[i % 2]},{2000 + i}")
    (tmp_path / "photos" / "metadata.csv").write_text("\n".join(lines) + "\n")


def index(*args, **kwargs):
    return CliRunner().invoke(
        index_command.command, [*map(str, args), "--out", "my-index"], **kwargs
    )


def search(*args):
    return CliRunner().invoke(search_command.command, [*map(str, args), "--index", "my-index"])


def record(result):
    return {row["key"]: row["value"] for row in csv.DictReader(io.StringIO(result.stdout))}


@pytest.fixture
def made(model):
    result = index("photos", "--model", model)
    assert result.exit_code == 0, result.exception
    assert record(result) == {
        "pictures": "5", "added": "5", "there before": "0", "without metadata": "0",
        "unreadable": "0", "index": "my-index",
    }  # fmt: skip
    assert 'next: domainclip search "WORDS" --index my-index' in result.stderr


def test_an_index_is_added_to_and_its_model_remembered(made, tmp_path):
    (tmp_path / "more").mkdir()
    Image.new("RGB", (9, 9), "yellow").save(tmp_path / "more" / "yellow.png")
    (tmp_path / "more" / "bad.png").write_bytes(b"no")
    (tmp_path / "m.csv").write_text("file,family\nyellow.png,Apidae\n")
    result = index("more", "photos/red.png", "--metadata", "m.csv", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    counts = ("pictures", "added", "there before", "without metadata", "unreadable")
    assert [told[key] for key in counts] == [6, 1, 1, 0, 1]
    assert "warning: more/bad.png" in result.stderr.replace(f"{tmp_path}/", "")
    assert "1 of 3 pictures could not be read" in result.stderr
    rows = json.loads(search("x", "--where", "family = 'Apidae'", "--json").stdout)
    assert {row["file_name"].rpartition("/")[2] for row in rows} == {
        "red.png", "blue.png", "black.png", "yellow.png",
    }  # fmt: skip
    assert index("photos", "--quiet").stdout == "my-index\n"


def test_rows_in_each_format(made, model, tmp_path):
    args = ("--image", "photos/blue.png", "--k", 2)
    result = search(*args)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == ["rank", "file_name", "score", "family", "year"]
    assert rows[0]["file_name"] == str(tmp_path / "photos" / "blue.png")
    assert float(rows[0]["score"]) == pytest.approx(1) and rows[0]["year"] == "2002"
    assert "exact search of 5 of 5 pictures" in result.stderr
    as_json = json.loads(search(*args, "--json").stdout)
    assert [row["rank"] for row in as_json] == [1, 2] and as_json[0]["year"] == 2002
    quiet = search(*args, "--quiet")
    assert quiet.stdout.splitlines() == [row["file_name"] for row in rows]
    assert quiet.stderr == ""


def test_scores_are_cosines_of_the_captions_head(made, model):
    encoder = Encoder(model)
    rows = json.loads(search("a red beetle", "--json").stdout)
    files = [row["file_name"] for row in rows]
    wanted = encoder.encode(files, "captions") @ encoder.encode_texts(["a red beetle"])[0]
    assert [row["score"] for row in rows] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert wanted.tolist() == sorted(wanted, reverse=True)


def test_a_change_moves_the_query_from_the_picture(made):
    image = ("--image", "photos/blue.png", "--json")
    alone = json.loads(search(*image).stdout)
    same = json.loads(search(*image, "a red wing", "--weight", 0).stdout)
    assert [row["score"] for row in same] == pytest.approx([row["score"] for row in alone])
    words = json.loads(search("a red wing", "--json").stdout)
    changed = json.loads(search(*image, "a red wing", "--weight", 1).stdout)
    assert changed == words
    half = json.loads(search(*image, "a red wing", "--minus", "a blue wing").stdout)
    assert half[0]["score"] not in (alone[0]["score"], words[0]["score"])


def test_a_contact_sheet_is_written(made, tmp_path):
    result = search("a bee", "--html", "sheet.html", "--where", "year > 2002")
    assert result.exit_code == 0 and "written to sheet.html" in result.stderr
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and "Apidae" in page


def test_an_index_without_metadata_says_where_columns_come_from(model, tmp_path):
    (tmp_path / "photos" / "metadata.csv").unlink()
    assert index("photos", "--model", model).exit_code == 0
    hint = search("a bee", "--where", "year > 2002").exception.hint
    assert "--embeddings my-index/pictures.lance --metadata CSV --out NEW" in hint


def test_a_narrow_terminal_gets_the_columns_that_tell_pictures_apart():
    rows = [
        {"rank": i, "file_name": f"{i}.png", "score": 0.5, "split": "test", "label": name,
         "name": name, "year": 2000 + i, "place": f"p{i}"}
        for i, name in enumerate(("a", "b", "a"), 1)
    ]  # fmt: skip
    chosen = search_command._choose_columns(rows)
    assert chosen == ["rank", "file_name", "score", "label", "year"]
    assert search_command._choose_columns(rows[:1])[3:] == ["split", "label"]
    assert search_command._choose_columns([]) == []


def test_a_condition_that_nothing_passes_and_a_wrong_one(made):
    result = search("x", "--where", "year > 2020")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no picture passes the condition" in result.stderr
    wrong = search("x", "--where", "famly = 'Apidae'").exception
    assert isinstance(wrong, UsageError)
    assert wrong.hint == (
        "did you mean 'family'?; columns: file_name (text), family (text), year (whole number)"
    )


def test_another_model_is_refused_naming_both(made, model, tmp_path):
    other = make_model(tmp_path / "other", 1)
    for refused in (
        search("x", "--model", other).exception,
        index("photos", "--model", other).exception,
        index("photos", "--head", "names").exception,
    ):
        assert isinstance(refused, UsageError)
        assert str(model) in refused.message
    assert str(other) in search("x", "--model", other).exception.message
    assert search("x", "--model", model).exit_code == 0


def test_vectors_that_are_there_are_indexed_as_they_are(model, tmp_path):
    runner = CliRunner()
    args = ["photos", "--model", str(model), "--head", "captions", "--output", "f.parquet"]
    assert runner.invoke(embed_command.command, args).exit_code == 0
    result = index("--embeddings", "f.parquet", "--metadata", "photos/metadata.csv")
    assert record(result)["added"] == "5" and record(result)["without metadata"] == "0"
    rows = json.loads(search("--image", "photos/red.png", "--json", "--k", 1).stdout)
    assert rows[0]["family"] == "Apidae" and rows[0]["score"] == pytest.approx(1)
    assert index("photos", "--json").exit_code == 0, "and pictures are added to it"


def test_metadata_of_other_pictures_is_warned_of(model, tmp_path):
    (tmp_path / "m.csv").write_text("file,place\nelse.png,Rome\n")
    result = index("photos", "--model", model, "--metadata", "m.csv")
    assert result.exit_code == 0 and record(result)["without metadata"] == "5"
    assert "no row of the metadata names a picture" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "nothing to index"),
        (("photos", "--embeddings", "f.npz"), "nothing to index, or two things"),
        (("photos",), "my-index is no index yet, and no model is named"),
        (("--embeddings", "f.npz", "--model", "m"), "--model and --embeddings"),
        (("photos", "--model", "m", "--metadata", "gone.csv"), "gone.csv: no such file"),
        (("photos/metadata.cs", "--model", "gone"), "no model 'gone'"),
    ],
)
def test_wrong_use_of_index_is_told(args, said, tmp_path):
    refused = index(*args).exception
    assert isinstance(refused, UsageError) and said in refused.message
    assert not (tmp_path / "my-index" / "index.json").exists()


def test_wrong_use_of_search_is_told(made):
    nothing = search().exception
    assert isinstance(nothing, UsageError) and "nothing to look for" in nothing.message
    assert search("x", "--k", 0).exit_code == 2
    gone = search("--image", "gone.png").exception
    assert isinstance(gone, DataError) and "gone.png: the file is missing" in gone.message


def test_a_missing_lancedb_says_what_to_install(run_python, tmp_path):
    script = (
        "import sys; sys.modules['lancedb'] = None\n"
        "from domainclip.inference.lance import connect\n"
        "from domainclip.errors import UsageError\n"
        "try: connect('.')\n"
        "except UsageError as error: print(error.message, '|', error.hint)\n"
    )
    done = run_python("-c", script)
    assert done.stdout == (
        "tables of vectors need LanceDB, which is not installed | "
        'pip install "domainclip[search]"\n'
    )


@pytest.mark.parametrize("module", ["embed", "index", "search"])
def test_help_imports_nothing_slow(module, run_python):
    script = (
        f"import sys; from domainclip.cli.{module} import command\n"
        "print(*(m for m in ('torch', 'numpy', 'pyarrow', 'lancedb') if m in sys.modules))"
    )
    done = run_python("-c", script)
    assert (done.returncode, done.stdout) == (0, "\n")
