"""A MediaWiki site as the API library reads it: one limiter, one address, one page a request."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx
import wikipediaapi  # type: ignore[import-untyped]

from domainclip import __version__
from domainclip.errors import DomainclipError, UsageError

PATIENCE = 120.0
"""Seconds that a site may ask us to wait; longer, and the work stops and is taken up later."""
TIMEOUT, RETRIES = 20.0, 4
_ABSENT = ("missingtitle", "invalidtitle", "nosuchsection", "pagecannotexist")
"""Errors that only say that there is no such page."""
_BUSY = ("maxlag", "ratelimited", "readonly", "internal_api_error")
"""Beginnings of errors that pass."""
LAG = 5
"""Seconds that the site's copies may lag behind before we hold back, as its operators ask."""
_MEANINGS = re.compile(r"\b(?:may|can)(?: also)? refer to\b", re.I)
"""Opens a page that lists meanings, where the site does not mark it as one."""
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
class Box:
    """An information box; its headings are in lower case."""

    rows: dict[str, str] = field(default_factory=dict)
    """Heading -> what stands beside it."""
    below: dict[str, str] = field(default_factory=dict)
    """Heading that has a row to itself -> what stands below it, a list parted by ";"."""


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
        if not contact.strip():
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
        self.api = find_api(address) if address else super()._build_url(language)
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
        lead, sections = split_sections(str(entry.get("extract", "")))
        revisions = entry.get("revisions") or [{}]
        return Page(
            title=str(entry["title"]),
            asked=title,
            revision=str(revisions[0].get("revid") or entry.get("lastrevid") or ""),
            url=str(entry.get("fullurl", "")),
            lead=lead,
            sections=sections,
            categories=tuple(
                str(one["title"]).partition(":")[2] for one in entry.get("categories", ())
            ),
            ambiguous="disambiguation" in entry.get("pageprops", {})
            or _MEANINGS.search(lead[:200]) is not None,
            fragment=self._fragments.pop(title, ""),
        )

    async def links(self, title: str) -> tuple[str, ...]:
        """Return the titles of the articles that a page links to."""
        query = await self._query(prop="links", titles=title, plnamespace=0, pllimit="max")
        pages = query.get("pages", {}).values()
        return tuple(str(link["title"]) for page in pages for link in page.get("links", ()))

    async def find(self, words: str, limit: int) -> tuple[str, ...]:
        """Return the titles that the site's search offers, best first.

        Where there are none, those of the spelling that the site suggests.
        """
        found = await self._ask(self.search(words, limit=limit))
        if not found.pages and found.suggestion and found.suggestion != words:
            found = await self._ask(self.search(found.suggestion, limit=limit))
        return tuple(found.pages)

    async def box(self, title: str) -> Box:
        """Return a page's information box."""
        answer = await self._get_json(action="parse", page=title, prop="text", section=0)
        html = answer.get("parse", {}).get("text", {}).get("*", "")
        return read_box(str(html))

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


def read_box(html: str) -> Box:
    """Return the first information box of a page's HTML."""
    reader = _BoxReader()
    reader.feed(html)
    box = Box()
    heading = ""
    for cells in reader.rows:
        if len(cells) >= 2 and cells[0]:
            heading = ""
            box.rows.setdefault(_heading(cells[0]), " ".join(cells[1:]).strip())
        elif len(cells) == 1 and cells[0]:
            if heading and heading not in box.below:
                box.below[heading] = cells[0]
                heading = ""
            else:
                heading = _heading(cells[0])
    return box


class _BoxReader(HTMLParser):
    """Takes the cells of the first table of the class `infobox`."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._depth = 0
        self._done = False
        self._cell: list[str] | None = None
        self._skip = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "table" and (self._depth or ("infobox" in classes and not self._done)):
            self._depth += 1
        if not self._depth:
            return
        if tag in ("style", "script") or (tag == "sup" and "reference" in classes):
            self._skip += 1
        if self._depth == 1 and tag == "tr":
            self.rows.append([])
        elif self._depth == 1 and tag in ("td", "th") and self.rows:
            self._cell = []
        elif tag in ("br", "li", "p") and self._cell is not None:
            self._cell.append("; ")

    def handle_endtag(self, tag: str) -> None:
        if not self._depth:
            return
        if tag in ("style", "script", "sup") and self._skip:
            self._skip -= 1
        if tag in ("td", "th") and self._depth == 1 and self._cell is not None:
            self.rows[-1].append(" ".join("".join(self._cell).split()).strip("; "))
            self._cell = None
        if tag == "table":
            self._depth -= 1
            self._done = self._done or not self._depth

    def handle_data(self, data: str) -> None:
        if self._cell is not None and not self._skip:
            self._cell.append(data)


def _heading(text: str) -> str:
    return text.strip().rstrip(":").strip().lower()


def _plain(title: str) -> str:
    """Return a title as the site takes it: blanks for underscores, the first letter capital."""
    text = " ".join(title.replace("_", " ").split())
    return text[:1].upper() + text[1:]
