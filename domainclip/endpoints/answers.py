"""Reads the body of a chat answer, trusting none of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .faults import Fault, one_line, server_words

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    text: str
    """"" where the answer holds nothing."""
    model: str
    tokens_in: int
    tokens_out: int
    finish_reason: str

    def why_empty(self) -> str:
        """Say why there is no text, as far as the server tells."""
        if self.finish_reason == "length":
            return f"the answer is empty: all {self.tokens_out} tokens went elsewhere; allow more"
        why = f" (finish reason {self.finish_reason!r})" if self.finish_reason else ""
        return f"the answer is empty{why}"


def drop_thoughts(text: str) -> str:
    """Return a text without what a model thinks aloud first, which some servers leave in it."""
    return _THOUGHTS.sub("", text).strip()


def read_answer(body: str, secret: str) -> Answer:
    """Return what a body says.

    Args:
        body: As it came.
        secret: The key, which is left out of what is said of a body that is none.

    Raises:
        Fault: If it is not a chat completion: cut short, a web page, something else.
    """
    try:
        whole: dict[str, Any] = json.loads(body)
        choice = whole["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        usage = whole.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        if isinstance(content, list):  # some servers answer in parts
            content = "".join(str(part.get("text") or "") for part in content)
    except (ValueError, LookupError, TypeError, AttributeError):
        said = one_line(server_words(body)[0], secret)[:80]
        raise Fault("garbled", f"the answer is no chat completion: {said!r}") from None
    finish = str(choice.get("finish_reason") or "")
    if not content and refusal:
        content, finish = refusal, "refusal"
    text = str(content or "")
    return Answer(text if text.strip() else "", str(whole.get("model") or ""), *tokens, finish)
