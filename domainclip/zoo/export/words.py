"""The tokenizer of a model in the file format of the `tokenizers` library, where it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, get_clean_fn
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from .samples import draw_texts
from .stock import Stock

FILE = "tokenizer.json"


def is_clips_own(tokenizer: Any) -> bool:
    """Tell whether a tokenizer is that of CLIP, texts in lower case and cut at the end."""
    return (
        type(tokenizer) is SimpleTokenizer
        and tokenizer.clean_fn is get_clean_fn("lower")
        and tokenizer.reduction_fn is None
        and len(tokenizer.all_special_ids) == 2
    )


def as_transformers(tokenizer: SimpleTokenizer, context: int) -> CLIPTokenizer:
    """Return CLIP's tokenizer as transformers has it: the same ids, padded by the end token."""
    names = {tokenizer.sot_token_id: "<|startoftext|>", tokenizer.eot_token_id: "<|endoftext|>"}
    vocabulary = {names.get(i, token): i for token, i in tokenizer.encoder.items()}
    merges: Any = list(tokenizer.bpe_ranks)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=context)


def write_tokenizer(stock: Stock, folder: Path) -> bool:
    """Write a file that gives the ids of a model's tokenizer, cut and padded to its context.

    Returns:
        Whether it was written: not every tokenizer fits into such a file.
    """
    ours: Any = stock.tokenizer
    if is_clips_own(ours):
        backend: Any = as_transformers(ours, stock.context).backend_tokenizer
        padding = {"pad_id": 0, "pad_token": ours.decoder[0]}
    elif isinstance(ours, HFTokenizer) and isinstance(ours.tokenizer, PreTrainedTokenizerFast):
        backend = ours.tokenizer.backend_tokenizer
        padding = {"pad_id": ours.tokenizer.pad_token_id, "pad_token": ours.tokenizer.pad_token}
    else:
        return False
    backend.enable_truncation(stock.context)
    backend.enable_padding(length=stock.context, **padding)
    texts = draw_texts(64)
    found = [encoding.ids for encoding in backend.encode_batch(texts)]
    if found != stock.tokenize(texts).tolist():
        return False
    backend.save(str(folder / FILE))
    return True
