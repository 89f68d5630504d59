"""Whether a page is about a label: its name, then its place in the tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import fold

from .openings import definition, is_of, opening_of, says, subject, was_called
from .site import Box, Page
from .spellings import is_alike, is_same, numbers

_NO_TITLE = re.compile(r"[|#<>\[\]{}\n]")
_BRACKET = re.compile(r"\s*\([^()]*\)$")
_ASIDE = re.compile(r"\([^()]*\)")
_LIST = re.compile(r"^(?:lists?|outline|index|glossary) of\b", re.I)
_ONLY = re.compile(r"\b(?:only|sole|single|monotypic|monospecific)\b", re.I)


@dataclass(frozen=True)
class Judgement:
    """What a page is to a label."""

    kind: Literal["same", "ancestor", "other"]
    node: int
    """The node that the page is about; the label's own for `other`."""
    reason: str
    certain: bool = True
    """False for a group's name that is redirected to a page of one of its members: right only where
    the group has no page of its own."""


def titles(tree: LabelTree, node: int) -> tuple[str, ...]:
    """Return the titles to try for a label: formal name, synonyms, common name."""
    names = (tree.names[node], *tree.synonyms(node), tree.name(node, "common") or "")
    kept = (name for name in names if name and not _NO_TITLE.search(name))
    return tuple(dict.fromkeys(kept))


def is_named(tree: LabelTree, node: int, title: str) -> bool:
    """Return whether a title is a name of a label, what stands in brackets after it left out."""
    own = {fold(name) for name in tree.all_names(node)}
    bare = fold(_BRACKET.sub("", title))
    return bare in own or any(numbers(bare) & numbers(name) for name in own)


def is_list(title: str) -> bool:
    """Return whether a page of this title only lists other pages."""
    return _LIST.match(title) is not None


def judge(tree: LabelTree, node: int, page: Page, box: Box, rules: WikiRules) -> Judgement:
    """Judge what a page is to a label.

    The page must bear a name of the label: in its title, in the title that was redirected to it,
    in its box, or in its first sentence. Then its place is compared: the ranks that both its
    box and the label's lineage have; without a box the first sentence and the categories have to
    name an ancestor, or a word of `rules.context`.

    Args:
        tree: The label tree.
        node: The label.
        page: The page.
        box: Its information box, see `Site.box`; empty where it has none.
        rules: The domain's rules.
    """
    opening = opening_of(page)
    ranks = _ranks_of(box, rules)
    named = (
        is_named(tree, node, page.title)
        or is_spelt(tree, node, page.title)
        or (page.redirected and is_named(tree, node, page.asked))
        or _is_own(tree, node, box, rules)
        or _is_said_to_be(tree, node, page, box)
        or any(says(subject(opening), name) for name in _distinct(tree, node))
    )
    if not named:
        return Judgement("other", node, f"{page.title!r} does not bear its name")
    narrower = _is_narrower(tree, node, ranks)
    if narrower and not _stands_for(tree, node, page):
        return Judgement("other", node, f"{page.title!r} is about something narrower")
    wider = _wider(tree, node, page, box, ranks, rules)
    if ranks:
        found = _judge_box(tree, node, page, box, ranks, rules, wider)
        sure = not narrower or not page.redirected or _is_only(tree, node, page)
        return replace(found, certain=sure)
    if wider is not None and not page.redirected:
        return Judgement("other", node, f"{page.title!r} is about {tree.names[wider]}")
    if wider is not None:
        vouched = _vouched(tree, wider, page, opening, rules)
        if vouched:
            return Judgement("ancestor", wider, f"{page.title!r} is about {tree.names[wider]}")
        return Judgement("other", node, f"{page.title!r} is about something wider")
    vouched = _vouched(tree, node, page, opening, rules)
    if not vouched:
        return Judgement("other", node, f"nothing in {page.title!r} places it in the lineage")
    return Judgement("same", node, f"{_how(page)}; {vouched}")


