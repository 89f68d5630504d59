"""What is known of the labels: words for what can be seen, where to read, tags to say."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domainclip.domains.contract import KnowledgeRules, TraitWords

from .tags import TAGS
from .wiki import WIKI

WORDS = Path(__file__).parent / "data" / "words.yaml"


@cache
def words() -> TraitWords:
    """Read the words for what can be seen of tiles seen from above."""
    return TraitWords.read(WORDS)


KNOWLEDGE = KnowledgeRules(words=words, wiki=WIKI, tags=TAGS)
