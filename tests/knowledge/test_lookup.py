"""What is known of a label: its own, else its nearest ancestor's, and the shipped sheets."""

import time

import pytest

from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.knowledge.lookup import open_knowledge, store_path
from domainclip.knowledge.records import Answer, Record, Trait
from domainclip.knowledge.store import KnowledgeStore

RANKS = ("kingdom", "family", "genus", "species")
CAT = ("Animalia", "Felidae", "Felis", "Felis catus")


@pytest.fixture
def domain():
    return get_domain("biology")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.sqlite"


def tree_of(*keys, ranks=RANKS):
    columns = {r: [k[i] if i < len(k) else "" for k in keys] for i, r in enumerate(ranks)}
    return LabelTree.from_columns(columns, ranks)


def put(path, label, *texts, provider="wikipedia", traits=(), status="found"):
    said = tuple(Trait(text=t, sentence=texts[0], source=provider, revision="5") for t in traits)
    records = tuple(
        Record(
            label=label, subject=label, source=provider, text=text, revision="5",
            traits=said if number == 0 else (),
        )
        for number, text in enumerate(texts)
    )  # fmt: skip
    with KnowledgeStore(path) as store:
        store.put(provider, label, Answer(status, records))


def test_own_records_come_before_those_of_ancestors(domain, path):
    tree = tree_of(
        CAT, (*CAT[:3], "Felis silvestris"), ("Animalia", "Felidae", "Lynx", "Lynx lynx")
    )
    put(path, CAT, "A house cat.", traits=["grey fur"])
    put(path, CAT[:3], "Small cats.", traits=["pointed ears"])
    put(path, CAT[:2], "Cats.")
    with open_knowledge(domain, tree, path) as base:
        (own,) = base.records(tree.node(CAT))
        assert own.text == "A house cat." and not own.inherited
        wild = tree.node((*CAT[:3], "Felis silvestris"))
        (nearest,) = base.records(wild)
        assert nearest.text == "Small cats." and nearest.inherited
        assert nearest.label == tree.key(wild) and nearest.subject == CAT[:3]
        (family,) = base.records(tree.node(("Animalia", "Felidae", "Lynx", "Lynx lynx")))
        assert family.subject == CAT[:2]
        assert [trait.text for trait in base.traits(wild)] == ["pointed ears"]
        assert base.known(wild) == {}  # of a group, not of each label in it


def test_records_of_all_providers_are_there(domain, path):
    tree = tree_of(CAT)
    put(path, CAT, "One.", traits=["grey fur"])
    put(path, CAT, "Two.", provider="table:x.csv", traits=["Grey fur", "a long tail"])
    with open_knowledge(domain, tree, path) as base:
        node = tree.node(CAT)
        assert {record.text for record in base.records(node)} == {"One.", "Two."}
        assert sorted(t.text.lower() for t in base.traits(node)) == ["a long tail", "grey fur"]


def test_nothing_is_known_and_no_file_is_made(domain, path):
    tree = tree_of(CAT)
    with open_knowledge(domain, tree, path) as base:
        node = tree.node(CAT)
        assert base.records(node) == () == base.traits(node)
        assert base.revision(node) == ""
        assert base.known(node) == {}
    assert not path.exists()


def test_a_list_of_names_finds_what_was_stored_with_lineages(domain, path):
    lynx = ("Animalia", "Felidae", "Lynx", "Lynx lynx")
    put(path, CAT, "A house cat.")
    put(path, lynx[:2], "Cats.")
    put(path, lynx, status="missing")
    for tree in (tree_of(("felis_catus",), ("Lynx lynx",), ranks=("label",)),
                 tree_of(("", "", "", "Felis catus"), ("", "", "", "Lynx lynx"))):  # fmt: skip
        with open_knowledge(domain, tree, path) as base:
            (record,) = base.records(0)
            assert record.text == "A house cat." and not record.inherited
            assert record.label == tree.key(0)
            (record,) = base.records(1)  # by the stored lineage: this tree has nothing to climb
            assert (record.text, record.subject) == ("Cats.", lynx[:2]) and record.inherited


def test_a_name_of_two_lineages_matches_neither(domain, path):
    plant, bird = ("Plantae", "Moraceae", "Morus"), ("Animalia", "Sulidae", "Morus")
    put(path, plant, "A tree.")
    put(path, bird, "A bird.")
    tree = tree_of(("Morus",), ranks=("label",))
    with open_knowledge(domain, tree, path) as base:
        assert base.records(0) == ()
    tree = tree_of(("Animalia", "", "Morus"))
    with open_knowledge(domain, tree, path) as base:
        assert [r.text for r in base.records(tree.node(("Animalia", "", "Morus")))] == ["A bird."]


def test_another_lineage_does_not_match(domain, path):
    put(path, ("Plantae", "Moraceae", "Morus"), "A tree.")
    tree = tree_of(("Animalia", "Sulidae", "Morus"))
    with open_knowledge(domain, tree, path) as base:
        assert base.records(tree.node(("Animalia", "Sulidae", "Morus"))) == ()