def _judge_box(
    tree: LabelTree,
    node: int,
    page: Page,
    box: Box,
    ranks: Mapping[str, str],
    rules: WikiRules,
    wider: int | None,
) -> Judgement:
    """Compare ranks: they must agree, but for one that has been moved or renamed."""
    lineage = {int(tree.rank[n]): int(n) for n in tree.ancestors[node] if n >= 0}
    own = int(tree.rank[node])
    agreed: list[str] = []
    broken: list[str] = []
    for index, rank in enumerate(tree.ranks):
        if rank in ranks and index in lineage and index != own:
            names = tree.all_names(lineage[index])
            same = any(is_same(ranks[rank], name, rules.endings.get(rank, ())) for name in names)
            (agreed if same else broken).append(rank)
    if not agreed and (broken or wider is None):
        vouched = "" if broken else _vouched(tree, node, page, opening_of(page), rules)
        if vouched:
            return Judgement("same", node, f"{_how(page)}; {vouched}")
        said = ", ".join(f"{rank} {ranks[rank]}" for rank in broken) or "no rank in common"
        return Judgement("other", node, f"{page.title!r} is another one: {said}")
    shared = [rank for rank in tree.ranks if rank in agreed or rank in broken]
    said_to_be = _is_said_to_be(tree, node, page, box)
    moved = {*shared[-2:]} <= {*broken} and not said_to_be
    if len(broken) >= len(agreed) + said_to_be or moved:
        said = ", ".join(f"{rank} {ranks[rank]}" for rank in broken)
        return Judgement("other", node, f"{page.title!r} is another one: {said}")
    if wider is not None:
        kind: Literal["ancestor", "other"] = "ancestor" if page.redirected else "other"
        return Judgement(kind, wider, f"{page.title!r} is about {tree.names[wider]}")
    if _is_another(tree, node, page, box, rules):
        return Judgement("other", node, f"{page.title!r} is about another label beside it")
    return Judgement("same", node, f"{_how(page)}; box agrees on {', '.join(agreed)}")


def _ranks_of(box: Box, rules: WikiRules) -> dict[str, str]:
    """Return rank -> name for the rows of a box that the domain knows."""
    found: dict[str, str] = {}
    for rank, headings in rules.boxes.items():
        for heading in (rank, *headings):
            value = _ASIDE.sub("", _value(box, rank, heading)).split(";")[0].strip()
            if value:
                found.setdefault(rank, value)
    return found


def _value(box: Box, rank: str, heading: str) -> str:
    """Return what a box says under a heading.

    What stands below a rank's own name is a list of members: "Species" in the box of a genus.
    """
    return box.rows.get(heading, "") or (box.below.get(heading, "") if heading != rank else "")


def _wider(
    tree: LabelTree,
    node: int,
    page: Page,
    box: Box,
    ranks: Mapping[str, str],
    rules: WikiRules,
) -> int | None:
    """Return the ancestor that a page is about rather than the label, if it is."""
    line = [int(n) for n in tree.ancestors[node] if n >= 0 and n != node][::-1]
    if _is_own(tree, node, box, rules) or fold(page.title) in map(fold, _distinct(tree, node)):
        return None
    for ancestor in line:
        if is_named(tree, ancestor, page.title) and not is_named(tree, node, page.title):
            return ancestor
    if ranks:
        finest = max(tree.ranks.index(rank) for rank in ranks if rank in tree.ranks)
        if finest < int(tree.rank[node]):
            return next((n for n in line if int(tree.rank[n]) == finest), None)
        return None
    if page.fragment and line and not is_named(tree, node, page.title):
        return line[0]
    return None


def _is_narrower(tree: LabelTree, node: int, ranks: Mapping[str, str]) -> bool:
    """Return whether a box classifies a page below the label's rank."""
    finest = max((tree.ranks.index(rank) for rank in ranks if rank in tree.ranks), default=-1)
    return finest > int(tree.rank[node])


def _stands_for(tree: LabelTree, node: int, page: Page) -> bool:
    """Return whether a page about a member stands for the group as well.

    A group of one member may have its page under the member's name; then the site says so itself:
    by its title, by a redirect, or in words.
    """
    said = page.asked if page.redirected else page.title
    return is_named(tree, node, said) or _is_only(tree, node, page)


def _is_only(tree: LabelTree, node: int, page: Page) -> bool:
    """Return whether a page says that its subject is all there is of the label."""
    opening = opening_of(page)
    return _ONLY.search(opening) is not None and any(
        says(opening, name) for name in _distinct(tree, node)
    )


