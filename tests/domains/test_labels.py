"""The label tree: lineages as keys, missing ranks, homonyms, distances, groups, digests."""

from __future__ import annotations

import os
import pickle
from collections import deque
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.labels import LabelTree
from domainclip.domains.names import clean
from domainclip.domains.readers import read_table
from domainclip.errors import LabelError

RANKS = ("class", "order", "family", "species")
BEETLE = ("Insecta", "Coleoptera", "", "Aus bus")
ROWS = [
    ("Insecta", "Lepidoptera", "Nymphalidae", "Danaus plexippus"),
    ("Insecta", "Lepidoptera", "Nymphalidae", ""),
    ("Insecta", "Coleoptera", "Scarabaeidae", "Cetonia aurata"),
    BEETLE,
    ("Aves", "", "", "Aus bus"),
    ("Insecta", "Coleoptera", "", ""),
    ("", "", "", "Cus dus"),
]

NASTY = [
    "007",
    "7",
    'a "b", c',
    "tab\there",
    "Ñandú",
    "x|y",
    "o'ma`o",
    "-",
    "no family",
    "line\nbreak",
    "car\rriage",
]
name_text = st.one_of(
    st.sampled_from(["A", "B", "C", *NASTY]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)


def rows_of(n_ranks: int):
    cells = st.tuples(*[st.one_of(st.just(""), name_text)] * n_ranks)
    return st.lists(cells.filter(lambda row: any(map(clean, row))), min_size=1, max_size=12)


def columns_of(rows, ranks=RANKS):
    return {rank: [row[i] for row in rows] for i, rank in enumerate(ranks)}


def trimmed(row):
    key = [clean(name) for name in row]
    while key and not key[-1]:
        key.pop()
    return tuple(key)


@pytest.fixture
def tree() -> LabelTree:
    return LabelTree.from_columns(columns_of(ROWS), RANKS)


def test_a_label_is_its_lineage(tree):
    nodes = tree.nodes_of(columns_of(ROWS))
    assert nodes.dtype == np.int32
    assert [tree.key(n) for n in nodes] == [trimmed(row) for row in ROWS]
    assert [tree.node(trimmed(row)) for row in ROWS] == nodes.tolist()
    assert len({tree.key(n) for n in range(len(tree))}) == len(tree) == 11


def test_homonyms_are_two_labels_that_can_be_listed(tree):
    beetle, bird = tree.node(BEETLE), tree.node(("Aves", "", "", "Aus bus"))
    assert beetle != bird
    assert tree.find("aus_BUS") == tuple(sorted((beetle, bird)))
    assert tree.ambiguous() == {"Aus bus": tuple(sorted((beetle, bird)))}


def test_a_missing_rank_is_skipped(tree):
    node = tree.node(BEETLE)
    assert tree.names[tree.parent[node]] == "Coleoptera"
    assert tree.ancestors[node, 2] == -1
    assert tree.ancestors[node, 3] == node
    assert tree.path(node) == ("Insecta", "Coleoptera", "Aus bus")
    assert tree.depth[node] == 3
    root = tree.node(("", "", "", "Cus dus"))
    assert tree.parent[root] == -1
    assert root in tree.children(-1)


def test_parents_come_before_children_and_leaves_have_none(tree):
    assert (tree.parent < np.arange(len(tree))).all()
    assert {tree.names[n] for n in tree.leaves} == {
        "Danaus plexippus",
        "Cetonia aurata",
        "Aus bus",
        "Cus dus",
    }
    for node in range(-1, len(tree)):
        assert set(tree.children(node)) == set(np.flatnonzero(tree.parent == node))


def test_unknown_labels_are_told_with_the_nearest_one(tree):
    with pytest.raises(LabelError, match="'Coleptera' is unknown") as error:
        tree.node(("Insecta", "Coleptera"))
    assert error.value.hint == "did you mean 'Coleoptera'?"
    with pytest.raises(LabelError) as error:
        tree.node(("Aves", "Coleoptera"))
    assert error.value.hint == "did you mean Insecta > Coleoptera?"
    for bad in ("Insecta", (), ("",), ("Insecta", "Coleoptera", "", "Aus bus", "deeper")):
        with pytest.raises(LabelError):
            tree.node(bad)
    assert tree.nodes_of({"class": ["Insecta", "Pisces", "", None]}).tolist()[1:] == [-1, -1, -1]
    assert tree.nodes_of({"class": ["Pisces"], "species": ["Cus dus"]}).tolist() == [-1]
    elsewhere = {"class": ["", "Aves", "Insecta"], "order": ["Coleoptera"] * 3}
    assert tree.nodes_of(elsewhere).tolist() == [-1, -1, tree.node(("Insecta", "Coleoptera"))]


def test_no_node_is_never_the_last_node(tree):
    for use in (tree.key, tree.path, tree.name, lambda n: tree.distance(0, n)):
        for node in (-1, len(tree)):
            with pytest.raises(LabelError):
                use(node)
    with pytest.raises(LabelError):
        tree.groups("order", [0, -1])


def test_distances_go_over_present_nodes(tree):
    monarch = tree.node(ROWS[0])
    family = tree.node(trimmed(ROWS[1]))
    chafer, beetle = tree.node(ROWS[2]), tree.node(BEETLE)
    bird, alone = tree.node(ROWS[4]), tree.node(ROWS[6])
    assert tree.distance(monarch, monarch) == 0
    assert tree.distance(monarch, family) == 1
    assert tree.distance(chafer, beetle) == 3  # species-family-order and order-species
    assert tree.distance(monarch, chafer) == 6
    assert tree.distance(beetle, bird) == 5  # three steps up to the virtual root, two down
    assert tree.distance(bird, alone) == 3
    order = tree.node(("Insecta", "Coleoptera"))
    assert tree.lowest_common_ancestor(chafer, beetle) == order
    assert tree.lowest_common_ancestor(order, beetle) == order
    assert tree.lowest_common_ancestor(beetle, bird) == -1
    ids = np.arange(len(tree))
    table = tree.distance(ids[:, None], ids)
    assert table.shape == (len(tree), len(tree))
    assert table[chafer, beetle] == 3


def test_a_gap_has_a_bucket_of_its_own(tree):
    nodes = tree.nodes_of(columns_of(ROWS))
    family = tree.groups("family", nodes)
    assert [family.names[c] for c in family.codes] == [
        "Nymphalidae",
        "Nymphalidae",
        "Scarabaeidae",
        "no family, under Coleoptera",
        "no family, under Aves",
        "no family, under Coleoptera",
        "no family",
    ]
    assert (family.nodes >= 0).tolist() == [not name.startswith("no ") for name in family.names]
    assert [tree.names[n] for n in family.nodes if n >= 0] == ["Nymphalidae", "Scarabaeidae"]
    species = tree.groups("species", nodes)
    assert species.names[species.codes[1]] == "no species, under Nymphalidae"
    assert species.codes.dtype == np.int64
    with pytest.raises(LabelError, match="famly") as error:
        tree.groups("famly", nodes)
    assert "family" in error.value.hint


def test_groups_of_homonyms_carry_their_lineage(tree):
    nodes = tree.nodes_of(columns_of(ROWS))
    names = tree.groups("species", nodes).names
    assert "Aus bus (Insecta > Coleoptera > no family)" in names
    assert "Aus bus (Aves > no order > no family)" in names
    assert "Danaus plexippus" in names


def test_other_names_belong_to_the_label_of_their_row():
    tree = LabelTree.from_columns(
        {"order": ["O", "O", "O", "P"], "species": ["a", "a", "", ""]},
        common=["first", "second", " things ", None],
        synonyms=["x| y |x", ["z"], None, ""],
    )
    a, order = tree.node(("O", "a")), tree.node(("O",))
    assert tree.name(a, "common") == "first"
    assert tree.name(order, "common") == "things"
    assert tree.name(tree.node(("P",)), "common") is None
    assert tree.synonyms(a) == ("x", "y", "z")
    assert tree.synonyms(order) == ()
    assert tree.find("THINGS") == (order,)
    assert tree.find("z") == (a,)
    assert tree.find("second") == ()
    with pytest.raises(LabelError, match="latin"):
        tree.name(a, "latin")


def test_columns_of_other_names_are_found():
    columns = {"label": ["007"], "common_name": ["Bond"], "synonyms": ["James|Jimmy"]}
    tree = LabelTree.from_columns(columns)
    assert tree.ranks == ("label",)
    assert tree.all_names(0) == ("007", "Bond", "James", "Jimmy")


def test_names_are_text_and_nothing_else_is_guessed():
    column = ["NA", "007", 7, "  NaN ", "N\u0303", "\u00d1", None, float("nan")]
    with pytest.raises(LabelError, match=r"rows 6, 7 \(counted from 0\): no name"):
        LabelTree.from_columns({"label": column})
    tree = LabelTree.from_columns({"label": column[:6]})
    assert tree.names.tolist() == ["NA", "007", "7", "NaN", "Ñ"]
    assert tree.nodes_of({"label": column}).tolist() == [0, 1, 2, 3, 4, 4, -1, -1]
    with pytest.raises(LabelError, match=r"7\.0 is a float"):
        LabelTree.from_columns({"label": [7.0]})


def test_bad_columns_are_refused():
    with pytest.raises(LabelError, match="differ in length"):
        LabelTree.from_columns({"a": ["x"], "b": ["y", "z"]})
    with pytest.raises(LabelError, match="none of the ranks family") as error:
        LabelTree.from_columns({"famly": ["x"]}, ["family"])
    assert "famly" in error.value.hint
    with pytest.raises(LabelError, match="no labels"):
        LabelTree.from_columns({"a": []})
    with pytest.raises(LabelError, match="for 1 rows"):
        LabelTree.from_columns({"a": ["x"]}, common=["p", "q"])
    for ranks in ("ab", [], ["a", "a"], [""], ["a,b"], ["a", "synonyms"], [1]):
        with pytest.raises(LabelError, match="ranks"):
            LabelTree.from_columns({"a": ["x"], "b": ["y"]}, ranks)


def test_a_list_of_labels_may_not_repeat_one():
    columns = {"order": ["O", "O", "P", "O", ""], "species": ["a", "", "a", "a", "a"]}
    assert len(LabelTree.from_columns(columns)) == 5
    with pytest.raises(LabelError, match=r"rows 0, 3 \(counted from 0\).*'a'"):
        LabelTree.from_columns(columns, unique=True)
    del columns["order"][3], columns["species"][3]
    assert len(LabelTree.from_columns(columns, unique=True)) == 5


def test_an_error_names_few_rows_and_counts_the_rest():
    with pytest.raises(LabelError, match=r"rows 1, 2, 3, .*, 10 and 20 more"):
        LabelTree.from_columns({"a": ["x"] + [""] * 30})


def test_a_tree_can_be_sent_to_a_worker_and_not_be_changed(tree):
    tree.find("Aves"), tree.children(0)
    again = pickle.loads(pickle.dumps(tree))
    assert again.digest() == tree.digest()
    assert again.find("cus dus") == tree.find("cus dus")
    with pytest.raises(ValueError, match="read-only"):
        tree.parent[0] = 3


def test_the_digest_tells_what_a_tree_says():
    def digest(rows, ranks=("a", "b"), **names):
        return LabelTree.from_columns(columns_of(rows, ranks), ranks, **names).digest()

    rows = [("x", "y"), ("x", "z"), ("w", "")]
    own = digest(rows)
    assert len(own) == 64
    assert digest(rows[::-1]) == own
    assert digest([*rows, ("x", "")]) == own
    others = [
        digest(rows, ("a", "c")),
        digest(rows[:2]),
        digest([("x", "y"), ("w", "z")]),
        digest([("", "y"), ("x", "z"), ("w", "")]),
        digest(rows, common=["n", None, None]),
        digest(rows, common=[None, "n", None]),
        digest(rows, synonyms=["n", None, None]),
    ]
    assert len({own, *others}) == len(others) + 1


@given(rows_of(3))
@settings(deadline=None)
def test_key_and_node_are_inverse(rows):
    ranks = ("a", "b", "c")
    tree = LabelTree.from_columns(columns_of(rows, ranks), ranks)
    for node in range(len(tree)):
        assert tree.node(tree.key(node)) == node
        assert node in tree.find(tree.names[node])
    nodes = tree.nodes_of(columns_of(rows, ranks))
    assert [tree.key(n) for n in nodes] == [trimmed(row) for row in rows]
    prefixes = {trimmed(row[:i]) for row in rows for i in range(1, 4)} - {()}
    assert {tree.key(n) for n in range(len(tree))} == prefixes


def steps(tree: LabelTree, start: int) -> dict[int, int]:
    """Distances from a node by walking the edges, over a virtual root -1."""
    far, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        near = [*tree.children(node).tolist(), *([int(tree.parent[node])] if node >= 0 else [])]
        for other in near:
            if other not in far:
                far[other] = far[node] + 1
                queue.append(other)
    return far


@given(rows_of(4))
@settings(max_examples=50, deadline=None)
def test_distance_is_a_metric(rows):
    tree = LabelTree.from_columns(columns_of(rows), RANKS)
    ids = np.arange(len(tree))
    table = tree.distance(ids[:, None], ids)
    assert table.tolist() == [[steps(tree, a)[b] for b in ids.tolist()] for a in ids.tolist()]
    assert (table == table.T).all()
    assert ((table == 0) == np.eye(len(ids), dtype=bool)).all()
    assert (table[:, None, :] <= table[:, :, None] + table[None, :, :]).all()


@given(rows_of(4), st.data())
@settings(deadline=None)
def test_every_node_is_in_one_group_with_a_name_of_its_own(rows, data):
    tree = LabelTree.from_columns(columns_of(rows), RANKS)
    nodes = data.draw(st.lists(st.integers(0, len(tree) - 1), max_size=20))
    for number, rank in enumerate(RANKS):
        groups = tree.groups(rank, nodes)
        assert len(groups) == len(groups.names) == len(set(groups.names)) == len(groups.nodes)
        assert set(groups.codes.tolist()) == set(range(len(groups)))

        def belongs(node, number=number):
            own = tree.ancestors[node, number]
            above = [a for a in tree.ancestors[node, :number].tolist() if a >= 0]
            return (int(own), None) if own >= 0 else (-1, above[-1] if above else -1)

        for a, b in product(range(len(nodes)), repeat=2):
            together = belongs(nodes[a]) == belongs(nodes[b])
            assert (groups.codes[a] == groups.codes[b]) == together
        assert [groups.nodes[c] for c in groups.codes] == [belongs(n)[0] for n in nodes]


@given(
    st.lists(
        st.tuples(
            *[st.one_of(st.just(""), name_text)] * 3, st.one_of(st.none(), name_text), name_text
        ).filter(lambda row: any(map(clean, row[:3]))),
        min_size=1,
        max_size=10,
    )
)
@settings(deadline=None)
def test_csv_round_trip_is_exact(tmp_path_factory, rows):
    ranks = ("a", "b", "c")
    tree = LabelTree.from_columns(
        columns_of(rows, ranks),
        ranks,
        common=[row[3] for row in rows],
        synonyms=[row[4] for row in rows],
    )
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    tree.to_csv(path)
    for again in (
        LabelTree.from_csv(path, unique=True),
        LabelTree.from_csv(path, ranks),
        LabelTree.from_columns(tree.to_columns()),
    ):
        assert again.ranks == ranks
        assert again.names.tolist() == tree.names.tolist()
        assert again.ancestors.tolist() == tree.ancestors.tolist()
        for node in range(len(tree)):
            assert again.all_names(node) == tree.all_names(node)
        assert again.digest() == tree.digest()


@pytest.fixture
def data_folder() -> Path:
    folder = os.environ.get("DOMAINCLIP_TEST_DATA")
    if not folder:
        pytest.skip("DOMAINCLIP_TEST_DATA names no folder of real data")
    return Path(folder)


SEVEN = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def test_real_species(data_folder, tmp_path):
    path = data_folder / "text_taxonomy" / "rare_species.csv"
    tree = LabelTree.from_csv(path, SEVEN, unique=True)
    assert len(tree.leaves) == 400
    assert set(tree.rank[tree.leaves]) == {6}
    epithets = tree.ambiguous()
    assert epithets
    assert all(tree.rank[n] == 6 for nodes in epithets.values() for n in nodes)
    assert tree.name(tree.find("purple wartyback")[0]) == "tuberculata"
    tree.to_csv(tmp_path / "labels.csv")
    assert LabelTree.from_csv(tmp_path / "labels.csv").digest() == tree.digest()


def test_real_lineages_with_gaps(data_folder):
    ranks = (*SEVEN[:-1], "scientific_name")
    table = read_table(data_folder / "text_taxonomy" / "arthropods_france.csv")
    whole = LabelTree.from_columns(table, ranks)
    assert len(whole.leaves) == 1191
    beetles = {f for f, o in zip(table["family"], table["order"], strict=True) if o == "Coleoptera"}
    table["family"] = ["" if name in beetles else name for name in table["family"]]
    tree = LabelTree.from_columns(table, ranks)
    assert len(tree.leaves) == 1191
    families = tree.groups("family", tree.leaves)
    before = whole.groups("family", whole.leaves)
    assert set(before.names) - set(families.names) == beetles
    assert set(families.names) - set(before.names) == {"no family, under Coleoptera"}
    assert len(families.codes) == 1191
