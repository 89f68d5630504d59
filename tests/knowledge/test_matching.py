"""Which page is taken for a label: two wikis whole, and single traps on wikis of a page or two."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.knowledge.boxes import read_box
from domainclip.knowledge.fetch import fetch
from domainclip.knowledge.naming import Names, is_same, is_title
from domainclip.knowledge.openings import (
    category_says,
    defining_phrases,
    is_place,
    lists_meanings,
    was_called,
)
from domainclip.knowledge.store import KnowledgeStore
from domainclip.knowledge.wikipedia import WikipediaProvider

HERE = Path(__file__).parent
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
LEP = "Animalia>Arthropoda>Insecta>Lepidoptera"
MOTH = f"{LEP}>Noctuidae>Lychnia"
ALBA = f"{MOTH}>Lychnia alba"
MINT = "Plantae>Tracheophyta>Magnoliopsida>Lamiales>Lamiaceae"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SERVER = load(HERE / "wiki_server.py")
BENCHMARK = load(HERE.parents[1] / "benchmarks" / "wiki_matching.py")


def biology_tree(label, common="", synonyms=()):
    parts = label.split(">")
    columns = {rank: [parts[i] if i < len(parts) else ""] for i, rank in enumerate(RANKS)}
    return LabelTree.from_columns(columns, RANKS, common=[common], synonyms=[synonyms])


def ask(domain, label, *pages, common="", synonyms=(), **rules):
    field = get_domain(domain)
    tree = biology_tree(label, common, synonyms) if domain == "biology" else field.labels()

    async def work(url):
        wiki = replace(field.knowledge.wiki, **rules)
        provider = WikipediaProvider(wiki, contact="me@example.org", site=url, rate=1e4)
        answer = await provider.ask(tree, tree.node(tuple(label.split(">"))))
        await provider.close()
        return answer

    with SERVER.Wiki(pages) as wiki:
        return asyncio.run(work(wiki.url))


def page(title, text="A thing.", **more):
    return {"title": title, "text": text, **more}


@pytest.mark.parametrize("which", ["first", "second"])
def test_the_cases_of_a_wiki(which):
    results = BENCHMARK.measure(which)
    assert len(results) >= 80
    wrong = [(r.case.label[-1], r.page, r.answer.reason) for r in results if r.wrong_page]
    assert not wrong
    there = [r for r in results if r.case.expected["page"]]
    missed = [(r.case.label[-1], r.answer.reason) for r in there if not r.right]
    assert len(missed) <= 0.05 * len(there), missed
    assert sum(r.requests for r in results) / len(results) < 6


def test_the_nearest_ancestor_with_a_page_stands_in(tmp_path):
    cases = [c for c in BENCHMARK.read_cases("wiki_cases.yaml") if "above" in c.expected]
    assert len(cases) >= 10
    rules, tree = BENCHMARK.open_fields(cases, True)[""]
    with (
        SERVER.Wiki(SERVER.load_pages(BENCHMARK.WIKIS["first"][1])) as wiki,
        KnowledgeStore(tmp_path / "a.sqlite") as store,
    ):
        provider = WikipediaProvider(rules, contact="me@example.org", site=wiki.url, rate=1e4)
        fetch(provider, tree, [tree.node(case.label) for case in cases], store)
        for case in cases:
            line = [case.label[:i] for i in range(len(case.label), 0, -1)]
            found = next(key for key in line if key[-1] and store.own(key))
            assert found[-1] == case.expected["above"], case.label


@pytest.mark.parametrize(
    ("label", "text", "categories"),
    [
        (MOTH, "Lychnia is a genus of wasps that kill Noctuidae and other Lepidoptera.", []),
        (MOTH, "Lychnia is a genus of wasps.", ["Parasitoids of Lepidoptera", "Braconidae"]),
        (MOTH, "Lychnia is a food plant of Lepidoptera.", ["Lepidoptera food plants"]),
        (MOTH, "Lychnia is a parasite of the family Noctuidae.", []),
        (MOTH, "Lychnia, a food plant of many Noctuidae, is a genus of herbs.", []),
        (MOTH, "In Noctuidae studies, Lychnia is a magazine.", []),
        (MOTH, "Lychnia was a pseudonym (he wrote on Lepidoptera).", ["Noctuidae collectors"]),
        (MOTH, "HMS Lychnia was a ship named after a moth in the family Noctuidae.", []),
        (MOTH, "Lychnia is a game in which the player hunts Lepidoptera.", []),
        (f"{MINT}>Lychnia", "Lychnia is a genus of fungi on Lamiaceae.", ["Lamiaceae diseases"]),
    ],
)
def test_an_ancestor_in_passing_does_not_vouch(label, text, categories):
    answer = ask("biology", label, page("Lychnia", text, categories=categories))
    assert answer.status == "refused", answer.reason


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("Lychnia is a genus of moths in the family Noctuidae.", []),
        ("Lychnia, the campions, is a genus of the moth family Noctuidae found in Asia.", []),
        ("Lychnia is a genus of small moths, the campions, in the family Noctuidae.", []),
        ("Lychnia was named by Smith. It is a genus of moths of the family Noctuidae.", []),
        ("Lychnia (Smith, 1850) is a noctuid moth genus belonging to Noctuidae.", []),
        ("Lychnia is a genus of moths.", ["Noctuidae genera"]),
        ("Lychnia is a genus of moths.", ["Noctuidae"]),
    ],
)
def test_an_ancestor_in_the_definition_does(text, categories):
    answer = ask("biology", MOTH, page("Lychnia", text, categories=categories))
    assert answer.status == "found", answer.reason


@pytest.mark.parametrize(
    ("label", "box", "found"),
    [
        (MOTH, "@lep; F Noctuidae; G Lychnia", True),
        (MOTH, "@lep; F incertae sedis; G Lychnia", True),
        (MOTH, "@lep; F Erebidae; G Lychnia", True),  # moved to a family beside it
        (MOTH, "@ins; O Coleoptera; F Carabidae; G Lychnia", False),
        (MOTH, "K Plantae; F incertae sedis; G Lychnia", False),
        (MOTH, "K Plantae; O Rosales; G Lychnia", False),
        (MOTH, "@lep; F Noctuidae; G Lychnis", True),  # now within another, under its old title
        (MOTH, "@lep; F Erebidae; G Catocala", False),
        (MOTH, "@lep; F Noctuidae", False),
        (MOTH, "@lep; F Noctuidae; G Lychnia; S Lychnia alba", True),
        ("Animalia>>>>>Lychnia", "K Plantae; O Rosales; G Lychnia", False),
        ("Animalia>>>>>Lychnia", "K Animalia; O Rosales; G Lychnia", True),
    ],
)
def test_ranks_must_agree(label, box, found):
    answer = ask("biology", label, page("Lychnia", "It is.", box=box))
    assert (answer.status == "found") is found, answer.reason


def test_a_new_name_above_is_no_other_group():
    label = (
        "Bacteria>Proteobacteria>Gammaproteobacteria>Enterobacterales>Enterobacteriaceae>Lychnia"
    )
    box = "K Pseudomonadati; P Pseudomonadota; C Gammaproteobacteria; O Enterobacterales; "
    box += "F Enterobacteriaceae; G Lychnia"
    assert ask("biology", label, page("Lychnia", "It is.", box=box)).status == "found"


def test_a_search_for_a_missing_label_does_not_end_at_its_sister():
    box = "@lep; F Noctuidae; G Lychnia; S Lychnia {}"
    sisters = [
        page(f"Lychnia {name}", "Like Lychnia macrophylla.", box=box.format(name))
        for name in ("microphylla", "macrophyllina", "albata")
    ]
    for name in ("macrophylla", "alba"):
        answer = ask("biology", f"{MOTH}>Lychnia {name}", *sisters)
        assert answer.status == "missing", answer.reason


@pytest.mark.parametrize("title", ["Lychnia albus", "Lychnia album"])
def test_another_gender_of_a_name_is_the_name(title):
    box = f"@lep; F Noctuidae; G Lychnia; S {title}"
    answer = ask("biology", ALBA, page(title, f"{title} is a moth.", box=box))
    assert answer.records[0].title == title


def test_a_list_of_members_in_a_box_is_not_the_name_of_the_page():
    box = "@lep; F Noctuidae; G Lychnia"
    genus = page("Lychnia", "Lychnia is a genus.", box=box, members=["Lychnia alba"])
    assert ask("biology", ALBA, genus).status == "missing"


def test_a_redirect_to_the_genus_is_about_the_genus():
    box = "@lep; F Noctuidae; G Lychnia"
    for redirect in ("Lychnia alba", "Lychnia alba#Species"):
        answer = ask("biology", ALBA, page("Lychnia", "A genus.", box=box, redirects=[redirect]))
        assert answer.records[0].subject[-1] == "Lychnia" and answer.records[0].inherited


def test_a_redirect_to_a_list_is_no_page():
    pages = page("List of moths", "A list of moths of Noctuidae.", redirects=["Lychnia alba#L"])
    assert ask("biology", ALBA, pages).status == "missing"


def test_a_genus_of_several_is_not_one_of_them():
    member = page(
        "Lychnia alba", "A moth.", box="@lep; F Noctuidae; G Lychnia; S Lychnia alba",
        redirects=["Lychnia"],
    )  # fmt: skip
    whole = page("Lychnia (moth)", "Lychnia is a genus.", box="@lep; F Noctuidae; G Lychnia")
    assert ask("biology", MOTH, member, whole).records[0].title == "Lychnia (moth)"
    assert ask("biology", MOTH, member).records[0].title == "Lychnia alba"


def test_a_common_name_alone_is_not_enough():
    text = "The white blue is a butterfly in the family Noctuidae."
    box = "@lep; F Noctuidae; G Leptotes; S Leptotes albus"
    for other in (page("White blue", text), page("White blue", text, box=box)):
        assert ask("biology", ALBA, other, common="white blue").status == "refused"
    right = page("White blue", text.replace("blue is", "blue (Lychnia alba) is"))
    assert ask("biology", ALBA, right, common="white blue").status == "found"


def test_epithets_are_read_with_their_genus():
    box = "@lep; F Noctuidae; G Lychnia; S Lychnia alba"
    pages = page("Alba", "Alba is Scotland."), page("Lychnia alba", "A moth.", box=box)
    assert ask("biology", f"{MOTH}>alba", *pages).records[0].title == "Lychnia alba"


def test_hybrids_are_found_by_their_plain_name():
    box = "@plant; O Lamiales; F Lamiaceae; G Mentha; S Mentha × piperita"
    mint = page("Peppermint", "A mint.", box=box, redirects=["Mentha piperita"])
    assert ask("biology", f"{MINT}>Mentha>Mentha piperita", mint).status == "found"


def test_the_right_one_of_many_meanings_is_found():
    links = [f"Lychnia ({place})" for place in range(60)]
    pages = [page(link, f"Lychnia is town {link}.") for link in links]
    box = "@lep; F Noctuidae; G Lychnia"
    pages.append(page("Lychnia (moth)", "A moth.", box=box, categories=["Noctuidae"]))
    meanings = page(
        "Lychnia", "Lychnia may refer to:", disambiguation=True, links=[*links, "Lychnia (moth)"]
    )
    answer = ask("biology", MOTH, meanings, *pages)
    assert answer.records and answer.records[0].title == "Lychnia (moth)"


@pytest.mark.parametrize("name", ["a|b", "a#b", "de:Lychnia", "[[Lychnia]]", "<b>"])
def test_names_that_no_page_can_have_are_not_asked_for(name):
    assert ask("biology", f"{MOTH}>{name}").status == "missing"


@pytest.mark.parametrize(
    ("domain", "label", "text", "categories"),
    [
        (
            "remote_sensing", "agriculture>tree crop>orchard",
            "Orchard is a village in Antelope County with land and a plantation.",
            ["Villages in Nebraska"],
        ),
        (
            "remote_sensing", "built-up>leisure>stadium",
            "Stadium is a 1934 film set in a sports venue.", ["Films about sports venues"],
        ),
        (
            "remote_sensing", "water>inland water>river",
            "River is a song about a body of water.", ["Songs about rivers"],
        ),
        ("remote_sensing", "nature>wet land>wetland", "Wetland is a company that sells land.", []),
        ("remote_sensing", "water>coast>harbour", "Harbour is a surname of the coast.", []),
        (
            "medical", "erythrocyte>poikilocytic series>membrane-altered poikilocyte>codocyte",
            "Codocyte is a band whose songs are about blood.", [],
        ),
    ],
)  # fmt: skip
def test_other_things_of_a_common_word_are_refused(domain, label, text, categories):
    title = label.split(">")[-1].capitalize()
    assert ask(domain, label, page(title, text, categories=categories)).status == "refused"


@pytest.mark.parametrize(
    ("domain", "label", "text"),
    [
        ("remote_sensing", "water>coast>beach", "A beach is a landform alongside a body of water."),
        ("remote_sensing", "nature>woodland>forest", "A forest is an ecosystem full of trees."),
        ("medical", "leukocyte>mast cell series>>mastocyte",
         "A mastocyte is a resident cell of connective tissue with many granules."),
    ],
)  # fmt: skip
def test_definitions_of_a_common_word_are_taken(domain, label, text):
    title = label.split(">")[-1].capitalize()
    answer = ask(domain, label, page(title, text))
    assert answer.status == "found", answer.reason


def test_a_site_in_another_language_is_read_by_its_box():
    box = {"Reich": "Tiere", "Ordnung": "Lepidoptera", "Familie": "Noctuidae", "Gattung": "Lychnia"}
    boxes = {
        "kingdom": ("reich",), "order": ("ordnung",), "family": ("familie",), "genus": ("gattung",)
    }  # fmt: skip
    moth = page("Lychnia", "Lychnia ist eine Gattung.", box=box)
    assert ask("biology", MOTH, moth, language="de", boxes=boxes).status == "found"
    moth["box"] = {**box, "Ordnung": "Rosales", "Familie": "Rosaceae"}
    assert ask("biology", MOTH, moth, language="de", boxes=boxes).status == "refused"


def test_a_box_is_read_row_by_row():
    box = read_box(
        '<table><tr><td>Order:</td><td>no box</td></tr></table><table class="infobox biota">'
        '<tr><th colspan="2"><i>Lychnia</i></th></tr><tr><td colspan="2"><img></td></tr>'
        "<tr><td>Order:\n</td>\n<td><a>Lepidoptera</a><sup class='reference'>[1]</sup>\n</td></tr>"
        "<tr><td>Genus:</td><td><i>Lychnia</i><br><small>Smith, 1850</small></td></tr>"
        "<tr><td colspan=2><table><tr><td>Family:</td><td>of maps</td></tr></table></td></tr>"
        '<tr><th colspan="2">Synonyms</th></tr><tr><td colspan="2"><ul><li><i>Lychna</i></li>'
        "<li>Lychnos</li></ul></td></tr></table>"
        '<table class="infobox"><tr><td>Phylum:</td><td>another box</td></tr></table>'
    )
    assert box.rows == {"order": "Lepidoptera", "genus": "Lychnia"}
    assert box.parts["synonyms"] == ("Lychna", "Lychnos")
    assert not read_box("<p>nothing</p>") and not read_box('<table class="infobox">')


@pytest.mark.parametrize(
    ("said", "name", "same"),
    [
        ("Papilio Linnaeus, 1758", "Papilio", True),
        ("†Papilio", "papilio", True),
        ("Heliconius charithonia", "Heliconius charitonia", True),
        ("Colias crocea", "Colias croceus", True),
        ("Aloë vera", "Aloe vera", True),
        ("Ficus microphylla", "Ficus macrophylla", False),
        ("Carex flava", "Carex flacca", False),
        ("Papilio", "Papilio machaon", False),
        ("Papiliones", "Papilio", False),
    ],
)
def test_spellings(said, name, same):
    assert is_same(said, name, ("us", "a", "um")) is same


@pytest.mark.parametrize(
    ("title", "name", "same"),
    [
        ("Pieris (butterfly)", "Pieris", True),
        ("Golf courses", "golf course", True),
        ("Golden Rain", "golden rain", False),
        ("Golden rain", "Golden Rain", True),
        ("WBC", "WBC", True),
        ("Glass", "glas", False),
    ],
)
def test_titles(title, name, same):
    assert is_title(title, name) is same


def test_names_of_a_label():
    tree = biology_tree(ALBA, common="white one", synonyms=("Alba alba",))
    names = Names(tree, len(tree) - 1)
    assert names.formal == ("Lychnia alba", "Alba alba")
    assert names.titles() == ("Lychnia alba", "Alba alba", "white one")
    assert [tree.names[n] for n in names.carried] == ["Lychnia"]


def test_openings():
    def phrase(text):
        return next(defining_phrases(text, RANKS), "").strip()

    assert phrase("A lake is a large, fixed body of water on land.").endswith("body of water")
    assert phrase("X is a place in the order Y.") == "a place in the order Y."
    assert phrase("X (which is a Z) is a genus of herbs eaten by Y.") == "a genus of herbs eaten"
    assert phrase("No verb here.") == ""
    assert is_place("Orchard is a village in Antelope County.")
    assert not is_place("An orchard is a piece of land in the country.")
    assert lists_meanings("Argus may refer to:\nA\nB") and not lists_meanings("It may refer to X.")
    assert was_called("The toad, formerly Bufo marinus, is large.", "Bufo marinus")
    assert not was_called("Smaller than the toad Bufo marinus.", "Bufo marinus")
    assert category_says("Moths of Asia", "moth", RANKS)
    assert category_says("Noctuidae genera", "Noctuidae", RANKS)
    assert not category_says("Food plants of Noctuidae", "Noctuidae", RANKS)
