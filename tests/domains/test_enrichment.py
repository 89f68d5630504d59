"""What a user's tree takes from a domain's tree, and what it keeps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.labels import LabelTree

RANKS = ("class", "family", "species")
DOMAIN = LabelTree.from_yaml(
    {
        "Insecta": {
            "_common": "insects",
            "Nymphalidae": {
                "_common": "brush-foots",
                "Danaus plexippus": {"_common": "monarch", "_synonyms": "milkweed butterfly"},
                "Vanessa atalanta": {"_common": "red admiral"},
                "Limenitis arthemis": {"_common": "Admiral"},
            },
            "Chrysomelidae": {"Aus bus": {"_common": "leaf beetle"}},
        },
        "Aves": {"Tyrannidae": {"Aus bus": {}, "Tyrannus": {"_common": "monarch"}}},
    },
    RANKS,
)


def flat(*labels: str, rank: str = "label", **names) -> LabelTree:
    return LabelTree.from_columns({rank: labels}, **names)


def test_a_flat_tree_takes_lineages_by_any_name():
    own = flat("red_admiral", "Milkweed Butterfly", "NYMPHALIDAE", "dragon")
    tree, matched, nodes = own.enrich(DOMAIN)
    assert matched == 3
    assert tree.ranks == RANKS
    assert [tree.key(n) for n in nodes] == [
        ("Insecta", "Nymphalidae", "Vanessa atalanta"),
        ("Insecta", "Nymphalidae", "Danaus plexippus"),
        ("Insecta", "Nymphalidae"),
        ("", "", "dragon"),
    ]
    assert tree.name(int(nodes[0]), "common") == "red admiral"
    assert tree.find("milkweed butterfly") == (nodes[1],)
    assert tree.name(tree.node(("Insecta",)), "common") == "insects"
    assert len(tree) == 5
    assert tree.groups("class", nodes).names == ("Insecta", "no class")


def test_names_of_two_labels_are_no_match_unless_one_is_formal():
    own = flat("monarch", "Aus bus", "red admiral")
    tree, matched, nodes = own.enrich(DOMAIN)
    assert matched == 1
    assert [tree.key(n) for n in nodes[:2]] == [("", "", "monarch"), ("", "", "Aus bus")]
    domain = LabelTree.from_columns({"a": ["x", "y"]}, common=["y", None])
    assert flat("y").enrich(domain).tree.synonyms(0) == ()
    assert flat("y").enrich(domain).tree.name(0, "common") is None


def test_two_labels_of_the_user_never_become_one():
    own = flat("red admiral", "Vanessa atalanta", "danaus plexippus")
    tree, matched, nodes = own.enrich(DOMAIN)
    assert matched == 1
    assert len(set(nodes.tolist())) == 3
    assert [tree.names[n] for n in nodes[:2]] == ["red admiral", "Vanessa atalanta"]


def test_own_names_stay():
    own = flat("Vanessa atalanta", common=["Vulcan"], synonyms=["Pyrameis atalanta"])
    tree, _, nodes = own.enrich(DOMAIN)
    assert tree.all_names(int(nodes[0])) == (
        "Vanessa atalanta",
        "Vulcan",
        "Pyrameis atalanta",
        "red admiral",
    )


def test_a_flat_tree_of_which_nothing_matches_stays_flat():
    own = flat("dragon", "unicorn")
    tree, matched, nodes = own.enrich(DOMAIN)
    assert tree is own
    assert matched == 0
    assert nodes.tolist() == [0, 1]


def test_an_unmatched_label_stays_at_its_own_rank():
    own = flat("Nymphalidae", "Dracidae", rank="family")
    tree, _, nodes = own.enrich(DOMAIN)
    assert tree.key(int(nodes[1])) == ("", "Dracidae")


def test_a_tree_with_ranks_keeps_its_lineages_and_takes_names():
    own = LabelTree.from_columns(
        {
            "family": ["nymphalidae", "Tyrannidae", "Dracidae", "Chrysomelidae"],
            "species": ["Danaus_plexippus", "Aus bus", "Aus bus", "red admiral"],
        }
    )
    tree, matched, nodes = own.enrich(DOMAIN)
    assert nodes.tolist() == list(range(len(own)))
    assert [tree.key(n) for n in range(len(tree))] == [own.key(n) for n in range(len(own))]
    assert matched == 2  # the monarch and the bird; the lineage of no other agrees
    monarch = tree.node(("nymphalidae", "Danaus_plexippus"))
    assert tree.all_names(monarch) == ("Danaus_plexippus", "monarch", "milkweed butterfly")
    assert tree.name(tree.node(("nymphalidae",)), "common") == "brush-foots"
    assert tree.name(tree.node(("Tyrannidae", "Aus bus")), "common") is None
    assert tree.name(tree.node(("Chrysomelidae", "red admiral")), "common") is None


def test_a_homonym_matches_where_the_lineage_decides():
    own = LabelTree.from_columns({"class": ["Insecta", ""], "species": ["Aus bus", "Aus bus"]})
    tree, matched, _ = own.enrich(DOMAIN)
    assert matched == 1  # the beetle; without a class the name means two
    assert tree.name(tree.node(("Insecta", "Aus bus")), "common") == "leaf beetle"
    assert tree.name(tree.node(("", "Aus bus")), "common") is None


def test_other_ranks_match_nothing():
    own = LabelTree.from_columns({"a": ["Insecta"], "b": ["Danaus plexippus"]})
    assert own.enrich(DOMAIN).matched == 0


labels = st.sampled_from(
    ["monarch", "Aus bus", "red admiral", "Vanessa_atalanta", "insects", "dragon", "A", "b"]
)


@given(st.lists(labels, min_size=1, unique=True))
@settings(deadline=None)
def test_labels_stay_apart_and_keep_a_name(names):
    tree, matched, nodes = flat(*names).enrich(DOMAIN)
    assert len(set(nodes.tolist())) == len(names)
    assert 0 <= matched <= len(names)
    for name, node in zip(names, nodes.tolist(), strict=True):
        assert node in tree.find(name)