@pytest.mark.parametrize("name", ["biology", "medical", "remote_sensing"])
def test_every_label_with_a_sheet_has_a_record_that_says_it(name, path):
    domain = get_domain(name)
    tree = domain.labels()
    with open_knowledge(domain, tree, path) as base:
        for sheet in domain.builtin.sheets():
            node = tree.node(sheet.label)
            (record,) = base.records(node)
            assert (record.source, record.licence) == ("sheet", "MIT")
            assert record.subject == sheet.label and record.text and record.revision
            assert record.traits and base.traits(node) == record.traits
            known = base.known(node)
            said = {t: v for t, v in sheet.traits.items() if v and t in known}
            assert said and all(v in known[t] for t, v in said.items())


def test_a_sheet_stands_back_where_something_is_stored_of_the_label_itself(domain, path):
    tree = domain.labels()
    sheet, other = domain.builtin.sheets()[:2]
    put(path, sheet.label, "It has pink wings.", traits=["pink wings"])
    put(path, other.label, "")
    put(path, other.label[:-1], "A genus.")
    with open_knowledge(domain, tree, path) as base:
        node, next_one = tree.node(sheet.label), tree.node(other.label)
        assert [r.source for r in base.records(node)] == ["wikipedia"]
        assert [r.source for r in base.idle_sheet(node)] == ["sheet"]
        assert [t.text for t in base.traits(node)] == ["pink wings"]
        assert base.known(node) == {"ground colour": {"pink"}}  # no colour of the sheet
        assert base.records(next_one)[0].source == "sheet"  # an empty record says nothing
        assert base.idle_sheet(next_one) == ()
    flat = tree_of((sheet.label[-1],), ranks=("label",))
    with open_knowledge(domain, flat, path) as base:
        assert [r.source for r in base.records(0)] == ["wikipedia"]


def test_a_sheet_comes_before_the_records_of_an_ancestor(domain, path):
    tree = domain.labels()
    label = domain.builtin.sheets()[0].label
    put(path, label[:-1], "A group.")
    with open_knowledge(domain, tree, path) as base:
        records = base.records(tree.node(label))
        assert [(r.source, r.inherited) for r in records] == [("sheet", False), ("wikipedia", True)]
        assert base.idle_sheet(tree.node(label)) == ()


def test_what_holds_for_some_individuals_is_no_known_value(domain, path):
    tree = tree_of(CAT)
    texts = {"yellow wings": "yellow wings in the male and pale wings in the female",
             "a black margin": "All have a black margin."}  # fmt: skip
    traits = tuple(Trait(text=t, sentence=s, source="wikipedia") for t, s in texts.items())
    record = Record(label=CAT, subject=CAT, source="wikipedia", text="Text.", traits=traits)
    with KnowledgeStore(path) as store:
        store.put("wikipedia", CAT, Answer("found", (record,)))
    with open_knowledge(domain, tree, path) as base:
        node = tree.node(CAT)
        assert base.known(node) == {"margin": {"black"}}
        assert base.open_traits(node) == {"ground colour"}
        assert len(base.traits(node)) == 2  # prompts still quote it


def test_the_revision_changes_with_whatever_would_be_used(domain, path):
    tree = tree_of(CAT)
    node = tree.node(CAT)
    seen = set()
    put(path, CAT[:2], "Cats.")
    for texts, traits in ((), ()), (("One.",), ()), (("One.",), ("grey",)), (("Two.",), ("grey",)):
        if texts:
            put(path, CAT, *texts, traits=traits)
        with open_knowledge(domain, tree, path) as base:
            seen.add(base.revision(node))
            assert base.revision(node) == base.revision(node)
    assert len(seen) == 4
    put(path, ("Plantae",), "Something else.")
    with open_knowledge(domain, tree, path) as base:
        assert base.revision(node) in seen


def test_the_default_store_lies_in_the_cache_folder(domain, monkeypatch, tmp_path):
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path))
    assert store_path(domain) == tmp_path / "knowledge" / "biology.sqlite"
    put(store_path(domain), CAT, "A cat.")
    tree = tree_of(CAT)
    with open_knowledge(domain, tree) as base:
        assert base.records(tree.node(CAT))[0].text == "A cat."


def test_a_damaged_store_is_said_and_the_sheets_remain(domain, path):
    path.write_bytes(b"junk")
    tree = domain.labels()
    with open_knowledge(domain, tree, path) as base:
        (message,) = base.messages
        assert "a.sqlite.bad" in message
        assert base.records(tree.node(domain.builtin.sheets()[0].label))


def test_many_labels_cost_nothing_until_they_are_asked_for(domain, path):
    genera = [f"Genus{i // 20}" for i in range(100_000)]
    names = [f"{genus} species{i}" for i, genus in enumerate(genera)]
    tree = LabelTree.from_columns({"genus": genera, "species": names})
    put(path, ("Genus7",), "A genus.")
    start = time.perf_counter()
    with open_knowledge(domain, tree, path) as base:
        for node in tree.leaves[:2000].tolist():
            base.records(node)
        assert base.records(tree.node(("Genus7", "Genus7 species145")))[0].text == "A genus."
    assert time.perf_counter() - start < 5
