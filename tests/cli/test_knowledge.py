"""`domainclip knowledge` as a person types it."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.knowledge.records import Answer, Record, Trait
from domainclip.knowledge.store import KnowledgeStore

PLANT = ("Plantae", "", "", "", "", "Morus")
BIRD = ("Animalia", "", "", "", "", "Morus")


def run(*args, env=None):
    command = ["knowledge", *map(str, args)]
    return CliRunner().invoke(app, command, prog_name="domainclip", env=env or {})


def put(path, label, text, provider="wikipedia", status="found", **more):
    record = Record(label=label, subject=label, source=provider, text=text, **more)
    with KnowledgeStore(path) as store:
        store.put(provider, label, Answer(status, (record,) if text else (), "by its title"))


def _load(place):
    """Import a server of the tests, which are no package."""
    name = Path(place).stem
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / place)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = (
    {
        "title": "Papilio machaon",
        "box": "K Animalia; P Arthropoda; C Insecta; O Lepidoptera; F Papilionidae; G Papilio; "
        "S Papilio machaon",
        "text": "Papilio machaon is a butterfly of the family Papilionidae.\n\n== Description ==\n"
        "The wings are yellow with black veins. It weighs half a gram.\n",
    },
    {
        "title": "Papilionidae",
        "box": "K Animalia; P Arthropoda; C Insecta; O Lepidoptera; F Papilionidae",
        "text": "Papilionidae are a family of butterflies in the order Lepidoptera.\n\n"
        "== Appearance ==\nThe wings often have tails.\n",
    },
)


@pytest.fixture
def wiki():
    with _load("knowledge/wiki_server.py").Wiki(PAGES) as wiki:
        yield wiki


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "a.sqlite"
    trait = Trait(text="a yellow wing", sentence="It has a yellow wing.", source="wikipedia")
    put(
        path,
        ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Papilionidae"),
        "It has a yellow wing. It flies in May.",
        title="Swallowtail butterfly",
        section="Description",
        revision="123",
        licence="CC BY-SA 4.0",
        url="https://example.org/Swallowtail",
        traits=(trait,),
    )
    put(path, PLANT, "A tree.")
    put(path, BIRD, "A bird.")
    put(path, ("Felis catus",), "A house cat.")
    return path


def show(store, *args):
    return run("show", *args, "--domain", "biology", "--store", store)


def test_show_says_page_revision_licence_and_whose_text_it_is(store):
    told = json.loads(show(store, "Papilio machaon", "--json").stdout)
    assert told["label"] == "Papilio machaon" and told["common"] == "Old World swallowtail"
    sheet, page = told["records"]
    assert (sheet["source"], sheet["licence"], sheet["inherited"]) == ("sheet", "MIT", False)
    assert sheet["traits"]
    assert (page["title"], page["section"]) == ("Swallowtail butterfly", "Description")
    assert (page["revision"], page["licence"]) == ("123", "CC BY-SA 4.0")
    assert page["inherited"] and page["about"].endswith("Lepidoptera > Papilionidae")
    assert page["sentences"] == ["It has a yellow wing.", "It flies in May."]
    (trait,) = page["traits"]
    assert (trait["trait"], trait["sentence"]) == ("a yellow wing", "It has a yellow wing.")


def test_show_as_tables_and_as_traits_alone(store):
    tables = show(store, "Papilionidae").stdout
    assert "# records\nsource,title,section,revision,licence" in tables
    assert "wikipedia,Description,It flies in May.\n" in tables
    assert "a yellow wing,It has a yellow wing.,wikipedia," in tables
    assert show(store, "Papilionidae", "--quiet").stdout == "a yellow wing\n"


def test_show_on_a_terminal_is_a_page(store, monkeypatch):
    monkeypatch.setattr("domainclip.cli.output.Output.rows", None)
    monkeypatch.setattr("domainclip.cli.knowledge.LabelPage.write", lambda page, out: [
        out.line(line) for line in page._page()
    ])  # fmt: skip
    lines = show(store, "old world swallowtail").stdout.splitlines()
    assert lines[0] == "Papilio machaon (Old World swallowtail)"
    assert "wikipedia: Swallowtail butterfly, Description, revision 123, CC BY-SA 4.0" in lines
    assert any(line.startswith("  about Animalia > ") for line in lines)
    at = lines.index("  It has a yellow wing.")
    assert lines[at + 1 : at + 3] == ["    - a yellow wing", "  It flies in May."]
    idle = "  stands back: texts about the label are stored"
    assert idle not in lines
    label = ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Papilionidae", "Papilio")
    put(store, (*label, "Papilio machaon"), "It is yellow.")
    lines = show(store, "old world swallowtail").stdout.splitlines()
    assert lines[lines.index(idle) - 1].startswith("sheet: ")


def test_labels_of_the_store_that_the_domain_does_not_know(store):
    result = show(store, "felis catus", "--json")
    assert json.loads(result.stdout)["records"][0]["text" if 0 else "source"] == "wikipedia"
    assert json.loads(result.stdout)["lineage"] == "Felis catus"


def test_a_name_of_several_labels_lists_them_and_a_lineage_chooses(store):
    result = show(store, "Morus")
    assert result.exit_code == 2 and result.stdout == ""
    assert "'Morus' stands for 2 labels: Plantae > Morus; Animalia > Morus" in result.stderr
    assert 'domainclip knowledge show "Plantae > Morus" --domain biology' in result.stderr
    told = json.loads(show(store, "Animalia > Morus", "--json").stdout)
    assert told["records"][0]["sentences"] == ["A bird."]
    result = show(store, "Fungi > Morus")
    assert result.exit_code == 2 and "did you mean 'Plantae > Morus'?" in result.stderr


def test_an_unknown_name_is_told_with_a_near_one(store):
    result = show(store, "Papilio machaom")
    assert result.exit_code == 2 and result.stdout == ""
    assert "no label 'Papilio machaom'" in result.stderr
    assert "did you mean 'Papilio machaon'?" in result.stderr


def test_a_label_of_which_nothing_is_known(tmp_path):
    result = show(tmp_path / "none.sqlite", "Lepidoptera")
    assert result.exit_code == 0
    assert "nothing is known of Animalia > " in result.stderr
    way = "next: domainclip knowledge fetch --domain biology --contact you@example.org --store "
    assert way in result.stderr
    assert list(tmp_path.iterdir()) == []
    put(tmp_path / "a.sqlite", ("Animalia", "Arthropoda", "Insecta", "Lepidoptera"), "",
        status="refused")  # fmt: skip
    told = show(tmp_path / "a.sqlite", "Lepidoptera", "--json")
    (asked,) = json.loads(told.stdout)["asked"]
    assert (asked["provider"], asked["status"]) == ("wikipedia", "refused")


def test_a_damaged_store_is_set_aside_and_said(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"junk" * 100)
    result = show(path, "Papilio machaon", "--json")
    assert result.exit_code == 0 and "set aside as" in result.stderr
    assert [r["source"] for r in json.loads(result.stdout)["records"]] == ["sheet"]
    assert (tmp_path / "a.sqlite.bad").read_bytes() == b"junk" * 100


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "no contact is given"),
        (("--contact", "me"), "--contact me is no address"),
        (("--labels", "a.txt", "--data", "builtin", "--contact", "a@b.org"), "--labels and --data"),
        (("--contact", "a@b.org", "--extractor", "model"), "go together"),
        (("--contact", "a@b.org", "--model", "x"), "go together"),
        (("--from", "nowhere.csv"), "no file nowhere.csv"),
        (("--from", "nowhere.csv", "--labels", "none.txt"), "no file none.txt"),
        (("--from", "labels.csv", "--store", "labels.csv"), "no store of knowledge"),
    ],
)
def test_wrong_use_is_told_before_anything_is_asked(tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOMAINCLIP_CONTACT", raising=False)
    (tmp_path / "labels.csv").write_text("name,text\nPapilio machaon,x\n")
    result = run("fetch", "--domain", "biology", *args)
    assert result.exit_code == 2, result.output
    assert (words in result.stderr and "hint:" in result.stderr) or "no file" in words
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


def test_help_imports_nothing_heavy(run_python):
    code = (
        "import sys; sys.argv = ['domainclip', 'knowledge', 'fetch', '--help']\n"
        "from domainclip.cli.app import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'sqlite3', 'httpx', 'openai'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def fetch(folder, *args, domain="biology"):
    return run("fetch", "--domain", domain, "--store", folder / "a.sqlite", *args)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_ones_own_is_kept_and_shown(tmp_path):
    facts = write(
        tmp_path / "facts.csv",
        "name,text,licence\n"
        "Papilio machaon,It has a row of blue spots. It flies in May.,CC0\n"
        "Danaus,The wings are orange.,CC0\n",
    )
    labels = write(tmp_path / "labels.txt", "Papilio machaon\nDanaus plexippus\nVanessa atalanta\n")
    result = fetch(tmp_path, "--from", facts, "--labels", labels, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    (row,) = told["rows"]
    assert row == {
        "source": "table:facts.csv", "found": 1, "from an ancestor": 1, "missing": 1,
        "refused": 0, "failed": 0, "not asked": 0, "known before": 0,
    }  # fmt: skip
    assert "next: domainclip knowledge show 'Papilio machaon' --domain biology" in result.stderr
    use = r"next: domainclip caption --domain biology --data PICTURES --store \S+\n"
    assert re.search(use, result.stderr)
    page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
    (own,) = (r for r in page["records"] if r["source"] == "table")
    assert (own["licence"], own["title"], own["inherited"]) == ("CC0", "facts.csv", False)
    assert [t["trait"] for t in own["traits"]] == ["a row of blue spots"]
    page = json.loads(show(tmp_path / "a.sqlite", "Danaus plexippus", "--json").stdout)
    (own,) = (r for r in page["records"] if r["source"] == "table")
    assert own["inherited"] and own["about"].endswith(" > Danaus")


def test_rows_of_unknown_labels_are_each_told_and_the_rest_is_used(tmp_path):
    facts = write(
        tmp_path / "facts.csv",
        "name,text\nPapilio machaom,A.\nPapilio machaon,Yellow wings.\nNobody atall,B.\n",
    )
    result = fetch(tmp_path, "--from", facts)
    assert result.exit_code == 1
    assert "row 2: no label 'Papilio machaom'; did you mean 'Papilio machaon'?" in result.stderr
    assert "row 4: no label 'Nobody atall'" in result.stderr
    assert "error: 2 rows could not be used; the rest is kept" in result.stderr
    assert f"hint: --labels {facts} takes in labels" in result.stderr
    assert "next:" not in result.stderr
    assert "\ntable:facts.csv,1,0,0,0,0,0,0\n" in result.stdout
    page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
    assert page["records"][-1]["sentences"] == ["Yellow wings."]


def test_a_changed_file_is_read_anew_and_what_it_no_longer_says_goes(tmp_path):
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,Old.\nDanaus plexippus,D.\n")
    assert fetch(tmp_path, "--from", facts).exit_code == 0
    write(facts, "name,text\nPapilio machaon,New.\n")
    assert fetch(tmp_path, "--from", facts).exit_code == 0
    with KnowledgeStore(tmp_path / "a.sqlite", readonly=True) as store:
        texts = [r.text for label in store.labels() for r in store.own(label)]
    assert texts == ["New."]


def test_files_alone_are_asked_about_the_labels_in_them(tmp_path):
    one = write(tmp_path / "a.csv", "name,text\nPapilio machaon,A.\nDanaus,B.\n")
    two = write(tmp_path / "b.csv", "name,text\nDanaus plexippus,C.\n")
    result = fetch(tmp_path, "--from", one, "--from", two)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [
        "table:a.csv,2,1,0,0,0,0,0", "table:b.csv,1,0,2,0,0,0,0"
    ]  # fmt: skip
    write(one, "name,text\nPapilio machaon,A.\n")  # what it said of the other is taken back
    assert "\ntable:a.csv,1,0,1,0,0,0,0\n" in fetch(tmp_path, "--from", one).stdout
    write(one, "name,text\nNobody atall,A.\n")
    assert fetch(tmp_path, "--from", one, "--limit", 1).exit_code == 1


def test_the_hint_about_unknown_labels_is_given_for_those_alone(tmp_path):
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,\n,A.\n")
    result = fetch(tmp_path, "--from", facts)
    assert result.exit_code == 1 and "error: 2 rows could not be used" in result.stderr
    assert "hint:" not in result.stderr
    facts = write(tmp_path / "facts.json", '{"Felis catus": "Grey fur.", "Papilio machaon": "A."}')
    assert "hint: --labels LIST takes in labels" in fetch(tmp_path, "--from", facts).stderr
    labels = write(tmp_path / "labels.txt", "Papilio machaon\n")
    result = fetch(tmp_path, "--from", facts, "--labels", labels)
    assert f"are taken in where {labels} lists them" in result.stderr


def test_sources_are_listed_and_one_is_forgotten(store, tmp_path):
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,It has blue spots.\n")
    assert fetch(tmp_path, "--from", facts).exit_code == 0
    where = ("--domain", "biology", "--store", store)
    table, wikipedia = json.loads(run("sources", *where, "--json").stdout)
    assert (table["source"], table["found"]) == (f"table:{facts}", 1)
    assert (wikipedia["source"], wikipedia["found"], wikipedia["missing"]) == ("wikipedia", 4, 0)
    assert wikipedia["newest"].startswith("20")
    wrong = run("forget", "wikipedai", *where, "--yes")
    assert wrong.exit_code == 2 and "did you mean 'wikipedia'?" in wrong.stderr
    silent = run("forget", "wikipedia", *where)
    assert silent.exit_code == 2 and "--yes" in silent.stderr
    assert len(json.loads(run("sources", *where, "--json").stdout)) == 2
    done = run("forget", "facts.csv", *where, "--yes")
    assert done.exit_code == 0 and done.stdout == f"source,forgotten\ntable:{facts},1\n"
    assert run("sources", *where, "--quiet").stdout == "wikipedia\n"
    page = json.loads(show(store, "Papilio machaon", "--json").stdout)
    assert {r["source"] for r in page["records"]} == {"sheet", "wikipedia"}


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("y\n", 0)])
def test_forgetting_asks_first(store, answer, left):
    where = ["--domain", "biology", "--store", str(store)]
    args = ["knowledge", "forget", "wikipedia", *where]
    result = CliRunner().invoke(app, args, prog_name="domainclip", input=answer)
    assert result.exit_code == left and "forget what wikipedia said of 4 labels?" in result.stderr
    assert len(json.loads(run("sources", *where, "--json").stdout)) == left


def test_a_file_is_found_by_its_path_and_two_of_one_name_need_it(tmp_path, monkeypatch):
    from domainclip.cli.sources import find_source
    from domainclip.errors import UsageError

    monkeypatch.chdir(tmp_path)
    names = (f"table:{tmp_path}/x/facts.csv", f"table:{tmp_path}/y/facts.csv", "wikipedia")
    assert find_source("x/facts.csv", names, tmp_path) == names[0]
    assert find_source(names[1], names, tmp_path) == names[1]
    with pytest.raises(UsageError, match="stands for 2 sources"):
        find_source("facts.csv", names, tmp_path)
    with pytest.raises(UsageError, match="no source 'sheet'"):
        find_source("sheet", names, tmp_path)


def test_forgetting_makes_no_store(tmp_path):
    path = tmp_path / "none.sqlite"
    result = run("forget", "wikipedia", "--domain", "biology", "--store", path, "--yes")
    assert result.exit_code == 2 and "holds no answer" in result.stderr
    assert "no source was asked" in run("sources", "--domain", "biology", "--store", path).stderr
    assert not list(tmp_path.iterdir())


def test_two_files_of_one_name_are_two_sources(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    one = write(tmp_path / "x" / "facts.csv", "name,text\nPapilio machaon,It has grey wings.\n")
    two = write(tmp_path / "y" / "facts.csv", "name,text\nPapilio machaon,It has red wings.\n")
    result = fetch(tmp_path, "--from", one, "--json")
    assert json.loads(result.stdout)["rows"][0]["source"] == "table:facts.csv"
    assert fetch(tmp_path, "--from", two).exit_code == 0
    assert fetch(tmp_path, "--from", one).exit_code == 0  # the same file in place of itself
    page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
    told = [r["sentences"] for r in page["records"] if r["source"] == "table"]
    assert told == [["It has grey wings."], ["It has red wings."]]
    assert [asked["provider"] for asked in page["asked"]] == ["table:facts.csv"] * 2


def test_rows_about_labels_that_were_not_asked_for_are_no_error(tmp_path):
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,A.\nDanaus plexippus,B.\n")
    labels = write(tmp_path / "labels.csv", "species\nPapilio machaon\n")
    result = fetch(tmp_path, "--from", facts, "--labels", labels)
    assert result.exit_code == 0, result.output
    assert "1 row about labels that are not asked for" in result.stderr


def test_labels_that_the_domain_does_not_know_are_told_and_asked_about(tmp_path):
    labels = write(tmp_path / "labels.csv", "genus,species\nFelis,Felis catus\n,Papilio machaon\n")
    facts = write(tmp_path / "facts.json", '{"Felis catus": "It has grey fur."}')
    result = fetch(tmp_path, "--from", facts, "--labels", labels)
    assert result.exit_code == 0, result.output
    assert "1 label unknown to the domain biology" in result.stderr
    assert "Felis catus" in result.stderr and "\ntable:facts.json,1,0,1," in result.stdout
    told = json.loads(show(tmp_path / "a.sqlite", "Felis catus", "--json").stdout)
    assert told["lineage"] == "Felis > Felis catus" and told["records"]


def test_the_labels_of_the_builtin_pictures_and_a_limit(tmp_path):
    facts = write(tmp_path / "facts.csv", "name,text\nband neutrophil,A.\n")
    result = fetch(tmp_path, "--from", facts, "--data", "builtin", "--json", domain="medical")
    row = json.loads(result.stdout)["rows"][0]
    assert (row["found"], row["missing"]) == (1, 19)
    limit = ("--data", "builtin", "--limit", 3)
    result = fetch(tmp_path, "--from", facts, *limit, "--json", domain="medical")
    row = json.loads(result.stdout)["rows"][0]
    assert sum(value for value in row.values() if isinstance(value, int)) == 3


def test_the_labels_of_a_folder_of_pictures(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in ("Papilio machaon", "Danaus plexippus"):
            place = tmp_path / "photos" / split / name
            place.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(place / "a.png")
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,Yellow wings.\n")
    result = fetch(tmp_path, "--from", facts, "--data", tmp_path / "photos", "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)["rows"][0]
    assert (row["found"], row["missing"]) == (1, 1)
    result = fetch(tmp_path, "--from", facts, "--data", tmp_path / "photos")
    assert f"caption --domain biology --data {tmp_path / 'photos'} --store " in result.stderr


def test_quiet_prints_the_store_alone(tmp_path):
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,Yellow wings.\n")
    result = fetch(tmp_path, "--from", facts, "--quiet")
    assert (result.stdout, result.stderr) == (f"{tmp_path / 'a.sqlite'}\n", "")


def test_a_damaged_store_is_set_aside_and_fetching_goes_on(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"junk" * 100)
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,Yellow wings.\n")
    result = fetch(tmp_path, "--from", facts)
    assert result.exit_code == 0 and "set aside as" in result.stderr
    assert (tmp_path / "a.sqlite.bad").read_bytes() == b"junk" * 100


def ask(folder, wiki, *args, labels="Papilio machaon\nGraphium sarpedon\n"):
    given = write(folder / "labels.txt", labels)
    contact = ("--contact", "me@example.org", "--site", wiki.url, "--rate", 500)
    return fetch(folder, "--labels", given, *contact, *args)


def named(wiki):
    return wiki.url.replace("http://", "wiki:")


def test_pages_are_found_and_the_ancestors_where_there_are_none(tmp_path, wiki):
    result = ask(tmp_path, wiki, "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["source"], row["found"], row["from an ancestor"]) == (named(wiki), 1, 1)
    assert all("me@example.org" in request["_agent"] for request in wiki.requests)
    page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
    (own,) = (r for r in page["records"] if r["source"] == named(wiki))
    assert own["section"] == "Description" and own["revision"].isdigit() and own["licence"]
    assert own["url"].startswith(wiki.url) and not own["inherited"]
    assert "yellow" in " ".join(trait["trait"] for trait in own["traits"])
    assert {trait["sentence"] for trait in own["traits"]} == {
        "The wings are yellow with black veins."
    }
    page = json.loads(show(tmp_path / "a.sqlite", "Graphium sarpedon", "--json").stdout)
    (own,) = (r for r in page["records"] if r["source"] == named(wiki))
    assert own["inherited"] and own["about"].endswith(" > Papilionidae")


def test_what_is_known_is_not_asked_for_again_unless_told_to(tmp_path, wiki):
    assert ask(tmp_path, wiki).exit_code == 0
    asked = len(wiki.requests)
    row = json.loads(ask(tmp_path, wiki, "--json").stdout)["rows"][0]
    assert (row["known before"], row["found"], len(wiki.requests)) == (2, 0, asked)
    row = json.loads(ask(tmp_path, wiki, "--json", "--refresh").stdout)["rows"][0]
    assert (row["known before"], row["found"]) == (0, 1) and len(wiki.requests) > asked


def test_a_site_and_a_file_together_and_the_contact_of_the_environment(tmp_path, wiki):
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,Blue spots.\n")
    labels = write(tmp_path / "labels.txt", "Papilio machaon\n")
    args = ("--labels", labels, "--from", "wikipedia", "--from", facts, "--site", wiki.url)
    result = run(
        "fetch", "--domain", "biology", "--store", tmp_path / "a.sqlite", *args, "--rate", 500,
        env={"DOMAINCLIP_CONTACT": "other@example.org"},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [line.split(",")[:2] for line in result.stdout.splitlines()[1:]] == [
        [named(wiki), "1"], ["table:facts.csv", "1"]
    ]  # fmt: skip
    assert "other@example.org" in wiki.requests[0]["_agent"]
    page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
    assert {r["source"]: r["used"] for r in page["records"]} == {
        "sheet": False, "table": True, named(wiki): True
    }  # fmt: skip
    quiet = show(tmp_path / "a.sqlite", "Papilio machaon", "--quiet").stdout.splitlines()
    used = [t["trait"] for r in page["records"] if r["used"] for t in r["traits"]]
    assert quiet == list(dict.fromkeys(used))


@pytest.mark.parametrize("fault", ["503", "html"])
def test_a_lost_site_stops_the_work_and_the_same_command_goes_on(
    tmp_path, wiki, monkeypatch, fault
):
    monkeypatch.setattr("domainclip.knowledge.site.RETRIES", 0)
    names = "".join(f"{name}\n" for name in ("Papilio machaon", *"ABCDE"))
    wiki.always = fault
    result = ask(tmp_path, wiki, "--concurrency", 1, labels=names)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert result.stdout.splitlines()[1] == f"{named(wiki)},0,0,0,0,3,3,0"
    assert f"error: {wiki.url}/w/api.php" in result.stderr
    assert "what was found is kept; domainclip knowledge fetch --domain biology" in result.stderr
    assert f"--site {wiki.url}" in result.stderr and "next:" not in result.stderr
    wiki.always = ""
    row = json.loads(ask(tmp_path, wiki, "--json", labels=names).stdout)["rows"][0]
    assert (row["found"], row["known before"], row["failed"]) == (1, 0, 0)


def test_no_network(tmp_path, wiki, monkeypatch):
    monkeypatch.setattr("domainclip.knowledge.site.RETRIES", 0)
    wiki.url = "http://127.0.0.1:9"
    result = ask(tmp_path, wiki)
    assert result.exit_code == 1
    assert "http://127.0.0.1:9/w/api.php cannot be reached" in result.stderr
    assert "could not be asked about" in result.stderr and "asks again" in result.stderr


def test_an_address_that_is_none(tmp_path, wiki):
    wiki.url = "ftp://x"
    result = ask(tmp_path, wiki)
    assert result.exit_code == 2 and "no address of a site" in result.stderr
    assert not (tmp_path / "a.sqlite").exists()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way")
def test_ctrl_c_keeps_what_was_found_and_says_how_to_go_on(tmp_path, wiki):
    wiki.always = "slow 0.3"
    labels = write(
        tmp_path / "labels.txt", "Papilio machaon\n" + "".join(f"N{i}\n" for i in range(99))
    )
    args = ["knowledge", "fetch", "--domain", "biology", "--store", tmp_path / "a.sqlite"]
    args += ["--labels", labels, "--contact", "me@example.org", "--site", wiki.url]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "domainclip", *map(str, args), "--concurrency", "1"],
        env={**os.environ, "PYTHONPATH": str(root)}, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        began = time.monotonic()
        while len(wiki.requests) < 6 and time.monotonic() - began < 60:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert "interrupted" in err and "domainclip knowledge fetch --domain biology" in err
    assert "Traceback" not in err
    with KnowledgeStore(tmp_path / "a.sqlite") as kept:
        assert not kept.messages and kept.labels(named(wiki), "found")


def test_the_key_of_the_language_model_is_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    monkeypatch.setenv("READER_KEY", "sk-of-the-reader")
    chat = _load("endpoints/chat_server.py")
    facts = write(tmp_path / "facts.csv", "name,text\nPapilio machaon,The wings are yellow.\n")
    with chat.serve(lambda asked: chat.Answer("[]")) as server:
        model = ("--extractor", "model", "--endpoint", server.url, "--model", "tiny")
        result = fetch(tmp_path, "--from", facts, *model, "--key-env", "READER_KEY")
    assert result.exit_code == 0, result.output
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer sk-of-the-reader"}


def test_a_language_model_finds_the_traits_once(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    chat = _load("endpoints/chat_server.py")
    sentence = "The wings carry a row of blue spots."
    facts = write(tmp_path / "facts.csv", f"name,text\nPapilio machaon,{sentence} It is rare.\n")
    said = json.dumps(
        [
            {"sentence": sentence, "trait": "blue spots"},
            {"sentence": "Not there at all.", "trait": "red wings"},
        ]
    )
    with chat.serve(lambda asked: chat.Answer(said)) as server:
        model = ("--extractor", "model", "--endpoint", server.url, "--model", "tiny")
        result = fetch(tmp_path, "--from", facts, *model)
        assert result.exit_code == 0, result.output
        assert "tiny read 1 text" in result.stderr
        questions = [asked.text for asked in server.asked if sentence in asked.text]
        assert len(questions) == 1
        page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
        (own,) = (r for r in page["records"] if r["source"] == "table")
        assert [trait["trait"] for trait in own["traits"]] == ["blue spots"]
        count = len(server.asked)
        result = fetch(tmp_path, "--from", facts, *model)
        assert "1 label read before" in result.stderr
        assert [asked.text for asked in server.asked[count:] if sentence in asked.text] == []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    result = fetch(tmp_path, "--from", facts, "--refresh", *model)
    assert result.exit_code in (1, 2) and "Traceback" not in result.output
    assert "sk-secret" not in result.output and "error:" in result.stderr
    page = json.loads(show(tmp_path / "a.sqlite", "Papilio machaon", "--json").stdout)
    assert any(r["source"] == "table" for r in page["records"])  # the text is kept
