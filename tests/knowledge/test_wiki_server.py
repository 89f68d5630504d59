"""The wiki of the tests answers as a MediaWiki does, and its pages and cases fit each other."""

import importlib.util
import time
from pathlib import Path

import httpx
import pytest
import yaml

HERE = Path(__file__).parent
WIKIS = {
    "first": ("wiki_cases.yaml", "wiki_pages*.yaml"),
    "second": ("wiki/cases.yaml", "wiki/pages_*.yaml"),
}


def _load():
    spec = importlib.util.spec_from_file_location("wiki_server", HERE / "wiki_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SERVER = _load()
PAGES = [
    {
        "title": "Large white",
        "redirects": ["Pieris brassicae", "Cabbage butterfly#Larva"],
        "box": "K Animalia; F Pieridae; G Pieris; S Pieris brassicae",
        "categories": ["Pieris (butterfly)"],
        "text": "A white butterfly.\n\nIt is common.\n== Look ==\nWhite.\n=== Larva ===\nGreen.",
    },
    {"title": "Pieris", "disambiguation": True, "text": "May be:", "links": ["Large white", "B"]},
    {"title": "Parma", "box": {"Region": "Emilia"}, "text": "A city.", "first_for": ["white"]},
]


@pytest.fixture
def wiki():
    with SERVER.Wiki(PAGES) as wiki:
        yield wiki


def ask(wiki, **params):
    answer = httpx.get(wiki.api, params={"format": "json", "action": "query", **params}, timeout=5)
    answer.raise_for_status()
    return answer.json()


def only(answer):
    (entry,) = answer["query"]["pages"].values()
    return entry


def test_a_redirect_and_the_first_letter_are_followed_and_told(wiki):
    answer = ask(wiki, titles="pieris_brassicae", redirects=1, prop="info", inprop="url")
    assert answer["query"]["normalized"] == [{"from": "pieris_brassicae", "to": "Pieris brassicae"}]
    assert answer["query"]["redirects"] == [{"from": "Pieris brassicae", "to": "Large white"}]
    assert only(answer)["title"] == "Large white"
    assert only(answer)["fullurl"] == f"{wiki.url}/wiki/Large_white"


def test_a_redirect_to_a_section_names_it(wiki):
    (redirect,) = ask(wiki, titles="Cabbage butterfly", redirects=1)["query"]["redirects"]
    assert redirect["tofragment"] == "Larva"


def test_an_extract_has_headings_as_the_wiki_writes_them(wiki):
    entry = only(ask(wiki, titles="Large white", prop="extracts", explaintext=1))
    assert entry["extract"] == (
        "A white butterfly.\n\nIt is common.\n\n\n== Look ==\nWhite.\n\n\n=== Larva ===\nGreen."
    )
    intro = only(ask(wiki, titles="Large white", prop="extracts", explaintext=1, exintro=1))
    assert intro["extract"] == "A white butterfly.\n\nIt is common."


def test_a_missing_page_is_page_minus_one(wiki):
    pages = ask(wiki, titles="Nowhere", redirects=1)["query"]["pages"]
    assert pages == {"-1": {"ns": 0, "title": "Nowhere", "missing": ""}}


def test_a_list_of_meanings_is_marked_and_links(wiki):
    entry = only(ask(wiki, titles="Pieris", prop="pageprops|links|categories"))
    assert entry["pageprops"] == {"disambiguation": ""}
    assert [link["title"] for link in entry["links"]] == ["B", "Large white"]
    other = only(ask(wiki, titles="Large white", prop="pageprops|categories", clshow="!hidden"))
    assert "pageprops" not in other
    assert [one["title"] for one in other["categories"]] == ["Category:Pieris (butterfly)"]


def test_search_can_be_led_astray(wiki):
    hits = ask(wiki, list="search", srsearch="white", srlimit=5)["query"]["search"]
    assert [hit["title"] for hit in hits] == ["Parma", "Large white"]
    hits = ask(wiki, list="search", srsearch="brassicae", srlimit=5)["query"]["search"]
    assert [hit["title"] for hit in hits] == ["Large white"]


def test_parse_shows_the_sort_of_box_that_the_rows_are_of(wiki):
    def parse(page):
        return ask(wiki, action="parse", page=page, redirects=1)

    html = parse("Pieris brassicae")["parse"]["text"]["*"]
    assert "infobox biota" in html and "<td>Family:\n</td>" in html
    html = parse("Parma")["parse"]["text"]["*"]
    assert "biota" not in html and '<th scope="row" class="infobox-label">Region</th>' in html
    assert parse("Nowhere")["error"]["code"] == "missingtitle"


def test_the_licence_is_told(wiki):
    rights = ask(wiki, meta="siteinfo", siprop="rightsinfo")["query"]["rightsinfo"]
    assert rights["text"] == "Creative Commons Attribution-Share Alike 4.0"


def test_bad_days_come_in_their_order_then_good_ones(wiki):
    date = "Sat, 01 Jan 2050 00:00:00 GMT"
    wiki.faults = ["429 2", f"429 {date}", "500", "maxlag 1", "html", "slow 0.2", "cut", ""]
    answers = [httpx.get(wiki.api, params={"action": "query"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 429, 500, 200, 200]
    assert [answer.headers.get("Retry-After") for answer in answers[:3]] == ["2", date, None]
    assert answers[3].json()["error"]["code"] == "maxlag"
    with pytest.raises(ValueError):
        answers[4].json()
    start = time.monotonic()
    ask(wiki, titles="Parma")
    assert time.monotonic() - start >= 0.2
    with pytest.raises(httpx.TransportError):
        ask(wiki, titles="Parma")
    assert only(ask(wiki, titles="Parma"))["title"] == "Parma"
    assert len(wiki.requests) == 8


@pytest.mark.parametrize("name", WIKIS)
def test_pages_and_cases_fit(name):
    file, pattern = WIKIS[name]
    wiki = SERVER.Wiki(SERVER.load_pages(pattern))
    cases = yaml.safe_load((HERE / file).read_text("utf-8"))["cases"]
    wanted = [case["page"] for kind in cases.values() for case in kind if case["page"]]
    assert set(wanted) <= wiki.pages.keys()
    lists = {title for title, page in wiki.pages.items() if page.get("disambiguation") is True}
    assert not lists.intersection(wanted)
    assert {target for target, _ in wiki.redirects.values()} <= wiki.pages.keys()
    assert sum(map(len, cases.values())) >= 80
