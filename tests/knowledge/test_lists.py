"""Lists of labels that a user names."""

import pytest

from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.knowledge.lists import read_labels


@pytest.fixture
def domain():
    return get_domain("biology")


def read(tmp_path, domain, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    listed = read_labels(path, domain)
    return listed, [listed.tree.path(node) for node in listed.nodes]


LINE = ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Papilionidae", "Papilio")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\ufeffPapilio machaon\n\nNobody atall\nPapilio machaon\n"),
        ("a.csv", "Scientific_Name\nPapilio machaon\nNobody atall\n"),
        ("a.csv", "label,colour\nPapilio machaon,red\nNobody atall,\n"),
        ("a.csv", "Papilio machaon\nNobody atall\n"),
        ("a.tsv", "name\ttext\nPapilio machaon\tx\nNobody atall\ty\n"),
    ],
)
def test_names_alone_take_over_the_lineage_that_the_domain_knows(tmp_path, domain, name, text):
    listed, paths = read(tmp_path, domain, text, name)
    assert paths == [(*LINE, "Papilio machaon"), ("Nobody atall",)]
    assert listed.unknown == ["Nobody atall"]


def test_ranks_and_a_label_below_them(tmp_path, domain):
    text = "genus,species,label\nFelis,Felis catus,Felis catus\nFelis,Felis catus,tabby\n"
    listed, paths = read(tmp_path, domain, text)
    assert paths == [("Felis", "Felis catus"), ("Felis", "Felis catus", "tabby")]
    assert listed.tree.ranks == ("genus", "species", "label")


def test_common_names_are_kept(tmp_path, domain):
    listed, _ = read(tmp_path, domain, "species,common\nFelis catus,house cat\n")
    assert listed.tree.name(listed.nodes[0], "common") == "house cat"


def test_a_lineage_that_contradicts_the_domain_is_unknown(tmp_path, domain):
    listed, paths = read(tmp_path, domain, "kingdom,genus\nPlantae,Papilio\nAnimalia,Papilio\n")
    assert paths == [("Plantae", "Papilio"), ("Animalia", "Papilio")]
    assert listed.unknown == ["Papilio"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "\n \n"), ("a.csv", "species\n\n"), ("a.csv", "size,colour\n1,2\n")],
)
def test_lists_without_labels(tmp_path, domain, name, text):
    with pytest.raises(UsageError, match=r"no label|no column of labels"):
        read(tmp_path, domain, text, name)


def test_a_wrong_guess_lists_the_names_of_columns(tmp_path):
    (tmp_path / "a.csv").write_text("what,text\nPapilio machaon,A.\n")
    with pytest.raises(UsageError) as caught:
        read_labels(tmp_path / "a.csv", get_domain("biology"))
    assert caught.value.hint.startswith("call it label or name or kingdom")
