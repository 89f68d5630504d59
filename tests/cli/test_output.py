"""Rows in each format: the same keys, aligned on a terminal, exact elsewhere."""

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domainclip.cli import output
from domainclip.cli.output import Output

ROWS = [
    {"name": "a, b", "value": 0.123456789, "n": 3, "none": None},
    {"name": 'tab\t"quote"', "value": 1e-9, "n": 20000, "none": None},
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(style, rows, stream=None, **kwargs):
    stream = stream or io.StringIO()
    Output(style, stream).rows(rows, **kwargs)
    return stream.getvalue()


def test_csv_is_the_default_where_nobody_watches_and_a_table_where_somebody_does():
    assert Output(None, io.StringIO()).style == "csv"
    assert Output(None, Terminal()).style == "table"


def test_csv_and_json_hold_every_digit_and_character():
    read = list(csv.DictReader(io.StringIO(printed("csv", ROWS))))
    assert read[0] == {"name": "a, b", "value": "0.123456789", "n": "3", "none": ""}
    assert read[1]["name"] == 'tab\t"quote"'
    assert json.loads(printed("json", ROWS)) == ROWS


@example([{"a": "\r", "b": 0}])
@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.integers()}), max_size=4))
def test_csv_and_json_read_back_what_was_written(rows):
    assert json.loads(printed("json", rows)) == rows
    read = list(csv.DictReader(io.StringIO(printed("csv", rows, columns=("a", "b")), newline="")))
    assert [(r["a"], int(r["b"])) for r in read] == [(r["a"], r["b"]) for r in rows]


def test_without_rows_the_columns_are_still_said():
    assert printed("csv", [], columns=("a", "b")) == "a,b\n"
    assert json.loads(printed("json", [])) == []
    assert printed("table", [], columns=("a", "b")) == ""


def test_a_table_is_aligned_numbers_to_the_right_and_empty_columns_left_out():
    lines = printed("table", ROWS).splitlines()
    assert lines == [
        "name           value      n",
        "a, b          0.1235      3",
        'tab\\t"quote"   1e-09  20000',
    ]


def test_a_table_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [
        {"long": "x" * 100, "short": "y", "value": 0.5},
        {"long": "猫" * 60, "short": "", "value": 1.0},
    ]
    lines = printed("table", rows, Terminal()).splitlines()
    assert all(output._width(line) <= 40 for line in lines)
    assert lines[1].endswith("0.5000") and "…" in lines[1] and "y" in lines[1]


def test_a_row_is_shortened_where_the_terminal_is_too_narrow(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [{"a": "x" * 30, "b": "y" * 30, "none": ""}] * 3

    def shorten(row):
        return {"b": row["b"], "none": ""}

    monkeypatch.setenv("COLUMNS", "70")
    wide = printed("table", rows, Terminal(), shorten=shorten)
    assert wide == printed("table", rows) and "x" in wide
    monkeypatch.setenv("COLUMNS", "50")
    assert printed("table", rows, Terminal(), shorten=shorten).split() == ["b", *["y" * 30] * 3]
    assert printed("csv", rows, Terminal(), shorten=shorten) == printed("csv", rows)


def test_paths_are_cut_where_they_tell_least(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [{"file_name": "a/very/long/folder/1.jpg", "score": 0.5}]
    line = printed("table", rows, Terminal()).splitlines()[1]
    assert line == "…older/1.jpg  0.5000"


def test_quiet_prints_one_column():
    assert printed("quiet", ROWS) == 'a, b\ntab\t"quote"\n'
    assert printed("quiet", ROWS, ids="n") == "3\n20000\n"


@pytest.mark.parametrize("style", ["csv", "json", "table"])
def test_rows_are_written_as_they_come(style):
    stream = io.StringIO()
    seen = []

    def rows():
        for i in range(1000):
            seen.append(bool(stream.getvalue()))
            yield {"i": i}

    assert Output(style, stream).rows(rows()) == 1000
    assert not seen[0] and seen[999]


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in printed("table", ROWS, Terminal())
    assert "\x1b" not in printed("table", ROWS)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed("table", ROWS, Terminal())


def test_several_tables_come_with_titles_and_as_one_object():
    tables = {"first": [{"a": 1}], "second": []}
    stream = io.StringIO()
    Output("json", stream).tables(tables)
    assert json.loads(stream.getvalue()) == tables
    stream = io.StringIO()
    Output("csv", stream).tables(tables)
    assert stream.getvalue() == "# first\na\n1\n\n# second\n"


def test_numpy_values_are_written_as_plain_ones_and_no_number_as_nothing():
    row = {"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1, 2]), "d": math.nan}
    assert json.loads(printed("json", [row])) == [{"a": 0.5, "b": 3, "c": [1, 2], "d": None}]
    del row["c"]
    assert printed("csv", [row]) == "a,b,d\n0.5,3,\n"
    assert printed("table", [row]).splitlines() == ["     a  b", "0.5000  3"]
