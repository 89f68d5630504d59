"""Checks of what a caption claims to be visible, against what is known of its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Claim

from .context import CheckContext, Outcome, Verdict

SISTERS, NONE_OF = 3, 5
"""Labels nearby that have to be known before their values count as all that a label can have, and
before a trait that they lack, though most labels have it, counts as one that it cannot have."""
WITNESSES = 2
"""Labels nearby that must have a value: one alone may be a mistake in its own entry."""
_MOST = 200
"""Labels nearby that are looked at below one ancestor."""


def check_contradiction(context: CheckContext) -> Verdict:
    """Drop claims of a trait that is known to be otherwise.

    What is known not to be there has no qualities either: its whole noun phrase goes.
    """
    wrong = [claim for claim in context.claims if _contradicts(claim, context.known)]
    absent = {claim.phrase for claim in wrong if _is_absent(claim, context)}
    bad = tuple(c for c in context.claims if c in wrong or (c.phrase in absent and not c.negated))
    if not bad:
        return Verdict("contradiction", "pass")
    reasons = [
        f"{claim.text!r}: {claim.trait} is {_listed(context.known[claim.trait])}" for claim in wrong
    ]
    return Verdict("contradiction", "drop-claim", "; ".join(dict.fromkeys(reasons)), bad)


def check_possible(context: CheckContext) -> Verdict:
    """Drop what the label cannot have: a part of other groups, a value of no label nearby."""
    bad: list[Claim] = []
    reasons: list[str] = []
    for claim in context.claims:
        values = context.can_have.get(claim.trait)
        if values is None or claim.trait in context.known or claim.negated:
            continue
        if claim.value not in values:
            bad.append(claim)
            said = f"the {claim.trait} {claim.value}" if values else f"any {claim.trait}"
            reasons.append(f"{claim.text!r}: hardly a label nearby has {said}")
    for mention, groups in _foreign_parts(context):
        bad.append(mention)
        bad += [c for c in context.claims if _inside(mention, c.phrase) and c not in bad]
        reasons.append(f"{mention.text!r}: only {', '.join(groups)} can have it")
    if not bad:
        return Verdict("cannot have", "pass")
    return Verdict("cannot have", "drop-claim", "; ".join(dict.fromkeys(reasons)), tuple(bad))


def check_unsupported(context: CheckContext) -> Verdict:
    """Flag claims about which nothing is known; drop them where the checks are strict."""
    bad = tuple(claim for claim in context.claims if claim.trait not in context.known)
    if not bad:
        return Verdict("unsupported", "pass")
    said = ", ".join(dict.fromkeys(repr(claim.text) for claim in bad))
    outcome: Outcome = "drop-claim" if context.strict else "flag"
    return Verdict("unsupported", outcome, f"nothing is known about {said}", bad)


def values_nearby(
    known: Callable[[int], Mapping[str, frozenset[str]]],
    tree: LabelTree,
    node: int,
    *,
    at_least: int = SISTERS,
) -> dict[str, frozenset[str]]:
    """Return the values that labels near a node have, for traits that its own entry lacks.

    For each trait the nearest ancestor counts below which enough labels are known. A value that
    only one of them has is left out. A trait that most labels have told and none nearby has, as
    cells without a nucleus have no place of it, comes with no values at all.

    Args:
        known: Node -> trait -> known values.
        tree: The label tree.
        node: The label.
        at_least: Labels, other than the node, that must have the trait told.
    """
    own = known(node)
    found: dict[str, frozenset[str]] = {}
    above = [int(n) for n in tree.ancestors[node] if n >= 0 and n != node]
    nearest: set[str] | None = None
    for ancestor in [*reversed(above), -1]:
        told = [traits for leaf in _leaves(tree, ancestor, node) if (traits := known(leaf))]
        counts = Counter(trait for traits in told for trait in traits)
        if nearest is None and len(told) >= NONE_OF:
            nearest = {trait for trait, n in counts.items() if n >= WITNESSES}
        for trait in counts.keys() - own.keys() - found.keys():
            values = Counter(value for traits in told for value in traits.get(trait, ()))
            usual = frozenset(value for value, n in values.items() if n >= WITNESSES)
            if nearest is not None and trait not in nearest:
                if counts[trait] > len(told) / 2:
                    found[trait] = frozenset()
            elif usual and counts[trait] >= at_least:
                found[trait] = usual
    return found


def _is_absent(claim: Claim, context: CheckContext) -> bool:
    """Whether what a claim is about is known not to be there at all ("no nucleus")."""
    if context.lexicon is None or claim.negated:
        return False
    ways = context.lexicon.words.phrases.get(claim.trait, {})
    known = context.known[claim.trait]
    return all(any(way.startswith("no ") for way in ways.get(v, ())) for v in known)


def _contradicts(claim: Claim, known: Mapping[str, frozenset[str]]) -> bool:
    values = known.get(claim.trait)
    if not values:
        return False
    return values == {claim.value} if claim.negated else claim.value not in values


def _foreign_parts(context: CheckContext) -> Iterator[tuple[Claim, tuple[str, ...]]]:
    """Yield parts that the text names and only groups other than the label's can have."""
    if context.lexicon is None:
        return
    foreign = context.lexicon.foreign_parts(context.request.label, context.tree)
    for mention in context.lexicon.mentions(context.text):
        if mention.trait in foreign and not mention.negated:
            yield mention, foreign[mention.trait]


def _inside(claim: Claim, phrase: tuple[int, int]) -> bool:
    return phrase[0] <= claim.start and claim.end <= phrase[1]


def _leaves(tree: LabelTree, ancestor: int, but: int) -> Iterator[int]:
    """Yield labels without children below an ancestor, at most `_MOST`; -1 stands for the root."""
    stack = [ancestor]
    count = 0
    while stack and count < _MOST:
        node = stack.pop()
        below = tree.children(node).tolist()
        stack += reversed(below)
        if not below and node != but:
            count += 1
            yield node


def _listed(values: Iterable[str]) -> str:
    return " or ".join(sorted(values))
