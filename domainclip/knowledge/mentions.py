"""The names of a label as texts mention them: found, and replaced by a plain noun."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from domainclip.domains.labels import LabelTree

from .articles import find_article, match_case
from .lexicon import Claim

NAME = "name"
"""The trait of claims that are names."""
_STOPS = frozenset(".!?;:")
_BARE = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "appears",
        "appear",
        "looks",
        "look",
        "seems",
        "seem",
        "of",
    ]
)
"""Words after which a name needs no article and a noun does."""


def own_names(tree: LabelTree, node: int) -> tuple[str, ...]:
    """Return every name of a label, longest first: an abbreviated one and a group's too.

    A group's name counts where the label's own begins with it, as "Danaus" does in
    "Danaus plexippus", which may also be written "D. plexippus".
    """
    names = {*tree.all_names(node)}
    formal = tree.names[node]
    first, _, rest = formal.partition(" ")
    if rest and first in tree.path(node)[:-1]:
        names |= {first, f"{first[0]}. {rest}"}
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


def find_names(text: str, names: Iterable[str]) -> Iterator[Claim]:
    """Yield where a text says one of some names, case ignored; no two overlap.

    Args:
        text: A text.
        names: The names, those that hold others first.
    """
    taken: list[tuple[int, int]] = []
    for name in names:
        words = r"[\s_-]+".join(map(re.escape, name.split()))
        for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.I):
            if not any(match.start() < end and start < match.end() for start, end in taken):
                taken.append(match.span())
                yield Claim(NAME, name, match.start(), match.end(), match.group())


def replace_names(text: str, spans: Iterable[Claim], noun: str) -> str:
    """Put a noun in the place of names, with an article where a sentence begins without one."""
    noun = noun or "one"
    for span in sorted(spans, key=lambda s: s.start, reverse=True):
        before, after = text[: span.start], text[span.end :]
        last = re.search(r"(\w+)\W*$", before)
        starts = not before.strip() or before.rstrip()[-1] in _STOPS
        said = re.match(rf"\s*{re.escape(noun)}", after, re.I)
        if re.match(r"\s*\)", after) and before.endswith("("):  # "The monarch (Danaus plexippus)"
            text = before[:-1].rstrip() + re.sub(r"^\s*\)", "", after)
            continue
        word = "" if said else noun
        if starts:
            article = find_article(noun).capitalize()
            word = article if said else f"{article} {noun}"
        elif last and last.group(1).lower() in _BARE and word:
            word = f"{find_article(noun)} {noun}"
        elif last and last.group(1).lower() in ("a", "an") and before.endswith(" "):
            before = before[: last.start()] + match_case(find_article(noun), last.group(1)) + " "
        text = before + (word if word else "\0") + after
        text = text.replace("\0 ", "").replace("\0", "")
    return re.sub(r"\s+", " ", text).strip()
