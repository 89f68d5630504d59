"""A site on its bad days: it is asked politely, again where that helps, and never misread."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError
from domainclip.knowledge import site as site_module
from domainclip.knowledge.site import Site, SiteLost, find_api, seconds_to_wait, split_sections
from domainclip.knowledge.wikipedia import WikipediaProvider

PAGES = [
    {
        "title": "Papilio machaon",
        "box": "K Animalia; F Papilionidae; G Papilio; S Papilio machaon",
        "redirects": ["Old World swallowtail"],
        "text": "Papilio machaon is a butterfly in the family Papilionidae.\n"
        "== Description ==\nYellow wings.\n=== Tails ===\nOne short tail.[2]\n== Range ==\nEurope.",
    }
]
TREE = LabelTree.from_columns(
    {"kingdom": ["Animalia"], "family": ["Papilionidae"], "species": ["Papilio machaon"]}
)
RULES = WikiRules(
    sections=("description",),
    boxes={"kingdom": (), "family": (), "species": ("binomial name",)},
)


@pytest.fixture
def wiki():
    place = Path(__file__).with_name("wiki_server.py")
    spec = importlib.util.spec_from_file_location("wiki_server", place)
    module = sys.modules["wiki_server"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Wiki(PAGES) as wiki:
        yield wiki


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(site_module, "RETRIES", 2)
    monkeypatch.setattr(site_module, "TIMEOUT", 0.4)
    monkeypatch.setattr(site_module, "PATIENCE", 5.0)
    monkeypatch.setattr(
        "wikipediaapi._http_client.retry_after_wait._RetryAfterWait.__call__",
        lambda self, state: 0.01,
    )


def read(wiki, title="Papilio machaon", rate=1000.0):
    async def work():
        site = Site(contact="me@example.org", language="en", address=wiki.url, rate=rate)
        try:
            return await site.read(title)
        finally:
            await site.aclose()

    return asyncio.run(work())


def ask(wiki, **settings):
    async def work():
        provider = WikipediaProvider(
            RULES, contact="me@example.org", site=wiki.url, rate=1000.0, **settings
        )
        try:
            return await provider.ask(TREE, 2)
        finally:
            await provider.close()

    return asyncio.run(work())


def test_an_answer_says_where_it_is_from(wiki):
    answer = ask(wiki)
    assert answer.status == "found" and "Papilio machaon" in answer.reason
    (record,) = answer.records
    assert record.text.replace("\n", " ") == "Yellow wings. One short tail."
    assert (record.title, record.section) == ("Papilio machaon", "Description")
    assert record.revision == str(wiki.pages["Papilio machaon"]["revision"])
    assert record.licence == "Creative Commons Attribution-Share Alike 4.0"
    assert record.url.endswith("/wiki/Papilio_machaon")
    assert not record.inherited


def test_every_request_says_who_asks_and_allows_for_lag(wiki):
    ask(wiki)
    assert len(wiki.requests) == 3  # text, box, licence
    for request in wiki.requests:
        assert "domainclip/" in request["_agent"] and "me@example.org" in request["_agent"]
        assert request["maxlag"] == "5"


@pytest.mark.parametrize("fault", ["500", "503", "cut", "slow 0.8"])
def test_what_passes_is_asked_again(wiki, fault):
    wiki.faults = [fault, fault]
    assert read(wiki).title == "Papilio machaon"
    assert len(wiki.requests) == 3


@pytest.mark.parametrize("fault", ["429 1", "503 1", "maxlag 1"])
def test_a_site_that_asks_to_wait_is_left_alone_so_long(wiki, fault):
    wiki.faults = [fault]
    assert read(wiki).title == "Papilio machaon"
    first, second = (float(request["_time"]) for request in wiki.requests)
    assert second - first >= 1.0


def test_a_date_to_wait_for_is_waited_for(wiki):
    then = datetime.now(UTC) + timedelta(seconds=2)
    wiki.faults = [f"429 {format_datetime(then, usegmt=True)}"]
    assert read(wiki).title == "Papilio machaon"
    first, second = (float(request["_time"]) for request in wiki.requests)
    assert second - first >= 0.9  # a date has whole seconds


def test_all_labels_wait_when_one_is_asked_to(wiki):
    async def work():
        site = Site(contact="me@example.org", language="en", address=wiki.url, rate=1000.0)
        wiki.faults = ["429 1"]
        await asyncio.gather(site.read("Papilio machaon"), late(site))
        await site.aclose()

    async def late(site):
        await asyncio.sleep(0.2)
        await site.read("Old World swallowtail")

    asyncio.run(work())
    first, *others = sorted(float(request["_time"]) for request in wiki.requests)
    assert len(others) == 2 and all(other - first >= 1.0 for other in others)


def test_a_longer_wait_than_our_patience_stops_the_work(wiki):
    wiki.faults = ["429 3600"]
    with pytest.raises(SiteLost, match="3600 s"):
        read(wiki)
    assert len(wiki.requests) == 1


def test_requests_are_spaced(wiki):
    async def work():
        site = Site(contact="me@example.org", language="en", address=wiki.url, rate=20.0)
        await asyncio.gather(*(site.read(f"Page {i}") for i in range(5)))
        await site.aclose()

    asyncio.run(work())
    times = sorted(float(request["_time"]) for request in wiki.requests)
    assert times[-1] - times[0] >= 4 / 20 - 0.03


@pytest.mark.parametrize("fault", ["500", "429 0", "cut", "html", "maxlag 0"])
def test_a_site_that_stays_bad_is_lost_and_no_label_counts_as_missing(wiki, fault):
    wiki.always = fault
    with pytest.raises(SiteLost) as caught:
        ask(wiki)
    assert wiki.url in caught.value.message and caught.value.hint
    assert len(wiki.requests) <= 3


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_fault_of_any_request_is_no_verdict(wiki, calls):
    """An error in place of the box must not read as a page without a box."""
    wiki.faults = [""] * calls + ["500"] * 3
    with pytest.raises(SiteLost):
        ask(wiki)


def test_an_error_of_the_api_is_not_an_empty_answer(wiki, monkeypatch):
    error = {"error": {"code": "readapidenied", "info": "You need read permission."}}
    monkeypatch.setattr(wiki, "answer", lambda params: error)
    with pytest.raises(SiteLost, match="You need read permission"):
        read(wiki)


def test_a_site_that_cannot_be_reached_is_lost(wiki):
    wiki.url = "http://127.0.0.1:9"
    with pytest.raises(SiteLost, match="cannot be reached"):
        read(wiki)


def test_another_address_is_told_from_an_api(wiki):
    wiki.url += "/elsewhere"
    with pytest.raises(SiteLost, match="404"):
        read(wiki)


@pytest.mark.parametrize(
    ("address", "api"),
    [
        ("https://de.wikipedia.org", "https://de.wikipedia.org/w/api.php"),
        ("mirror.example.org", "https://mirror.example.org/w/api.php"),
        ("http://a.org/wiki/api.php", "http://a.org/wiki/api.php"),
        ("http://a.org/mw/", "http://a.org/mw/api.php"),
    ],
)
def test_addresses(address, api):
    assert find_api(address) == api


@pytest.mark.parametrize("address", ["ftp://a.org", "https://", "://"])
def test_no_address(address):
    with pytest.raises(UsageError, match="is no address"):
        find_api(address)


def test_the_public_site_wants_a_contact():
    with pytest.raises(UsageError, match="no contact"):
        WikipediaProvider(RULES, contact=" ")


@pytest.mark.parametrize(
    ("site", "name"),
    [
        (None, "wikipedia"),
        ("https://en.wikipedia.org", "wikipedia"),
        ("EN.wikipedia.org/w/api.php", "wikipedia"),
        ("de.wikipedia.org", "wiki:de.wikipedia.org"),
        ("http://127.0.0.1:8080/mirror", "wiki:127.0.0.1:8080"),
        ("https://me:secret@wiki.example.org", "wiki:wiki.example.org"),
    ],
)
def test_each_site_has_its_own_name(site, name):
    assert WikipediaProvider(RULES, contact="me@example.org", site=site).name == name


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_above_nothing(rate):
    with pytest.raises(UsageError, match="rate"):
        WikipediaProvider(RULES, contact="me@example.org", rate=rate)


def test_waits_are_read():
    assert seconds_to_wait("7") == 7.0
    then = datetime.now(UTC) + timedelta(seconds=30)
    assert 27 < seconds_to_wait(format_datetime(then, usegmt=True)) <= 30
    past = datetime.now(UTC) - timedelta(seconds=30)
    assert seconds_to_wait(format_datetime(past, usegmt=True)) == 0.0
    assert seconds_to_wait(None) == seconds_to_wait("soon") > 0


def test_sections_are_split_at_headings_alone():
    lead, sections = split_sections("A = b.\n\n== One ==\ntext\n=== Two ===\n\n== Three ==\nx == y")
    assert lead == "A = b."
    assert [(s.heading, s.level, s.text) for s in sections] == [
        ("One", 2, "text"),
        ("Two", 3, ""),
        ("Three", 2, "x == y"),
    ]
    assert split_sections("== Only ==\ntext")[0] == ""
    assert split_sections("") == ("", ())


def test_a_page_that_two_labels_ask_for_is_read_once(wiki):
    async def work():
        provider = WikipediaProvider(RULES, contact="me@example.org", site=wiki.url, rate=1000.0)
        start = time.perf_counter()
        await asyncio.gather(*(provider.ask(TREE, 2) for _ in range(4)))
        await provider.close()
        return time.perf_counter() - start

    asyncio.run(work())
    texts = [r for r in wiki.requests if "extracts" in r.get("prop", "")]
    assert len(texts) == 1
