"""Darwin Core terms: rank columns, ids with parents, and what contradicts itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.darwin_core import RANKS, _circles
from domainclip.domains.labels import LabelTree
from domainclip.domains.readers import read_table
from domainclip.errors import LabelError

PARENTS = """
taxonID parentNameUsageID acceptedNameUsageID taxonRank scientificName vernacularName
1 - - kingdom Animalia animals
2 1 - CLASS Insecta -
3 2 - order Lepidoptera moths
3b 3 - superfamily Papilionoidea -
4 3b 4 family Nymphalidae_Rafinesque,_1815 -
5 4 - genus Danaus_Kluk,_1780 -
6 5 - species Danaus_plexippus_(Linnaeus,_1758) monarch
7 - 6 species Papilio_plexippus_Linnaeus,_1758 -
8 - 7 species Anosia_plexippus -
9 6 - subspecies Danaus_plexippus_megalippe -
10 2 - species Incertus_minor -
"""


def parse(text: str) -> dict[str, list[str]]:
    lines = [line.split() for line in text.strip().splitlines()]
    cells = [["" if c == "-" else c.replace("_", " ") for c in line] for line in lines[1:]]
    return {name: [line[i] for line in cells] for i, name in enumerate(lines[0])}


def test_parents_make_lineages():
    tree = LabelTree.from_darwin_core(parse(PARENTS))
    assert tree.ranks == RANKS
    line = ("Animalia", "", "Insecta", "Lepidoptera", "Nymphalidae", "Danaus", "Danaus plexippus")
    monarch = tree.node(line)
    assert tree.all_names(monarch) == (
        "Danaus plexippus",
        "monarch",
        "Papilio plexippus",
        "Anosia plexippus",
    )
    assert tree.name(tree.node(("Animalia",)), "common") == "animals"
    assert tree.key(tree.find("incertus minor")[0]) == (*line[:3], "", "", "", "Incertus minor")
    assert len(tree) == 7
    assert not tree.find("Papilionoidea")


def test_authors_are_cut_where_they_are_told():
    tree = LabelTree.from_darwin_core(
        {
            "dwc:taxonID": ["a", "b"],
            "dwc:parentNameUsageID": ["", "a"],
            "dwc:taxonRank": ["kingdom", "species"],
            "dwc:scientificName": ["Viruses", "Tobacco mosaic virus Ivanovsky"],
            "dwc:scientificNameAuthorship": ["", "Ivanovsky"],
        }
    )
    assert tree.names.tolist() == ["Viruses", "Tobacco mosaic virus"]


def test_rank_columns_make_binomials():
    tree = LabelTree.from_darwin_core(
        {
            "Order": ["Lepidoptera"] * 6,
            "genus": ["Danaus", "Danaus", "Danaus", "", "Mentha", "Danaus"],
            "species": ["", "gilippus", "Papilio eresimus", "", "× piperita", ""],
            "specificEpithet": ["plexippus", "", "", "", "", ""],
            "scientificName": ["", "", "", "Vanessa (Vanessa) atalanta (L., 1758)", "", "Danaus"],
            "taxonRank": ["species", "", "", "species", "species", "genus"],
            "vernacularName": ["monarch", "queen", "soldier", "", "mint", "milkweed butterflies"],
        }
    )
    names = {tree.names[n]: tree.name(n, "common") for n in tree.leaves}
    assert names == {
        "Danaus plexippus": "monarch",
        "Danaus gilippus": "queen",
        "Papilio eresimus": "soldier",
        "Vanessa atalanta": None,
        "Mentha × piperita": "mint",
    }
    assert tree.find("milkweed butterflies") == tree.find("danaus")


def changed(row: int, term: str, value: str) -> dict[str, list[str]]:
    columns = parse(PARENTS)
    columns[term][row] = value
    return columns


@pytest.mark.parametrize(
    ("row", "term", "value", "message"),
    [
        (2, "taxonID", "", r"row 2 \(counted from 0\): no taxonID"),
        (6, "taxonID", "2", r"rows 1, 6 .*the taxonID '2' more than once"),
        (5, "parentNameUsageID", "44", r"row 5 .*the parent '44' has no row"),
        (2, "parentNameUsageID", "6", r"rows 2, 3, 4, 5, 6 .*parents in a circle"),
        (0, "parentNameUsageID", "1", r"row 0 .*parents in a circle"),
        (7, "acceptedNameUsageID", "99", r"row 7 .*the accepted name '99' has no row"),
        (7, "acceptedNameUsageID", "8", r"rows 7, 8 .*accepted names in a circle"),
        (4, "taxonRank", "species", r"rows 5, 6 .*not coarser"),
        (5, "scientificName", "", r"row 5 .*no scientificName"),
    ],
)
def test_contradictions_name_their_rows(row, term, value, message):
    with pytest.raises(LabelError, match=message):
        LabelTree.from_darwin_core(changed(row, term, value))


def test_other_bad_tables_are_refused():
    columns = parse(PARENTS)
    with pytest.raises(LabelError, match="no row has a taxonRank"):
        LabelTree.from_darwin_core({**columns, "taxonRank": ["clade"] * 11})
    with pytest.raises(LabelError, match="differ in length"):
        LabelTree.from_darwin_core({**columns, "taxonRank": ["clade"]})
    with pytest.raises(LabelError, match="no labels"):
        LabelTree.from_darwin_core({})
    with pytest.raises(LabelError, match=r"row 1 .*no name"):
        LabelTree.from_darwin_core({"genus": ["Danaus", ""], "species": ["plexippus", ""]})


@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.integers(0, n), min_size=n, max_size=n)))
@settings(deadline=None)
def test_circles_are_the_rows_that_lead_back_to_themselves(pointers):
    def leads_back(row: int) -> bool:
        here = row
        for _ in pointers:
            here = pointers[here]
            if here in (row, len(pointers)):
                return here == row
        return False

    expected = [row for row in range(len(pointers)) if leads_back(row)]
    assert _circles(np.array(pointers)).tolist() == expected


def test_real_epithets_become_binomials():
    folder = os.environ.get("DOMAINCLIP_TEST_DATA")
    if not folder:
        pytest.skip("DOMAINCLIP_TEST_DATA names no folder of real data")
    table = read_table(Path(folder) / "text_taxonomy" / "rare_species.csv")
    tree = LabelTree.from_darwin_core(table)
    assert {tree.names[n] for n in tree.leaves} == set(table["scientific_name"])
    assert tree.ambiguous() == {}
    assert tree.name(tree.find("Cyclonaias tuberculata")[0], "common") == "purple wartyback"
