"""Checks whether a caption was copied from the knowledge that the captioner was shown."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from .context import CheckContext, Verdict

_WORD = re.compile(r"\w+")
RUN = 8
"""Words in a row that a caption may share with its excerpt."""
WHOLE = 0.8
"""Share of a caption from which on such a run counts as the whole of it."""


def longest_run(text: str, excerpt: str) -> list[str]:
    """Return the longest run of words that two texts share; case and punctuation do not count."""
    ours, theirs = (_WORD.findall(t.lower()) for t in (text, excerpt))
    match = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match()
    return ours[match.a : match.a + match.size]


def check_copied(context: CheckContext) -> Verdict:
    """Flag a long run of words out of the excerpt; reject a caption that is hardly more."""
    if not context.excerpt:
        return Verdict("copied", "pass")
    run = longest_run(context.text, context.excerpt)
    if len(run) <= RUN:
        return Verdict("copied", "pass")
    count = len(_WORD.findall(context.text))
    reason = f"{len(run)} of {count} words stand in the excerpt in a row"
    return Verdict("copied", "reject" if len(run) >= WHOLE * count else "flag", reason)
