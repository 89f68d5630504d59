"""Facts from Wikipedia, or another MediaWiki: the right page of a label, and what it says."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree

from .boxes import Box
from .matching import Judgement, judge, promise
from .naming import Names, is_title, line_of, rank_endings
from .openings import says
from .records import Answer, Record
from .sections import pick_sections
from .site import Listed, Page, Site

SEARCHED, LINKED, READ = 8, 4, 3
"""Hits of a search; links of a list of meanings that are read; hits that are read."""
KEPT = 512
"""Pages that stay in memory, for the next label that asks for them."""
_Seen: TypeAlias = set[tuple[str, bool]]
"""Pages by title, and whether a redirect led there."""


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
        name: "wikipedia" for the public site of the rules' language, else "wiki:" and the host, so
            that each site's answers are kept by themselves; the source of its records too.

    Raises:
        UsageError: If the public site is asked without a contact, or the address is none.
    """

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
        opened = Site(**self._address)
        self.name = "wikipedia" if opened.public else f"wiki:{opened.host}"
        self._site: Site | None = opened
        self._licence: asyncio.Future[str] | None = None
        self._pages: OrderedDict[str, asyncio.Future[Page | None]] = OrderedDict()

    @property
    def site(self) -> Site:
        """The connection, opened anew after `close`."""
        if self._site is None:
            self._site = Site(**self._address)
        return self._site

    async def ask(self, tree: LabelTree, node: int) -> Answer:
        """Return the texts of the label's page.

        Raises:
            SiteLost: If the site does not answer.
        """
        names = Names(tree, node)
        ancestor: tuple[Page, Judgement] | None = None
        perhaps: tuple[Page, Judgement] | None = None
        refused = wider = ""
        async for page in self._candidates(tree, node, names):
            if page.ambiguous:
                refused = refused or f"none of the meanings of {page.title!r} is this label"
                continue
            found = await self._judge(tree, node, page)
            if found.kind == "same" and not found.certain:
                perhaps = perhaps or (page, found)
            elif found.kind == "same":
                return await self._answer(tree, node, page, found)
            elif found.kind == "ancestor":
                ancestor = ancestor or (page, found)
            elif found.kind == "wider":
                wider = wider or found.reason
            elif names.head(page.title) or names.head(page.asked):
                refused = refused or found.reason
        for kept in (perhaps, ancestor):
            if kept is not None:
                return await self._answer(tree, node, *kept)
        if refused:
            return Answer("refused", reason=refused)
        return Answer("missing", reason=wider or "no page of that name")

    async def close(self) -> None:
        """Close the connections; the provider can be used again."""
        if self._site is not None:
            await self._site.aclose()
        self._site = self._licence = None
        self._pages.clear()

    async def _candidates(self, tree: LabelTree, node: int, names: Names) -> AsyncIterator[Page]:
        """Yield pages that may be the label's, the likeliest first, each once.

        A list of meanings is yielded after the pages that it leads to.
        """
        seen: _Seen = set()
        first, *others = names.titles() or ("",)
        found = False
        async for page in self._follow(tree, node, first, seen):
            found = found or names.head(page.title)
            yield page
        if len(others) > 1:  # one request tells which of them there are
            others = list(await self.site.existing(others))
        for title in others:
            async for page in self._follow(tree, node, title, seen):
                found = found or names.head(page.title)
                yield page
        near = next((n for n in line_of(tree, node) if n not in names.carried), -1)
        if found and near >= 0:  # a page of that name is about something else: say what is meant
            words = f"{names.formal[0]} {tree.names[near]}"
            async for page in self._search(tree, node, names, words, seen):
                yield page
        async for page in self._search(tree, node, names, names.formal[0], seen):
            yield page

    async def _search(
        self, tree: LabelTree, node: int, names: Names, words: str, seen: _Seen
    ) -> AsyncIterator[Page]:
        """Yield the pages that a search finds: those of the label's name, then a few others."""
        hits, spelling = await self.site.find(words, SEARCHED)
        ends = rank_endings(self.rules, tree, node)
        alike = [
            *(hit.title for hit in hits if names.head(hit.title)),
            *(s for s in (spelling, *(h.title for h in hits)) if names.is_spelling(s, ends)),
        ]
        above = [name for n in line_of(tree, node) for name in tree.all_names(n)]
        others = [
            hit
            for hit in hits
            if hit.title not in alike and not any(is_title(hit.title, n) for n in above)
        ]
        others.sort(key=lambda hit: not any(says(hit.said, name) for name in names.formal))
        for title in dict.fromkeys((*alike, *(hit.title for hit in others[:READ]))):
            page = await self._read(title, seen)
            if page is not None and not page.ambiguous:
                yield page

    async def _follow(
        self, tree: LabelTree, node: int, title: str, seen: _Seen
    ) -> AsyncIterator[Page]:
        """Yield the page of a title; of a list of meanings, the pages that it leads to first."""
        page = await self._read(title, seen) if title else None
        if page is None:
            return
        if page.ambiguous:
            for link in await self._meanings(tree, node, page):
                meant = await self._read(link, seen)
                if meant is not None and not meant.ambiguous:
                    yield meant
        yield page

    async def _meanings(self, tree: LabelTree, node: int, page: Page) -> list[str]:
        """Return the likeliest links of a list of meanings."""
        lines = "\n".join((page.lead, *(section.text for section in page.sections))).split("\n")
        listed = [
            Listed(title, next((line for line in lines if title in line), ""))
            for title in await self.site.links(page.title)
        ]
        listed.sort(key=lambda one: -promise(tree, node, one))
        if len(listed) > LINKED:
            known = await self.site.look_up([one.title for one in listed])
            more = [known.get(one.title, one) for one in listed]
            both = zip(listed, more, strict=True)
            scores = {a.title: promise(tree, node, a) + promise(tree, node, b) for a, b in both}
            listed.sort(key=lambda one: -scores[one.title])
        return [one.title for one in listed[:LINKED]]

    async def _judge(self, tree: LabelTree, node: int, page: Page) -> Judgement:
        box = await self.site.box(page.title) if self.rules.boxes else Box()
        return judge(tree, node, page, box, self.rules)

    async def _read(self, title: str, seen: _Seen) -> Page | None:
        """Read a page once, however many labels ask for it at a time; None for one seen before.

        One that was seen is looked at again where a redirect leads to it, which says more.
        """
        if title not in self._pages:
            self._pages[title] = asyncio.ensure_future(self.site.read(title))
            while len(self._pages) > KEPT:
                self._pages.popitem(last=False)
        try:
            page = await asyncio.shield(self._pages[title])
        except Exception:
            self._pages.pop(title, None)
            raise
        if page is None or {(page.title, True), (page.title, page.redirected)} & seen:
            return None
        seen.add((page.title, page.redirected))
        return page

    async def _answer(self, tree: LabelTree, node: int, page: Page, found: Judgement) -> Answer:
        if self._licence is None:
            self._licence = asyncio.ensure_future(self.site.licence())
        try:
            licence = await asyncio.shield(self._licence)
        except Exception:
            self._licence = None
            raise
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
                licence=licence,
                fetched=now,
            )
            for heading, text in pick_sections(page, self.rules.sections)
        )
        if not records:
            return Answer("missing", reason=f"{page.title!r} has no text")
        return Answer("found", records, found.reason)
