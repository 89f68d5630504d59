"""The parts of a caption that say something by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from domainclip.knowledge.sentences import split_sentences, split_statements

SHORTEST_PART = 3
"""Words that a part of a caption has at least."""


def caption_parts(caption: str) -> tuple[str, ...]:
    """Return the sentences and clauses of a caption, or the caption where it has but one.

    A part has three words at least; a shorter clause stays together with the next one ("dark veins
    and short tails"). Short parts of synthetic captions train better than wholes: CLIPS
    (arXiv:2411.16828).
    """
    sentences = split_sentences(caption)
    parts = [s for s in sentences if len(sentences) > 1 and len(s.split()) >= SHORTEST_PART]
    for sentence in sentences:
        clauses = _join_short(sentence, [(s.start, s.end) for s in split_statements(sentence)])
        parts += clauses if len(clauses) > 1 else []
    return tuple(dict.fromkeys(parts)) or (caption,)


def _join_short(sentence: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return the stretches of a sentence, those of too few words joined with the next."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and len(sentence[slice(*joined[-1])].split()) < SHORTEST_PART:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    if len(joined) > 1 and len(sentence[slice(*joined[-1])].split()) < SHORTEST_PART:
        (_, end), joined = joined[-1], joined[:-1]
        joined[-1] = (joined[-1][0], end)
    return [sentence[start:end] for start, end in joined]
