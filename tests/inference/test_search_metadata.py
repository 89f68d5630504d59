"""What is known of pictures: which row of a table belongs to which picture."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domainclip.errors import DataError
from domainclip.inference.origin import say_key
from domainclip.inference.pictures import Crop
from domainclip.inference.search.metadata import Metadata, find_tables, locate


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/b.png", "tables/none"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path / "photos"


def joined(metadata, *pictures):
    """The columns that pictures get, as a dictionary of lists."""
    keys = [say_key(Crop(locate(p[0]), *p[1:]) if isinstance(p, tuple) else locate(p))
            for p in pictures]  # fmt: skip
    rows = pa.table({"file_name": keys})
    return metadata.join(rows, keys).drop_columns(["file_name"]).to_pydict()


@pytest.mark.parametrize(
    ("table", "first"),
    [
        ("photos/t.csv", "a.png"),  # relative to the table
        ("tables/t.csv", "a.png"),  # relative to the folder of pictures
        ("tables/t.csv", "photos/a.png"),  # relative to this folder
        ("tables/t.csv", "../photos/a.png"),
        ("tables/t.csv", "{photos}/a.png"),
    ],
)
def test_files_are_found_relative_to_what_they_may_be(photos, tmp_path, table, first):
    path = tmp_path / table
    first = first.format(photos=photos)
    path.write_text(f"File,place\n{first},Rome\n{first.replace('a.png', 'gone.png')},Oslo\n")
    metadata = Metadata([path], [photos])
    assert joined(metadata, "photos/a.png", str(photos / "b.png")) == {"place": ["Rome", None]}
    assert metadata.unmatched == 1


def test_names_that_are_no_files_match_as_they_are(photos, tmp_path):
    (tmp_path / "t.tsv").write_text("file_name\tplace\nspecimen 12\tRome\n")
    metadata = Metadata([tmp_path / "t.tsv"])
    assert joined(metadata, "specimen 12", "specimen 13") == {"place": ["Rome", None]}


def test_types_are_guessed_and_only_an_empty_cell_is_empty(photos, tmp_path):
    (tmp_path / "t.csv").write_text(
        "file,year,depth,seen,continent,none\n"
        'photos/a.png,2001,1.5,2020-05-06,NA,\nphotos/b.png,,2,,"North, ""old""",\n'
    )
    metadata = Metadata([tmp_path / "t.csv"])
    assert {f.name: str(f.type) for f in metadata.fields} == {
        "year": "int64", "depth": "double", "seen": "date32[day]", "continent": "string",
        "none": "string",
    }  # fmt: skip
    told = joined(metadata, "photos/b.png", "photos/a.png")
    assert told["continent"] == ['North, "old"', "NA"] and told["year"] == [None, 2001]


def test_boxes_have_rows_of_their_own(photos, tmp_path):
    (tmp_path / "t.csv").write_text(
        "file,x,y,w,h,sex\nphotos/a.png,1,2,3.5,4,f\nphotos/a.png,5,2,3,4,m\nphotos/b.png,,,,,w\n"
    )
    metadata = Metadata([tmp_path / "t.csv"])
    asked = ("photos/a.png", 5, 2, 3, 4), ("photos/a.png", 1, 2, 3.5, 4), "photos/b.png"
    assert joined(metadata, *asked) == {"sex": ["m", "f", "w"]}
    assert joined(metadata, ("photos/b.png", 0, 0, 2, 2)) == {"sex": ["w"]}, "as its picture"


def test_several_tables_and_parquet(photos, tmp_path):
    (tmp_path / "t.csv").write_text("file,place\nphotos/a.png,Rome\n")
    other = {
        "path": ["photos/b.png", "photos/a.png"],
        "year": [1999, None],
        "place": ["Oslo", "Bern"],
    }
    pq.write_table(pa.table(other), tmp_path / "t.parquet")
    metadata = Metadata([tmp_path / "t.csv", tmp_path / "t.parquet"])
    told = joined(metadata, "photos/a.png", "photos/b.png", "none.png")
    assert told == {"place": ["Rome", "Oslo", None], "year": [None, 1999, None]}
    assert metadata.unmatched == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,place\na,Rome\n", "no column of files; it has name, place"),
        ("", "cannot be read as a table"),
        ("file,place\na.png,Rome,Italy\n", "cannot be read as a table"),
        ("file,place\na.png,Rome\na.png,Oslo\n", "a.png comes twice"),
        ("file,score\na.png,1\n", "'score' is one of an index itself"),
        ("file,x,y\na.png,1,2\n", "'x' is one of an index itself"),
        ("file,a.b\na.png,1\n", "'a.b' has a dot"),
        ("file,Place,place\na.png,1,2\n", "two columns 'place'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        Metadata([tmp_path / "t.csv"])


def test_only_one_column_is_that_of_files(tmp_path):
    (tmp_path / "t.csv").write_text("file,image,x,y,w,h\na.png,side view,,,,\n")
    assert joined(Metadata([tmp_path / "t.csv"]), "a.png") == {"image": ["side view"]}


def test_the_same_said_twice_is_no_contradiction(tmp_path):
    (tmp_path / "t.csv").write_text("file,place\na.png,Rome\na.png,Rome\n")
    assert joined(Metadata([tmp_path / "t.csv"]), "a.png") == {"place": ["Rome"]}


def test_tables_among_the_arguments(photos, tmp_path):
    (photos / "metadata.csv").write_text("file,place\na.png,Rome\n")
    (tmp_path / "list.csv").write_text("file\nphotos/a.png\n")
    names = [str(tmp_path / "list.csv"), "photos", "photos/a.png", "gone.csv"]
    assert find_tables(names) == [
        tmp_path / "list.csv",
        photos.relative_to(tmp_path) / "metadata.csv",
    ]
    assert joined(Metadata(find_tables(names)), "photos/a.png") == {"place": ["Rome"]}
