"""Checks of names: the policy of the style, and names of other labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Claim
from domainclip.knowledge.mentions import NAME, find_names, own_names

from .context import CheckContext, Verdict

_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
_LONGEST = 4
"""Words of the longest name that is looked for."""


def check_names(context: CheckContext) -> Verdict:
    """Hold the name policy, and take out names of other labels.

    A name that must not be said is replaced by the domain's noun. Names of other labels count from
    two words on, since single ones ("river") are ordinary words too often.
    """
    if context.tree is None:
        return Verdict("names", "pass")
    text, tree, node = context.text, context.tree, context.request.node
    own = [*find_names(text, own_names(tree, node))]
    others = [*_others(text, tree, node, own)]
    if others:
        said = ", ".join(sorted({repr(claim.text) for claim in others}))
        reason = f"names another label: {said}"
        return Verdict("names", "drop-claim", reason, tuple(others))
    if context.names == "omit":
        # "small white wings" says what is seen, not the name of a label called "small white"
        bad = [c for c in own if not (c.text.islower() and _covered(c, context.claims))]
        if bad:
            said = ", ".join(sorted({repr(claim.text) for claim in bad}))
            return Verdict("names", "drop-claim", f"says the name: {said}", tuple(bad))
    elif context.names == "say" and not own:
        return Verdict("names", "flag", "does not say the name")
    return Verdict("names", "pass")


def _others(text: str, tree: LabelTree, node: int, own: Iterable[Claim]) -> Iterator[Claim]:
    lineage = {int(n) for n in tree.ancestors[node] if n >= 0} | {node}
    words = list(_WORD.finditer(text))
    taken = [(claim.start, claim.end) for claim in own]
    for size in range(_LONGEST, 1, -1):
        for first, last in zip(words, words[size - 1 :], strict=False):
            start, end = first.start(), last.end()
            if any(start < e and s < end for s, e in taken):
                continue
            said = text[start:end]
            found = tree.find(said) if said.lower() != said else _formal(tree, said)
            if found and not lineage & {*found}:
                taken.append((start, end))
                yield Claim(NAME, tree.names[found[0]], start, end, said)


def _formal(tree: LabelTree, said: str) -> tuple[int, ...]:
    """Return the labels of which lower-case words are the formal name, as "band neutrophil" is."""
    return tuple(n for n in tree.find(said) if tree.names[n].lower() == said)


def _covered(claim: Claim, claims: Iterable[Claim]) -> bool:
    return any(claim.start < c.end and c.start < claim.end for c in claims)
