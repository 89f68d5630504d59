"""Whether a page is about a label: its name, then its place in the tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import fold

from .boxes import Box
from .naming import Names, is_same, is_title, line_of, rank_endings
from .openings import category_says, defining_phrases, field_of, is_place, says, was_called
from .site import Listed, Page

_ASIDE = re.compile(r"\([^()]*\)")
_ONLY = re.compile(r"\b(?:only|sole|single|monotypic)\b", re.IGNORECASE)
_RENAMED = ", in its box "
_UNPLACED = ("incertae sedis", "see text", "unassigned", "disputed")


@dataclass(frozen=True)
class Judgement:
    """What a page is to a label."""

    kind: Literal["same", "ancestor", "wider", "other"]
    """`ancestor`: the site leads from a name of the label to the page of one of its ancestors;
    `wider`: the page is about something wider, and does not stand in for the label's."""
    node: int
    """The node that the page is about; the label's own but for `ancestor`."""
    reason: str
    certain: bool = True
    """False where a group's name leads to one of its members: right only where the group has no
    page of its own."""


def judge(tree: LabelTree, node: int, page: Page, box: Box, rules: WikiRules) -> Judgement:
    """Judge what a page is to a label.

    With a classification box, its name at the label's rank must be the label's, and its ranks must
    agree with the lineage. Without, the page must bear a name of the label, and its defining
    phrase or its categories must name an ancestor or a word of `rules.context`.

    Args:
        tree: The label tree.
        node: The label.
        page: The page, read by the title `page.asked`.
        box: Its information box.
        rules: The domain's rules.
    """
    return _Judge(tree, node, page, box, rules).judge()


def read_ranks(box: Box, rules: WikiRules) -> dict[str, tuple[str, ...]]:
    """Return rank -> the names that a box gives for it.

    A rank's own name across the whole box heads a list of members, which says nothing of the page.
    """
    found: dict[str, tuple[str, ...]] = {}
    for rank, headings in rules.boxes.items():
        said = [box.rows[h] for h in (rank, *headings) if h in box.rows]
        said += [box.parts[h][0] for h in headings if h != rank and h in box.parts]
        names = [" ".join(_ASIDE.sub("", text).split()).strip(" ,") for text in said]
        names = [n for n in names if n and not n.lower().startswith(_UNPLACED)]
        whole = [_complete(name, found) for name in names]
        if kept := tuple(name for name in whole if name):
            found[rank] = kept
    return found


def _complete(name: str, coarser: Mapping[str, tuple[str, ...]]) -> str:
    """Return a shortened name ("P. machaon") with its first word from a coarser rank, or ""."""
    short = re.match(r"(\w{1,2})\. ?(.+)", name)
    if short is None:
        return name
    firsts = (n.split()[0] for said in reversed(list(coarser.values())) for n in said)
    first = next((word for word in firsts if word.startswith(short[1])), "")
    return f"{first} {short[2]}" if first else ""