def _is_another(tree: LabelTree, node: int, page: Page, box: Box, rules: WikiRules) -> bool:
    """Return whether a box names something else of the label's own rank: a sister."""
    if not _own_rows(tree, node, box, rules) or _is_own(tree, node, box, rules):
        return False
    # an accepted name beside the one asked for: then the site itself says that they are one
    own = {fold(name) for name in _distinct(tree, node)}
    bare = fold(_BRACKET.sub("", page.title))
    return not (
        bare in own
        or _is_said_to_be(tree, node, page, box)
        or (page.redirected and fold(page.asked) in own)
        or is_spelt(tree, node, page.title)
    )


def _own_rows(tree: LabelTree, node: int, box: Box, rules: WikiRules) -> list[str]:
    """Return what a box says at the rank of the label."""
    rank = tree.ranks[int(tree.rank[node])]
    said = (_value(box, rank, row) for row in (rank, *rules.boxes.get(rank, ())))
    return [text for text in said if text]


def _is_own(tree: LabelTree, node: int, box: Box, rules: WikiRules) -> bool:
    """Return whether a box gives a name of the label at the label's rank, perhaps abbreviated."""
    own = _own_rows(tree, node, box, rules)
    above = tree.ranks[int(tree.rank[tree.parent[node]])] if tree.parent[node] >= 0 else ""
    for name in _distinct(tree, node):
        first, _, rest = name.partition(" ")
        if any(says(text, name) for text in own):
            return True
        if rest and any(says(text, f"{first[:1]}. {rest}") for text in own):
            return fold(box.rows.get(above, first)) == fold(first)
    return False


def _is_synonym(tree: LabelTree, node: int, box: Box) -> bool:
    """Return whether a box lists a name of the label among its synonyms."""
    texts = [text for row, text in (*box.rows.items(), *box.below.items()) if "synonym" in row]
    return any(says(text, name) for text in texts for name in _distinct(tree, node))


def _is_said_to_be(tree: LabelTree, node: int, page: Page, box: Box) -> bool:
    """Return whether the site itself says that the page's subject bears a formal name of the label.

    By a redirect, a list of synonyms, or a former name in the lead, for names of several words; of
    single words many are homonyms.
    """
    if len(tree.names[node].split()) < 2:
        return False
    own = {fold(name) for name in _distinct(tree, node)}
    if (page.redirected and fold(page.asked) in own) or _is_synonym(tree, node, box):
        return True
    return any(was_called(page.lead, name) for name in _distinct(tree, node))


def _distinct(tree: LabelTree, node: int) -> tuple[str, ...]:
    """Return the names by which a text can be told to mean the label: not single common words."""
    names = (tree.names[node], *tree.synonyms(node))
    return tuple(name for name in names if " " in name or name[:1].isupper())


def _vouched(tree: LabelTree, node: int, page: Page, opening: str, rules: WikiRules) -> str:
    """Return what places a page in the lineage, or "": an ancestor's name or a context word."""
    said = definition(opening)
    line = [int(n) for n in tree.ancestors[node] if n >= 0 and n != node][::-1]
    for ancestor in line:
        for name in tree.all_names(ancestor):
            if fold(name) in {fold(own) for own in tree.all_names(node)}:
                continue
            if says(said, name):
                return f"first sentence names {name}"
            if any(is_of(category, name) for category in page.categories):
                return f"categories name {name}"
    for word in rules.context:
        if says(said, word):
            return f"first sentence says {word!r}"
        if any(is_of(category, word) for category in page.categories):
            return f"categories say {word!r}"
    return ""


def is_spelt(tree: LabelTree, node: int, title: str) -> bool:
    """Return whether a title is a name of several words in another spelling or gender.

    All words but the last are the same; the last differs in its ending or by one letter. A title
    that is another label of the tree is not.
    """
    said = fold(_BRACKET.sub("", title))
    if tree.find(said) or " " not in said:
        return False
    return any(is_alike(said, fold(name)) for name in _distinct(tree, node))


def _how(page: Page) -> str:
    return f"redirect from {page.asked!r}" if page.redirected else f"title {page.title!r}"
