"""A MediaWiki site as the API library reads it: one limiter, one address, one page a request."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx
import wikipediaapi  # type: ignore[import-untyped]

from domainclip import __version__
from domainclip.errors import DomainclipError, UsageError

from .boxes import Box, read_box
from .openings import lists_meanings

PATIENCE = 120.0
"""Seconds that a site may ask us to wait; longer, and the work stops and is taken up later."""
TIMEOUT, RETRIES = 20.0, 4
_ABSENT = ("missingtitle", "invalidtitle", "nosuchsection", "pagecannotexist")
"""Errors that only say that there is no such page."""
_BUSY = ("maxlag", "ratelimited", "readonly", "internal_api_error")
"""Beginnings of errors that pass."""
LAG = 5
"""Seconds that the site's copies may lag behind before we hold back, as its operators ask."""
BATCH, BATCHES = 50, 3
"""Titles that one request may name, and such requests for one list."""
_TAG = re.compile(r"<[^>]*>")
_HEADING = re.compile(r"^(={2,6})[ \t]*(.+?)[ \t]*\1[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """One section of a page, without its sub-sections."""

    heading: str
    level: int
    """2 for a section, 3 for a sub-section."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a site, as plain text."""

    title: str
    asked: str
    """The title that led to it; another one where it was a redirect."""
    revision: str
    url: str
    lead: str
    sections: tuple[Section, ...]
    categories: tuple[str, ...]
    ambiguous: bool
    """Whether it only lists what its title may mean."""
    fragment: str = ""
    """The section that a redirect points to: the page is about something wider."""

    @property
    def redirected(self) -> bool:
        """Whether another title led here."""
        return _plain(self.title) != _plain(self.asked)


@dataclass(frozen=True)
class Listed:
    """A page as a list or a search shows it."""

    title: str
    said: str = ""
    """A few words on it, or around a hit."""
    categories: tuple[str, ...] = ()


class Site(wikipediaapi.AsyncWikipedia):  # type: ignore[misc]
    """The library's client, with an address of choice, a steady rate, and pages in one request.

    Args:
        contact: Whom the site's operators can write to; sent with every request.
        language: Language code, which chooses the public address.
        address: Another site, such as a mirror: its host, or its `api.php`; "" for the public one.
        rate: Requests a second at most.

    Raises:
        UsageError: If the contact is missing or the address is none.
    """

    def __init__(self, *, contact: str, language: str, address: str, rate: float) -> None:
        if not contact.strip() and not address:
            raise UsageError(
                "no contact for the site's operators",
                "give an address of yours, such as you@example.org",
            )
        super().__init__(
            user_agent=f"domainclip/{__version__} ({contact.strip()})",
            language=language,
            extra_api_params={"maxlag": LAG},
            max_retries=RETRIES,
            timeout=TIMEOUT,
        )
        public = super()._build_url(language)
        self.api = find_api(address) if address else public
        self.host = urlsplit(self.api).netloc.rpartition("@")[2].lower()
        self.public = self.host == urlsplit(public).netloc
        self._limiter = _Limiter(rate)
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._fragments: dict[str, str] = {}

    async def read(self, title: str) -> Page | None:
        """Return a page by its title, redirects followed; None where there is none."""
        page = self.page(title)
        await self._ask(
            self.extracts(
                page,
                prop="extracts|categories|pageprops|info|revisions",
                rvprop="ids",
                inprop="url",
                cllimit="max",
                clshow="!hidden",
                ppprop="disambiguation",
            )
        )
        entry = self._entries.pop(title, None)
        if entry is None:
            return None
        text = str(entry.get("extract", ""))
        lead, sections = split_sections(text)
        revisions = entry.get("revisions") or [{}]
        return Page(
            title=str(entry["title"]),
            asked=title,
            revision=str(revisions[0].get("revid") or entry.get("lastrevid") or ""),
            url=str(entry.get("fullurl", "")),
            lead=lead,
            sections=sections,
            categories=_categories(entry),
            ambiguous="disambiguation" in entry.get("pageprops", {}) or lists_meanings(text),
            fragment=self._fragments.pop(title, ""),
        )

    async def existing(self, titles: Sequence[str]) -> tuple[str, ...]:
        """Return those of several titles that lead to a page, in one request."""
        query = await self._query(prop="info", titles="|".join(titles[:BATCH]))
        there = {p["title"] for p in query.get("pages", {}).values() if "missing" not in p}
        leads = {
            pair["from"]: pair["to"]
            for kind in ("normalized", "redirects")
            for pair in query.get(kind, ())
        }

        def target(title: str) -> str:
            plain = leads.get(title, title)
            return str(leads.get(plain, plain))

        return tuple(title for title in titles[:BATCH] if target(title) in there)

    async def links(self, title: str) -> tuple[str, ...]:
        """Return the titles of the articles that a page links to."""
        query = await self._query(prop="links", titles=title, plnamespace=0, pllimit="max")
        pages = query.get("pages", {}).values()
        return tuple(str(link["title"]) for page in pages for link in page.get("links", ()))

    async def look_up(self, titles: Sequence[str]) -> dict[str, Listed]:
        """Return the categories and short descriptions of several pages, many in a request."""
        found = {}
        for start in range(0, min(len(titles), BATCHES * BATCH), BATCH):
            query = await self._query(
                prop="categories|description",
                titles="|".join(titles[start : start + BATCH]),
                cllimit="max",
                clshow="!hidden",
            )
            for page in query.get("pages", {}).values():
                if "missing" not in page:
                    title, said = str(page["title"]), str(page.get("description", ""))
                    found[title] = Listed(title, said, _categories(page))
        return found

    async def find(self, words: str, limit: int) -> tuple[tuple[Listed, ...], str]:
        """Return what the site's search offers, best first, and another spelling or ""."""
        found = await self._ask(self.search(words, limit=limit))
        hits = (
            Listed(title, unescape(_TAG.sub("", page.search_meta.snippet)))
            for title, page in found.pages.items()
        )
        return tuple(hits), found.suggestion or ""

    async def box(self, title: str) -> Box:
        """Return a page's information box; an empty one where it has none."""
        answer = await self._get_json(action="parse", page=title, prop="text", section=0)
        return read_box(str(answer.get("parse", {}).get("text", {}).get("*", "")))

    async def licence(self) -> str:
        """Return the licence that the site says its texts are under."""
        query = await self._query(meta="siteinfo", siprop="rightsinfo")
        return str(query.get("rightsinfo", {}).get("text", ""))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _query(self, **params: Any) -> dict[str, Any]:
        answer = await self._get_json(action="query", **params)
        return dict(answer.get("query", {}))

    async def _get_json(self, **params: Any) -> dict[str, Any]:
        asked = {"format": "json", "redirects": 1, "maxlag": LAG, **params}
        return dict(await self._ask(self._get(self.language, asked)))

    async def _ask(self, request: Any) -> Any:
        """Await a request of the library; its errors become ours."""
        try:
            return await request
        except wikipediaapi.WikiRateLimitError as error:
            raise SiteLost(f"{self.api} asks us to wait longer than we do", "try later") from error
        except (wikipediaapi.WikiInvalidJsonError, KeyError) as error:
            raise SiteLost(
                f"{self.api} does not answer as a MediaWiki API does",
                "--site takes the host, or the address of its api.php",
            ) from error
        except wikipediaapi.WikiHttpError as error:
            raise SiteLost(f"{self.api} answers {error.status_code}", "try later") from error
        except wikipediaapi.WikipediaException as error:
            raise SiteLost(
                f"{self.api} cannot be reached", "check the connection and the address"
            ) from error

    # What follows takes the place of methods of the library.

    def _build_url(self, language: str) -> str:
        return self.api

    def _build_extracts(self, extract: Any, page: Any) -> str:
        self._entries[page._attributes.get("asked", page.title)] = extract
        return str(super()._build_extracts({"extract": "", **extract}, page))

    def _process_prop_response(self, raw: Any, page: Any, empty: Any, builder: Any) -> Any:
        page._attributes["asked"] = page.title
        for redirect in raw.get("query", {}).get("redirects", ()):
            if redirect.get("tofragment"):
                self._fragments[page.title] = str(redirect["tofragment"])
        return super()._process_prop_response(raw, page, empty, builder)

    async def _do_get(self, url: str, params: dict[str, Any]) -> Any:
        await self._limiter.wait()
        try:
            return await super()._do_get(url, params)
        except httpx.TransportError as error:  # cut off half-way: the library would not try again
            raise wikipediaapi.WikiConnectionError(url) from error

    def _process_response(self, r: Any, url: str) -> dict[str, Any]:
        if r.status_code == 429 or (r.status_code >= 500 and "Retry-After" in r.headers):
            raise self._hold(r, url)
        answer = dict(super()._process_response(r, url))
        error = answer.get("error", {})
        code = str(error.get("code", ""))
        if code.startswith(_BUSY):
            raise self._hold(r, url)
        if code and code not in _ABSENT:
            raise SiteLost(f"{self.api} refuses: {error.get('info', code)}", "try later")
        return answer

    def _hold(self, r: Any, url: str) -> Exception:
        """Hold all requests back as long as the site asks; the error has this one tried again."""
        wait = seconds_to_wait(r.headers.get("Retry-After"))
        if wait > PATIENCE:
            return SiteLost(f"{self.api} asks us to wait {wait:.0f} s", "try again then")
        self._limiter.hold(wait)
        again: Exception = wikipediaapi.WikiRateLimitError(url, 0)  # the limiter waits, for all
        return again


class SiteLost(DomainclipError):
    """A site that does not answer, or not as it should: the work stops and can be taken up."""


class _Limiter:
    """Spaces requests evenly over time."""

    def __init__(self, rate: float) -> None:
        if rate <= 0:
            raise UsageError(f"a rate of {rate} requests a second", "give a number above 0")
        self._gap = 1.0 / rate
        self._next = self._held = 0.0

    async def wait(self) -> None:
        """Wait for the next turn; one that falls into a halt is lost."""
        while True:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
            await asyncio.sleep(turn - now)
            if time.monotonic() >= self._held:
                return

    def hold(self, seconds: float) -> None:
        """Let nobody through for a while."""
        self._held = max(self._held, time.monotonic() + seconds)
        self._next = max(self._next, self._held)


def find_api(address: str) -> str:
    """Return the address of `api.php` for a host or an address.

    Raises:
        UsageError: If it is no address.
    """
    text = address if "://" in address else f"https://{address}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{address!r} is no address of a site", "such as https://de.wikipedia.org")
    if parts.path.endswith("api.php"):
        return text
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/w'}/api.php"


def seconds_to_wait(header: str | None) -> float:
    """Return the seconds of a `Retry-After` header, a number or an HTTP date; 5 for none."""
    if header is None:
        return 5.0
    if header.strip().isdigit():
        return float(header)
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return 5.0
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def split_sections(text: str) -> tuple[str, tuple[Section, ...]]:
    """Split a page's plain text at its headings into the lead and the sections."""
    marks = list(_HEADING.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    sections = (
        tuple(
            Section(mark[2], len(mark[1]), text[mark.end() : end].strip())
            for mark, end in zip(marks, ends, strict=True)
        )
        if marks
        else ()
    )
    return text[: marks[0].start() if marks else len(text)].strip(), sections


def _categories(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(one["title"]).partition(":")[2] for one in entry.get("categories", ()))


def _plain(title: str) -> str:
    """Return a title as the site takes it: blanks for underscores, the first letter capital."""
    text = " ".join(title.replace("_", " ").split())
    return text[:1].upper() + text[1:]