class _Judge:
    def __init__(self, tree: LabelTree, node: int, page: Page, box: Box, rules: WikiRules) -> None:
        self.tree, self.node, self.page, self.box, self.rules = tree, node, page, box, rules
        self.names = Names(tree, node)
        self.ranks = {r: n for r, n in read_ranks(box, rules).items() if r in tree.ranks}
        self.own_rank = tree.ranks[int(tree.rank[node])]
        asked = self.names.head(page.asked)
        self.led_here = page.redirected and asked
        """Whether the site itself leads from a name of the label to the page."""

    def judge(self) -> Judgement:
        return self._by_ranks() if self.ranks else self._by_words()

    def _by_ranks(self) -> Judgement:
        tree, own = self.tree, int(self.tree.rank[self.node])
        finest = max(tree.ranks.index(rank) for rank in self.ranks)
        coarser = finest < own and not any(
            " " in name and is_title(self.page.title, name) for name in self.names.formal
        )
        if coarser and (self.own_rank in self.rules.boxes or not self._bears_name()):
            return self._coarser(finest)
        why = self._is_its_name(finest)
        if why is None:
            said = self.ranks.get(self.own_rank, ("something else",))[-1]
            return self._other(f"is about {said}")
        fits, told = self._place(self.node)
        if why.startswith(_RENAMED) and "but has" in told:
            fits = False  # another name and another place
        if not fits:
            return self._other(told)
        page_is_member = not self._bears_name()
        alone = finest <= own or not page_is_member or self._is_only()
        return Judgement("same", self.node, f"{self._how()}{why}; {told}", alone)

    def _coarser(self, finest: int) -> Judgement:
        """Judge a page about a coarser rank: an ancestor's, or something else's."""
        rank = self.tree.ranks[finest]
        for ancestor in line_of(self.tree, self.node):
            if int(self.tree.rank[ancestor]) != finest:
                continue
            ends = self.rules.endings.get(rank, ())
            names = self.tree.all_names(ancestor)
            if any(is_same(s, n, ends) for s in self.ranks[rank] for n in names):
                fits, _ = self._place(ancestor)
                if fits:
                    return self._ancestor(ancestor)
        return self._other(f"is about the {rank} {self.ranks[rank][0]}")

    def _is_its_name(self, finest: int) -> str | None:
        """Return how the box says that the page is the label's, or None where it does not."""
        ends = rank_endings(self.rules, self.tree, self.node)
        said = self.ranks.get(self.own_rank, ())
        named = any(is_same(s, name, ends) for s in said for name in self.names.formal)
        if named and finest > int(self.tree.rank[self.node]):  # a page about one member
            if self.led_here or self._bears_name():
                return ", its only member"
            return ", its only member" if self._is_only() else None
        if named:
            return ""
        listed = [
            line
            for heading, lines in self.box.parts.items()
            if "synonym" in heading
            for line in lines
        ]
        if any(is_same(line, name) for line in listed for name in self.names.formal):
            return ", a synonym in its box"
        if any(" " in n and was_called(self.page.lead, n) for n in self.names.formal):
            return ", a former name"
        if not said:
            return "" if self._bears_name() else None
        if self.led_here and any(is_title(self.page.asked, name) for name in self.names.formal):
            return f", which is {said[-1]}"
        if any(is_title(self.page.title, name) for name in self.names.formal) and not listed:
            return f"{_RENAMED}{said[-1]}"
        return None

    def _place(self, node: int) -> tuple[bool, str]:
        """Return whether a box agrees with a lineage, and what it says.

        A rank may have been moved or renamed, where finer and coarser ones agree. Names of the
        nearest ranks are next to unique; those of the coarsest are renamed most.
        """
        agreed: list[str] = []
        broken: list[str] = []
        pattern: list[bool] = []
        line = [*line_of(self.tree, node)[::-1]]
        for ancestor in line:
            rank = self.tree.ranks[int(self.tree.rank[ancestor])]
            if ancestor in self.names.carried or rank not in self.ranks:
                continue
            ends = self.rules.endings.get(rank, ())
            names = self.tree.all_names(ancestor)
            same = any(is_same(said, n, ends) for said in self.ranks[rank] for n in names)
            (agreed if same else broken).append(rank)
            pattern.append(same)
        against = ", ".join(f"{rank} {self.ranks[rank][0]}" for rank in broken)
        if not pattern:
            vouched = "" if line else "at the top of the tree"
            vouched = vouched or self._vouched(node)
            return bool(vouched), vouched or "shares no rank with the lineage"
        fits = not broken or (pattern[-1] and len(agreed) >= len(broken))
        fits = fits or (len(agreed) >= 2 and pattern == [True] * len(agreed) + [False])
        if not fits:
            return False, f"is of {against}"
        told = f"box agrees on {', '.join(agreed)}"
        return True, told + (f", but has {against}" if broken else "")

    def _by_words(self) -> Judgement:
        """Judge a page without a classification box by its name and its opening."""
        page, tree = self.page, self.tree
        if not self._bears_name():
            for ancestor in line_of(tree, self.node):
                if any(is_title(page.title, name) for name in Names(tree, ancestor).all):
                    if not self._vouched(ancestor):
                        return self._other("is not placed in the lineage")
                    return self._ancestor(ancestor)
            if page.fragment:
                return self._wider("is about something wider")
            if not self.led_here:
                return self._other("does not bear its name")
            if self.own_rank in self.rules.boxes and not self._is_mentioned():
                return self._other("does not mention it")
        elif self.own_rank in self.rules.boxes and not any(
            is_title(page.title, name) or says(page.lead, name) for name in self.names.formal
        ):
            return self._other("bears its common name alone")
        vouched = self._vouched(self.node)
        if not vouched:
            return self._other("is not placed in the lineage")
        return Judgement("same", self.node, f"{self._how()}; {vouched}")

    def _vouched(self, node: int) -> str:
        """Return what places a page without ranks, or "": an ancestor's name, a context word."""
        own = {fold(name) for name in Names(self.tree, node).all}
        words = [
            name
            for ancestor in line_of(self.tree, node)
            if ancestor not in self.names.carried
            for name in self.tree.all_names(ancestor)
            if fold(name) not in own
        ]
        ranks, english = self.tree.ranks, self.rules.language == "en"
        if self.names.formal[0].islower() and english and is_place(self.page.lead):
            return ""
        phrases = list(defining_phrases(self.page.lead, ranks, english=english))
        for number, word in enumerate((*words, *self.rules.context)):
            field = field_of(self.page.lead) if number >= len(words) else ""
            if any(says(phrase, word) for phrase in (*phrases, field)):
                return f"its opening says {word!r}"
            if any(category_says(category, word, ranks) for category in self.page.categories):
                return f"its categories say {word!r}"
        return ""

    def _bears_name(self) -> bool:
        return self.names.head(self.page.title)

    def _is_mentioned(self) -> bool:
        """Return whether the page mentions the name that led to it, or another of the label's."""
        text = "\n".join((self.page.lead, *(section.text for section in self.page.sections)))
        boxed = "\n".join(line for lines in self.box.parts.values() for line in lines)
        return any(says(text, name) or says(boxed, name) for name in self.names.formal)

    def _is_only(self) -> bool:
        """Return whether the page says that its subject is all there is of the label."""
        lead = self.page.lead[:600]
        return _ONLY.search(lead) is not None and any(says(lead, n) for n in self.names.formal)

    def _how(self) -> str:
        page = self.page
        if page.redirected:
            return f"redirect from {page.asked!r} to {page.title!r}"
        return f"title {page.title!r}"

    def _ancestor(self, ancestor: int) -> Judgement:
        name = self.tree.names[ancestor]
        if self.led_here:
            return Judgement("ancestor", ancestor, f"{self._how()}, which is about {name}")
        return self._wider(f"is about {name}")

    def _wider(self, said: str) -> Judgement:
        return Judgement("wider", self.node, f"{self.page.title!r} {said}")

    def _other(self, said: str) -> Judgement:
        return Judgement("other", self.node, f"{self.page.title!r} {said}")


def promise(tree: LabelTree, node: int, listed: Listed) -> int:
    """Return how likely a listed page is the label's, from what stands beside it."""
    names = Names(tree, node)
    score = 2 * names.head(listed.title)
    score += any(says(listed.said, name) for name in names.formal)
    score += says(listed.said, tree.ranks[int(tree.rank[node])])
    for ancestor in line_of(tree, node):
        for name in tree.all_names(ancestor):
            told = says(listed.said, name) or says(listed.title, name)
            filed = any(category_says(one, name, tree.ranks) for one in listed.categories)
            score += 2 * (told or filed)
    return score
