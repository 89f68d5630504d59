"""The tokenizer that belongs to a model, or what is said in its place where there is none."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from typing import Any

import open_clip
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, SimpleTokenizer
from torch import Tensor

from domainclip.errors import UsageError

from .clip import Tokenizer


class MissingTokenizer:
    """Stands where a tokenizer cannot be had: the model sees pictures, but reads no text.

    Args:
        model: The name of the model.
        reason: Why there is none.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model, self.reason = model, reason

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        """Refuse to read.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"the model {self.model!r} has no tokenizer here, so it reads no text: {self.reason}",
            "with the network on it may be found; without one, name pictures by `domainclip "
            "fewshot --method centroid`, or embed them",
        )


def find_tokenizer(architecture: str, model: str) -> Tokenizer:
    """Return the tokenizer of a model; one that refuses where it cannot be had.

    Args:
        architecture: As open_clip names it, such as `local-dir:PATH`.
        model: What people call the model.
    """
    try:
        text = (open_clip.get_model_config(architecture) or {}).get("text_cfg", {})
        if architecture.startswith("local-dir:") and not text.get("hf_tokenizer_name"):
            return _clips_own(text)
        found: Tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # whatever a hub, a file or a library answers
        return MissingTokenizer(model, " ".join(str(error).split())[:200])
    return found


def _clips_own(text: dict[str, Any]) -> Tokenizer:
    """Return CLIP's own tokenizer; its tables, which take long to read, are those of all others."""
    said = json.dumps(text.get("tokenizer_kwargs") or {}, sort_keys=True)
    found = copy.copy(_read_once(said))
    found.context_length = text.get("context_length") or DEFAULT_CONTEXT_LENGTH
    own: Tokenizer = found
    return own


@lru_cache(maxsize=4)
def _read_once(said: str) -> SimpleTokenizer:
    at_import = getattr(open_clip.tokenizer, "_tokenizer", None)  # open_clip reads one then
    if said == "{}" and type(at_import) is SimpleTokenizer:
        return at_import
    return SimpleTokenizer(**json.loads(said))
