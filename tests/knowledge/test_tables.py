"""Facts from files of the user's own: every row used or reported."""

import asyncio
import json

import pytest

from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.errors import DataError, UsageError
from domainclip.knowledge.lists import match_label
from domainclip.knowledge.tables import TableProvider


@pytest.fixture
def domain():
    return get_domain("biology")


@pytest.fixture
def tree():
    columns = {
        "kingdom": ["Animalia", "Plantae", "Animalia", "Animalia"],
        "genus": ["Felis", "Morus", "Morus", "Felis"],
        "species": ["Felis catus", "Morus alba", "Morus bassanus", "Felis silvestris"],
    }
    return LabelTree.from_columns(columns, common=["house cat", "", "gannet", "wildcat"])


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def ask(provider, tree, name):
    (node,) = tree.find(name)
    return asyncio.run(provider.ask(tree, node))


def test_a_table_with_all_columns(tmp_path, domain, tree):
    path = write(
        tmp_path / "facts.csv",
        "Scientific Name,Description,Section,Source,License,URL,Revision,Traits\n"
        "Felis catus,It has grey fur. It purrs.,Looks,Field guide,CC0,https://x.org,3,"
        "grey fur; a long tail\n",
    )
    provider = TableProvider(path, domain, tree)
    answer = ask(provider, tree, "Felis catus")
    assert answer.status == "found" and answer.reason == "row 2 of facts.csv"
    (record,) = answer.records
    assert record.label == record.subject == ("Animalia", "Felis", "Felis catus")
    assert record.source == "table" and record.title == "Field guide"
    assert (record.section, record.licence, record.revision) == ("Looks", "CC0", "3")
    assert record.text == "It has grey fur. It purrs." and record.url == "https://x.org"
    assert [(t.text, t.sentence) for t in record.traits] == [
        ("grey fur", "It has grey fur."),
        ("a long tail", "a long tail"),
    ]
    assert {(t.source, t.revision) for t in record.traits} == {("facts.csv", "3")}
    assert not provider.problems
    assert ask(provider, tree, "Morus alba").status == "missing"


def test_names_of_any_vocabulary_and_several_rows(tmp_path, domain, tree):
    path = write(tmp_path / "a.tsv", "name\ttext\nhouse_cat\tOne.\nFelis catus\tTwo.\n")
    provider = TableProvider(path, domain, tree)
    answer = ask(provider, tree, "Felis catus")
    assert [record.text for record in answer.records] == ["One.", "Two."]
    revisions = {record.revision for record in answer.records}
    assert len(revisions) == 2 and "" not in revisions
    assert answer.records[0].title == "a.tsv"


def test_each_row_that_cannot_be_used_is_reported_and_the_rest_is_used(tmp_path, domain, tree):
    path = write(
        tmp_path / "facts.csv",
        "genus,name,text\n"
        ",Felis catis,A cat.\n"
        ",Morus,Which one?\n"
        "Morus,Felis catus,A contradiction.\n"
        ",,No name.\n"
        ",Felis catus,\n"
        ",Felis catus,A cat.\n"
        ",gannet,A bird.\n",
    )
    provider = TableProvider(path, domain, tree)
    unknown, several, against, nameless, silent = provider.problems
    assert "row 2" in unknown and "did you mean 'Felis catus'?" in unknown
    assert "row 3" in several and "Plantae > Morus; Animalia > Morus" in several
    assert "row 4" in against and "Animalia > Felis > Felis catus" in against
    assert "row 5" in nameless and "no label" in nameless
    assert "row 6" in silent and "nothing is said of 'Felis catus'" in silent
    assert all(str(path) in problem for problem in provider.problems)
    names = [tree.name(node) for node in provider.nodes]
    assert names == ["Felis catus", "Morus bassanus"]


def test_a_lineage_tells_homonyms_apart(tmp_path, domain, tree):
    path = write(
        tmp_path / "facts.csv",
        "kingdom,genus,text\nPlantae,Morus,A tree.\nAnimalia,Morus,A bird.\n",
    )
    provider = TableProvider(path, domain, tree)
    assert not provider.problems
    plant = tree.node(("Plantae", "Morus"))
    assert asyncio.run(provider.ask(tree, plant)).records[0].text == "A tree."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps([{"label": "Felis catus", "text": "A.", "traits": ["grey", "x"]}])),
        ("a.json", json.dumps({"Felis catus": {"text": "A.", "traits": "grey;x"}})),
        ("a.jsonl", '\n{"species": "Felis catus", "text": "A.", "traits": ["grey", "x"]}\n\n'),
        ("a.csv", 'species;text;traits\nFelis catus;A.;"[""grey"", ""x""]"\n'),
    ],
)
def test_json_in_its_forms(tmp_path, domain, tree, name, text):
    provider = TableProvider(write(tmp_path / name, text), domain, tree)
    (record,) = ask(provider, tree, "Felis catus").records
    assert record.text == "A." and [t.text for t in record.traits] == ["grey", "x"]


def test_a_mapping_of_label_to_text_and_traits_alone(tmp_path, domain, tree):
    path = write(tmp_path / "a.json", '{"Felis catus": "A cat.", "gannet": "A bird."}')
    provider = TableProvider(path, domain, tree)
    assert ask(provider, tree, "gannet").records[0].text == "A bird."
    path = write(tmp_path / "b.json", '[{"label": "gannet", "traits": ["white", "long bill"]}]')
    (record,) = ask(TableProvider(path, domain, tree), tree, "gannet").records
    assert record.text == "white; long bill"


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        ("a.csv", "colour,text\nred,x\n", DataError, "no column of labels; it has colour, text"),
        ("a.csv", "name,colour\nx,red\n", DataError, "no column of texts; it has name, colour"),
        ("a.csv", "name,text\n", DataError, "no rows"),
        ("a.json", "[]", DataError, "no rows"),
        ("a.json", '[{"label": "x"', DataError, "a.json is no JSON"),
        ("a.json", '"x"', DataError, "neither a list nor an object"),
        ("a.jsonl", '{"label": "x", "text": "y"}\n{"lab', DataError, "a.jsonl, line 2 is no JSON"),
        ("a.jsonl", "[1]\n", DataError, "line 1 is no JSON object"),
        ("a.pdf", "x", UsageError, "no file of facts"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, domain, tree, name, text, kind, words):
    with pytest.raises(kind, match=words):
        TableProvider(write(tmp_path / name, text), domain, tree)


def test_a_file_that_is_not_there(tmp_path, domain, tree):
    write(tmp_path / "facts.csv", "name,text\n")
    with pytest.raises(UsageError) as error:
        TableProvider(tmp_path / "fact.csv", domain, tree)
    assert error.value.hint == "did you mean 'facts.csv'?"
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        TableProvider(tmp_path / "bad.json", domain, tree)


def test_a_formal_name_counts_for_more_than_a_common_one():
    tree = LabelTree.from_columns({"r": ["jay", "Garrulus"]}, common=["", "jay"])
    assert tree.find("jay") == (0, 1)
    assert match_label(tree, ["jay"]) == 0
