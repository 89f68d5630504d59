"""Facts from Wikipedia, or another MediaWiki: the right page of a label, and what it says."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree

from .matching import Judgement, is_list, is_named, judge, titles
from .records import Answer, Record
from .sections import pick_sections
from .site import Box, Page, Site

SEARCHED, LINKED = 5, 8
"""Hits of a search, and links of a list of meanings, that are looked at."""
KEPT = 512
"""Pages that stay in memory, for the next label that asks for them."""


class WikipediaProvider:
    """Finds the page of a label and makes sure that it is the label's.

    Pages are tried by formal name, synonyms, common name, and then by search; a page that only
    lists meanings is followed. Each is judged against the lineage, see `matching.judge`. A page
    about an ancestor, to which a name of the label is redirected, is kept as the ancestor's.

    Args:
        rules: The domain's rules.
        contact: Whom the site's operators can write to, sent with each request.
        site: Another site than the public one: its host, or its `api.php`.
        rate: Requests a second at most.

    Attributes:
        name: "wikipedia".

    Raises:
        UsageError: If there is no contact, or the address is none.
    """

    name = "wikipedia"

    def __init__(
        self, rules: WikiRules, *, contact: str, site: str | None = None, rate: float = 5.0
    ) -> None:
        self.rules = rules
        self._address: dict[str, Any] = {
            "contact": contact,
            "language": rules.language,
            "address": site or "",
            "rate": rate,
        }
        self._site: Site | None = Site(**self._address)
        self._licence: str | None = None
        self._pages: OrderedDict[str, asyncio.Future[Page | None]] = OrderedDict()

    async def ask(self, tree: LabelTree, node: int) -> Answer:
        """Return the texts of the label's page.

        Raises:
            SiteLost: If the site does not answer.
        """
        wider: tuple[Page, Judgement] | None = None
        perhaps: tuple[Page, Judgement] | None = None
        refused = ""
        async for page in self._candidates(tree, node):
            if is_list(page.title):
                continue
            box = await self.site.box(page.title) if self.rules.boxes else Box()
            found = judge(tree, node, page, box, self.rules)
            if found.kind == "same" and not found.certain:
                perhaps = perhaps or (page, found)
            elif found.kind == "same":
                return await self._answer(tree, node, page, found)
            elif found.kind == "ancestor":
                wider = wider or (page, found)
            elif is_named(tree, node, page.title) or page.redirected:
                refused = refused or found.reason
        for kept in (perhaps, wider):
            if kept is not None:
                return await self._answer(tree, node, *kept)
        if refused:
            return Answer("refused", reason=refused)
        return Answer("missing", reason="no page of that name")

    @property
    def site(self) -> Site:
        """The connection, opened anew after `close`."""
        if self._site is None:
            self._site = Site(**self._address)
        return self._site

    async def close(self) -> None:
        """Close the connections; the provider can be used again."""
        if self._site is not None:
            await self._site.aclose()
        self._site = None
        self._pages.clear()

    async def _candidates(self, tree: LabelTree, node: int) -> AsyncIterator[Page]:
        """Yield pages that may be the label's, the likeliest first, each once."""
        seen: set[tuple[str, bool]] = set()

        def is_new(page: Page | None) -> bool:
            """A page is looked at again where a redirect of the label's name leads to it."""
            if page is None or (page.title, page.redirected) in seen or (page.title, True) in seen:
                return False
            seen.add((page.title, page.redirected))
            return True

        for title in titles(tree, node):
            page = await self._read(title)
            if page is None or not is_new(page):
                continue
            if not page.ambiguous:
                yield page
                continue
            for link in _likely(await self.site.links(page.title), title):
                meant = await self._read(link)
                if meant is not None and not meant.ambiguous and is_new(meant):
                    yield meant
        for title in await self.site.find(tree.names[node], SEARCHED):
            page = await self._read(title)
            if page is not None and not page.ambiguous and is_new(page):
                yield page

    async def _read(self, title: str) -> Page | None:
        """Read a page once, however many labels ask for it at a time."""
        if title not in self._pages:
            self._pages[title] = asyncio.ensure_future(self.site.read(title))
            while len(self._pages) > KEPT:
                self._pages.popitem(last=False)
        future = self._pages[title]
        try:
            return await asyncio.shield(future)
        except Exception:
            self._pages.pop(title, None)
            raise

    async def _answer(self, tree: LabelTree, node: int, page: Page, found: Judgement) -> Answer:
        if self._licence is None:
            self._licence = await self.site.licence()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        records = tuple(
            Record(
                label=tree.key(node),
                subject=tree.key(found.node),
                source=self.name,
                text=text,
                title=page.title,
                section=heading,
                url=page.url,
                revision=page.revision,
                licence=self._licence,
                fetched=now,
            )
            for heading, text in pick_sections(page, self.rules.sections)
        )
        if not records:
            return Answer("missing", reason=f"{page.title!r} has no text")
        return Answer("found", records, found.reason)


def _likely(links: tuple[str, ...], title: str) -> list[str]:
    """Return the links of a list of meanings that bear its title, those with a bracket first."""
    words = title.casefold()
    same = [link for link in links if words in link.casefold()]
    other = [link for link in links if link not in same]
    return [*same, *other][:LINKED]
