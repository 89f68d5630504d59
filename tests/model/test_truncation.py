"""Which texts do not fit, told from those that just fit."""

import pytest
import torch

from domainclip.model.folder import create_model
from domainclip.model.truncation import find_cut


@pytest.fixture(scope="module")
def model():
    return create_model("small", context_length=12, image_size=32)[0]


def test_a_text_is_cut_from_the_first_token_too_many_on(model):
    texts = ["", *("wing " * n for n in range(1, 14)), "a !", "a ! " * 5, "a ! " * 6]
    sizes = [len(model.tokenizer.encode(text)) + 2 for text in texts]
    assert {11, 12, 13} <= set(sizes)
    cut = find_cut(model, texts, model.tokenize(texts))
    assert cut.tolist() == [size > 12 for size in sizes]


def test_no_text_is_fine(model):
    assert find_cut(model, [], torch.zeros(0, 12, dtype=torch.long)).shape == (0,)


class Blanking:
    """A tokenizer that blanks out its end token, as some do: pad 0, no trace of the end."""

    def __call__(self, texts, context_length=None):
        rows = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [5 + len(word) for word in text.split()][: context_length - 1]
            row[: len(ids)] = torch.tensor(ids)
        return rows


def test_a_tokenizer_without_an_end_token_is_understood(model, monkeypatch):
    monkeypatch.setattr(model, "tokenizer", Blanking())
    texts = ["w " * n for n in (0, 3, 10, 11, 12, 20)]
    assert find_cut(model, texts, model.tokenize(texts)).tolist() == [False] * 4 + [True] * 2
