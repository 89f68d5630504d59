"""The reader of stored captions: joining by id, generations, parts that are corrupt."""

import errno
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domainclip.data.captions import (
    COLUMNS,
    SCHEMA,
    find_generation,
    list_generations,
    read_captions,
    read_journal,
)
from domainclip.errors import DataError, UsageError


def row(one, caption, time="2026-01-01T00:00:00"):
    return dict.fromkeys(COLUMNS) | {"sample_id": one, "caption": caption, "time": time}


def generation(root, name, last_run, captioner="bank"):
    folder = root / name
    folder.mkdir(parents=True)
    about = {"made_of": {"captioner": captioner}, "created": "2026-01-01", "last_run": last_run}
    (folder / "generation.json").write_text(json.dumps(about))
    return folder


def part(folder, rows, name="part-1-of-1-000001.parquet"):
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / name)
    return folder / name


def journal(folder, rows, tail="", name="journal-1-of-1.jsonl"):
    (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows) + tail)


def test_every_column_is_documented_in_the_file_itself(tmp_path):
    file = part(tmp_path, [row("a", "x")])
    schema = pq.read_schema(file)
    assert schema.names == list(COLUMNS)
    said = {f.name: (f.metadata or {}).get(b"comment", b"").decode() for f in schema}
    assert said == COLUMNS and all(len(text) > 10 for text in said.values())


def test_captions_are_joined_by_id_from_parts_and_journal(tmp_path):
    folder = generation(tmp_path, "bank-1", "2026-01-02")
    part(folder, [row("b", "of b"), row("d", ""), row("x", "of nobody")])
    journal(folder, [row("a", "of a")], tail='{"sample_id": "c", "cap')
    read = read_captions([tmp_path], ["a", "b", "c", "d"])
    assert read.captions == [("of a",), ("of b",), (), ()]
    assert (read.generation, read.found) == ("bank-1", 2)
    assert "2 of 4 pictures" in read.messages[-1]


def test_the_later_row_of_a_sample_counts_wherever_it_is(tmp_path):
    folder = generation(tmp_path, "bank-1", "2026-01-02")
    part(folder, [row("a", "second", "2026-01-01T02:00:00"), row("b", "kept")])
    part(folder, [row("a", "first", "2026-01-01T01:00:00")], "part-1-of-2-000001.parquet")
    journal(folder, [row("b", "", "2026-01-01T03:00:00")])
    assert read_captions([tmp_path], ["a", "b"]).captions == [("second",), ()]


def test_the_newest_generation_is_read_and_the_others_are_named(tmp_path):
    journal(generation(tmp_path, "bank-aa", "2026-01-02"), [row("a", "old")])
    journal(generation(tmp_path, "openai-bb", "2026-01-03", "openai"), [row("a", "new")])
    assert [one.name for one in list_generations(tmp_path)] == ["openai-bb", "bank-aa"]
    read = read_captions([tmp_path], ["a"])
    assert read.captions == [("new",)]
    assert "bank-aa (bank, 2026-01-02)" in read.messages[0]
    for asked in ("bank-aa", "bank"):
        assert read_captions([f"{tmp_path}@{asked}"], ["a"]).captions == [("old",)]
    assert read_captions([tmp_path / "bank-aa"], ["a"]).captions == [("old",)]
    with pytest.raises(UsageError, match="no generation 'bank-ab'") as error:
        find_generation(f"{tmp_path}@bank-ab")
    assert "bank-aa" in error.value.hint


def test_a_generation_without_captions_comes_last(tmp_path):
    part(generation(tmp_path, "bank-aa", "2026-01-01"), [row("a", "old")])
    journal(generation(tmp_path, "openai-bb", "2026-01-02"), [])  # its server never answered
    assert find_generation(tmp_path)[0].name == "bank-aa"
    assert read_captions([tmp_path], ["a"]).captions == [("old",)]


def test_a_part_that_cannot_be_opened_for_now_is_not_set_aside(tmp_path, monkeypatch):
    file = part(generation(tmp_path, "bank-aa", "2026-01-01"), [row("a", "x")])
    for error in (OSError(errno.EMFILE, "Too many open files"), pa.ArrowMemoryError("malloc")):
        with monkeypatch.context() as patch:
            patch.setattr(pq, "ParquetFile", lambda *_, error=error, **__: fail(error))
            with pytest.raises(DataError, match="cannot be read"):
                read_captions([tmp_path], ["a"])
    assert file.exists() and read_captions([tmp_path], ["a"]).found == 1


def fail(error):
    raise error


def test_several_folders_give_several_captions(tmp_path):
    journal(generation(tmp_path / "one", "bank-1", "2026"), [row("a", "one"), row("b", "one")])
    journal(generation(tmp_path / "two", "bank-2", "2026"), [row("a", "two")])
    read = read_captions([tmp_path / "one", tmp_path / "two"], ["a", "b"])
    assert read.captions == [("one", "two"), ("one",)]
    assert read.generation == "bank-1, bank-2"


def test_a_corrupt_part_is_set_aside_and_the_rest_is_used(tmp_path):
    folder = generation(tmp_path, "bank-1", "2026")
    part(folder, [row("a", "whole")])
    broken = part(folder, [row("b", "lost")], "part-1-of-1-000002.parquet")
    broken.write_bytes(broken.read_bytes()[:-20])
    read = read_captions([tmp_path], ["a", "b"])
    assert read.captions == [("whole",), ()]
    assert any("part-1-of-1-000002.parquet is corrupt" in said for said in read.messages)
    assert not broken.exists() and broken.with_name(broken.name + ".bad").exists()


def test_a_table_of_somebody_else_needs_two_columns(tmp_path):
    file = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({"sample_id": ["a", "b"], "caption": ["one", None]}), file)
    assert read_captions([file], ["b", "a"]).captions == [(), ("one",)]
    pq.write_table(pa.table({"id": ["a"], "caption": ["one"]}), file)
    with pytest.raises(DataError, match="no column sample_id"):
        read_captions([file], ["a"])


def test_a_folder_without_captions_is_told(tmp_path):
    with pytest.raises(DataError, match="no captions in") as error:
        read_captions([tmp_path / "nowhere"], ["a"])
    assert "domainclip caption" in error.value.hint


def test_a_journal_may_have_torn_and_damaged_lines():
    data = b'{"sample_id": "a"}\n\0\0\0\n[1]\n{"sample_id": "b"}\n{"sample_id": "c"}'
    rows, whole = read_journal(data)
    assert [r["sample_id"] for r in rows] == ["a", "b"]
    assert whole == len(data) - len(b'{"sample_id": "c"}')


def test_captions_that_the_checks_over_all_rejected_are_left_out(tmp_path):
    folder = generation(tmp_path, "bank-1", "2026")
    part(folder, [row("a", "good"), row("b", "poor"), row("c", "often")])
    verdicts = {
        "sample_id": ["b", "c"],
        "outcome": ["reject", "flag"],
        "check": ["score", "duplicate"],
        "reason": ["", ""],
    }
    pq.write_table(pa.table(verdicts), folder / "verdicts.parquet")
    read = read_captions([tmp_path], ["a", "b", "c"])
    assert read.captions == [("good",), (), ("often",)]
    assert "1 were rejected for their score" in read.messages[-1]
