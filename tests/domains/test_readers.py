"""Label tables and nested label files, good and bad."""

from __future__ import annotations

import pytest

from domainclip.domains.labels import LabelTree
from domainclip.domains.readers import read_table
from domainclip.errors import LabelError, UsageError


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "labels.csv", encoding: str = "utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_usual_separators_are_read(write, separator, ending):
    lines = [("order", "species", "common"), ("O", "007", '"an ""odd"", name"'), ("P", "", "NA")]
    text = ending.join(separator.join(line) for line in lines) + ending
    tree = LabelTree.from_csv(write(text, encoding="utf-8-sig"))
    assert tree.ranks == ("order", "species")
    assert tree.all_names(tree.node(("O", "007"))) == ("007", 'an "odd", name')
    assert tree.name(tree.node(("P",)), "common") == "NA"


def test_only_the_named_ranks_are_read(write):
    path = write("file,order,label\n1.jpg,O,a\n2.jpg,O,b\n")
    tree = LabelTree.from_csv(path, ["family", "order"])
    assert [tree.key(n) for n in range(len(tree))] == [("", "O")]


def test_short_rows_and_blank_lines_at_the_end_are_fine(write):
    path = write("order,species\nO\nP,p\n\n,\n")
    assert read_table(path) == {"order": ["O", "P"], "species": ["", "p"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header"),
        ("\n\n", "no header"),
        ("order,species\n", "no labels"),
        ("order,order\na,b\n", r"\['order'\] twice"),
        ("order,species\nO,a\n,\nO,b\n\nP,c\n", r"labels.csv, rows 3, 5 \(the header is row 1\)"),
        ("order,species\nO,a\nO,b,c\n", r"row 3 \(the header is row 1\): more cells"),
        ('order,species\nO,"a\nO,b\n', "no table"),
    ],
)
def test_bad_tables_say_where(write, text, message):
    with pytest.raises(LabelError, match=message):
        LabelTree.from_csv(write(text))


def test_repeated_labels_say_where(write):
    path = write("order,species\nO,a\nO,b\nO,a\n")
    assert len(LabelTree.from_csv(path)) == 3
    with pytest.raises(LabelError, match=r"rows 2, 4 \(the header is row 1\).*'a'"):
        LabelTree.from_csv(path, unique=True)


def test_other_encodings_and_missing_files_are_told(write, tmp_path):
    with pytest.raises(LabelError, match="not UTF-8") as error:
        LabelTree.from_csv(write("order\nÑandú\n", encoding="latin-1"))
    assert "UTF-8" in error.value.hint
    with pytest.raises(UsageError, match=r"no file .*none\.csv"):
        LabelTree.from_csv(tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"no file .*none\.yaml"):
        LabelTree.from_yaml(tmp_path / "none.yaml", ["a"])


NESTED = """
Insecta:
  _common: insects
  _synonyms: [Hexapoda, "x|y"]
  Lepidoptera:
    - Danaus plexippus: {_common: monarch, _synonyms: milkweed butterfly}
    - no
    - 007
  "":
    - incertae
  Odonata:
Aves: [null_bird]
"""


def test_nested_labels_are_read(write):
    tree = LabelTree.from_yaml(write(NESTED, "labels.yaml"), ["class", "order", "species"])
    assert {tree.key(n) for n in range(len(tree))} == {
        ("Insecta",),
        ("Insecta", "Lepidoptera"),
        ("Insecta", "Lepidoptera", "Danaus plexippus"),
        ("Insecta", "Lepidoptera", "no"),
        ("Insecta", "Lepidoptera", "007"),
        ("Insecta", "", "incertae"),
        ("Insecta", "Odonata"),
        ("Aves",),
        ("Aves", "null_bird"),
    }
    assert tree.all_names(tree.node(("Insecta",))) == ("Insecta", "insects", "Hexapoda", "x", "y")
    (monarch,) = tree.find("monarch")
    assert tree.synonyms(monarch) == ("milkweed butterfly",)


def test_a_mapping_is_read_like_a_file():
    nested = {"O": {"_common": "things", "F": ["a", {"b": None}], None: ["G"]}, "P": {}}
    tree = LabelTree.from_yaml(nested, ["order", "family", "species"])
    with pytest.raises(LabelError, match="deeper"):
        LabelTree.from_yaml(nested, ["order", "family"])
    assert tree.node(("O", "", "G"))
    assert tree.name(tree.node(("O",)), "common") == "things"
    assert tree.node(("O", "F", "b")) in tree.leaves


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A:\n  x:\nB:\n  y:\nA:\n  z:\n", r"'A' twice, in lines 1 and 5"),
        ("A:\n  - x\n  - 'x'\n", r"'x' occurs twice, under A"),
        ("A:\n  - x\n  - x:\n", r"'x' occurs twice, under A"),
        ("A: {B: {C: {}}}", r"deeper than the 2 ranks a, b, under A > B"),
        ("A: {B: [C]}", r"deeper than the 2 ranks"),
        ("A: monarch", "neither a list nor a mapping.*under A"),
        ("A: &a {B: *a}", "line 1: a label below itself"),
        ("A: [[x, y]]", "a list without a name"),
        ("A: ['']", "a label without a name, under A"),
        ("A:\n  '': {_common: x}", "a skipped rank has names"),
        ("A: {_common: [x]}", "is a list"),
        ("", "no labels"),
        ("{}", "no labels"),
        ("just text", "neither"),
        ("A: [x", "not YAML"),
        ("_common: x\nA:\n", "outside a label"),
    ],
)
def test_bad_nesting_says_where(write, text, message):
    with pytest.raises(LabelError, match=message):
        LabelTree.from_yaml(write(text, "labels.yaml"), ["a", "b"])
