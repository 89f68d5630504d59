"""Checks of a caption as a text: empty, garbled, refusal, loop, wrong language, too long."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from .context import CheckContext, Verdict

_REFUSALS = re.compile(
    r"""^\W*(?:i['’]?m|i\ am)\ (?:very\ |so\ )?sorry
    | ^\W*(?:sorry|unfortunately|my\ apologies|i\ apologi[sz]e)\b
    | \bas\ an?\ (?:ai|(?:large\ )?language\ model)\b
    | \bi(?:\ am|['’]m)\ (?:unable|not\ able)\ to\b
    | \bi\ (?:can(?:not|['’]?t|\ not)|could\ ?n[o'’]?t|do\ not|don['’]t|won['’]t)\ (?:assist|help
        |see|view|identify|describe|determine|provide|access|process|analy[sz]e|fulfil+|comply|comment
        |have|answer|generate)\b
    | \bno\ (?:image|picture|photo)\ (?:was|is|has\ been)?\ ?(?:provided|attached|visible|available)
    | \b(?:please|could\ you|can\ you)\ (?:provide|upload|share|attach|send)\b
    | \b(?:unable|not\ possible|impossible)\ to\ (?:describe|identify|see|view|provide|determine)\b
    """,
    re.I | re.X,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

_STOP_WORDS = {
    "en": "the of and with is are on in a an this has its it that by from under over at for no",
    "de": "der die das und mit ist sind auf ein eine einen einem im den dem nicht von zu am ohne",
    "fr": "le la les et avec est sont sur un une des dans du au aux ce cette sans par qui en",
    "es": "el la los las y con es son sobre un una del en que por se al esta este sin de",
    "it": "il lo la gli le e con è sono su un una del della nel che di da per senza questa",
    "pt": "o a os as e com é são sobre um uma do da no na que em por sem ao de esta",
    "nl": "de het een en met is zijn op van in dat die te voor niet aan zonder bij",
}
"""The commonest words of languages, of which nearly every full sentence has some."""
_LANGUAGES = {code: frozenset(words.split()) for code, words in _STOP_WORDS.items()}
_SCRIPTS = {
    "Latin": r"A-Za-zÀ-ɏ",
    "Greek": r"Ͱ-Ͽ",
    "Cyrillic": r"Ѐ-ӿ",
    "Hebrew": r"֐-׿",
    "Arabic": r"؀-ۿ",
    "Devanagari": r"ऀ-ॿ",
    "Thai": r"฀-๿",
    "Kana": r"぀-ヿ",
    "Han": r"㐀-鿿",
    "Hangul": r"가-힯",
}
_SCRIPT_OF = {
    "el": "Greek", "ru": "Cyrillic", "uk": "Cyrillic", "bg": "Cyrillic", "he": "Hebrew",
    "ar": "Arabic", "fa": "Arabic", "hi": "Devanagari", "th": "Thai", "zh": "Han", "ja": "Kana",
    "ko": "Hangul",
}  # fmt: skip
_SPACELESS = re.compile(f"[{''.join(_SCRIPTS[s] for s in ('Thai', 'Kana', 'Han', 'Hangul'))}]")
"""Letters of scripts that put no space between words, or words into a sign or two."""
_ORDINARY = frozenset(""".,;:!?'"()[]-‐‑–—…/%&°×+’‘“”„«»¿¡。、，！？：；「」『』（）،؟।""")
"""Punctuation that captions have."""
_READABLE = 0.6
"""Share of letters, digits and ordinary punctuation that a caption has to have."""
_LOOP = 3
"""Times that the same words may not follow each other."""


def check_empty(context: CheckContext) -> Verdict:
    """Reject a caption without a word."""
    if _WORD.search(context.text):
        return Verdict("empty", "pass")
    return Verdict("empty", "reject", "there are no words")


def check_garbled(context: CheckContext) -> Verdict:
    """Reject what is no text: control characters, mostly signs, or hardly a word."""
    text = context.text
    kinds = [(char, unicodedata.category(char)) for char in text if char not in " \t\n\r\f\v"]
    controls = {f"U+{ord(char):04X}" for char, kind in kinds if kind in ("Cc", "Cs")}
    if controls:
        said = ", ".join(sorted(controls)[:3])
        return Verdict("garbled", "reject", f"it holds control characters ({said})")
    kinds = [(char, kind) for char, kind in kinds if not char.isspace()]
    good = sum(kind[0] in "LMN" or char in _ORDINARY for char, kind in kinds)
    if good < _READABLE * len(kinds):
        reason = f"{good} of {len(kinds)} characters are letters, digits or punctuation"
        return Verdict("garbled", "reject", reason)
    letters = "".join(char if unicodedata.category(char)[0] in "LM" else " " for char in text)
    words = sum(len(word) >= 2 for word in letters.split())
    if words < 2 and len(_SPACELESS.findall(text)) < 4:
        return Verdict("garbled", "reject", "there are fewer than two words")
    return Verdict("garbled", "pass")


def check_refusal(context: CheckContext) -> Verdict:
    """Reject what a model says when it will not, or cannot, describe the picture."""
    found = _REFUSALS.search(context.text)
    if not found:
        return Verdict("refusal", "pass")
    return Verdict("refusal", "reject", f"the model declined: {found.group().strip()!r}")


def check_loop(context: CheckContext) -> Verdict:
    """Reject a caption in which the same words come over and over."""
    words = [word.lower() for word in _WORD.findall(context.text)]
    for size in range(1, len(words) // _LOOP + 1):
        run = 0
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            if run >= size * (_LOOP - 1 if size > 1 else _LOOP):
                said = " ".join(words[i - size + 1 : i + 1])
                return Verdict("loop", "reject", f"repeated without end: {said[:60]!r}")
    runs = Counter(zip(*(words[i:] for i in range(5)), strict=False))
    again = sum(count for count in runs.values() if count > 1)
    if again > 10 and again > 0.5 * runs.total():
        return Verdict("loop", "reject", "more than half of its words are repeated in a row")
    return Verdict("loop", "pass")


def guess_language(text: str) -> str:
    """Guess the language of a text, or its script where the script alone tells it apart.

    Latin text is told by its commonest words, so a phrase without any ("black wings") cannot be
    told, nor can languages without a list here; "" stands for both.
    """
    letters = Counter(
        script for script, span in _SCRIPTS.items() for _ in re.finditer(f"[{span}]", text)
    )
    if not letters:
        return ""
    script = letters.most_common(1)[0][0]
    if script == "Han" and letters["Kana"]:
        script = "Kana"
    if script != "Latin":
        return script
    words = [word.lower() for word in _WORD.findall(text)]
    hits = {code: sum(word in stop for word in words) for code, stop in _LANGUAGES.items()}
    first, second = sorted(hits, key=lambda code: -hits[code])[:2]
    return first if hits[first] >= 2 and hits[first] > hits[second] else ""


def check_language(context: CheckContext) -> Verdict:
    """Reject a caption in another script, or of which the common words are another language's."""
    wanted, found = context.language, guess_language(context.text)
    script = _SCRIPT_OF.get(wanted, "Latin")
    wrong = (
        found not in ("", wanted, script) if script == "Latin" else found != script and found != ""
    )
    if not wrong:
        return Verdict("language", "pass")
    return Verdict("language", "reject", f"written in {found}, not in {wanted}")


def check_length(context: CheckContext) -> Verdict:
    """Flag a caption of which the text tower would cut the end."""
    if context.count_tokens is None or context.max_tokens <= 0:
        return Verdict("length", "pass")
    count = context.count_tokens(context.text)
    if count <= context.max_tokens:
        return Verdict("length", "pass")
    reason = f"{count} tokens, {count - context.max_tokens} more than the text tower reads"
    return Verdict("length", "flag", reason)
