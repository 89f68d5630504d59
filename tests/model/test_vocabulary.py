"""Training the vectors of used tokens alone: the same as training all, where no decay is."""

import copy

import open_clip
import pytest
import torch
from torch import nn

from domainclip.model.towers import lock_tower
from domainclip.model.vocabulary import UsedTokens, find_tokens, keep_used_tokens, restore_tokens

TEXTS = ["a monarch with orange wings", "a peacock, four eyespots", "It's 12 m long; naïve?"]


def embedding(model) -> nn.Module:
    return model.text_tower.token_embedding


@pytest.mark.parametrize("name", ["small", "vit"])
def test_used_tokens_learn_as_those_of_a_whole_vocabulary(build, step, name):
    whole = build(name).train()
    part = copy.deepcopy(whole)
    before = embedding(whole).weight.detach().clone()
    keep_used_tokens(part, [*TEXTS, "a photo of words that never come up"])
    used = find_tokens(part.tokenizer, TEXTS)
    assert isinstance(embedding(part), UsedTokens) and len(embedding(part).rows) > len(used)
    for model in (whole, part):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        for _ in range(3):
            torch.manual_seed(0)
            optimizer.zero_grad()
            step(model)
            optimizer.step()
    restore_tokens(part)
    assert type(embedding(part)) is nn.Embedding
    moved = (embedding(whole).weight != before).any(dim=1)
    assert 0 < moved.sum() < 100
    assert part.state_dict().keys() == whole.state_dict().keys()
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(part.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    assert torch.equal(embedding(part).weight[~moved], before[~moved])


def test_a_token_that_was_not_foreseen_keeps_its_vector(build):
    model = build("vit").eval()
    tokens = model.tokenize(["a monarch", "something else: 99 words"])
    wanted = model.encode_text(tokens)
    keep_used_tokens(model, ["a monarch"])
    assert torch.equal(model.encode_text(tokens), wanted)
    embedding(model).rows.grad = None
    model.encode_text(tokens).sum().backward()
    assert len(embedding(model).rows.grad) == len(find_tokens(model.tokenizer, ["a monarch"]))


def test_words_have_all_tokens_of_a_text():
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    found = set(find_tokens(tokenizer, TEXTS).tolist())
    assert set(tokenizer(TEXTS).flatten().tolist()) == found


def test_where_it_does_not_fit_nothing_is_done(build, monkeypatch):
    locked = build("vit")
    lock_tower(locked, "text")
    foreign = build("vit")
    foreign.tokenizer = lambda texts, context_length: foreign
    for model in (locked, foreign):
        keep_used_tokens(model, TEXTS)
        assert type(embedding(model)) is nn.Embedding
    full = build("vit")
    monkeypatch.setattr(
        "domainclip.model.vocabulary.find_tokens", lambda *args: torch.arange(49408 // 2)
    )
    keep_used_tokens(full, TEXTS)
    assert type(embedding(full)) is nn.Embedding
    restore_tokens(full)
