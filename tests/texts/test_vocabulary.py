"""The words of whatever training may draw hold the tokens of what it draws."""

import numpy as np
import open_clip
import pytest

from domainclip.data.builtin import sample_builtin
from domainclip.domains.registry import get_domain
from domainclip.model.vocabulary import find_tokens
from domainclip.texts.labels import NAME_VIEWS
from domainclip.texts.views import TextViews
from domainclip.texts.vocabulary import list_texts


@pytest.mark.parametrize("name", ["biology", "medical", "remote_sensing"])
def test_what_is_drawn_is_made_of_words_that_were_listed(name):
    domain = get_domain(name)
    tree, words = domain.labels(), domain.knowledge.words()
    samples = [sample_builtin(domain, "train", i, size=0, seed=0) for i in range(60)]
    nodes = np.array([tree.node(sample.label) for sample in samples])
    captions = [sample.captions for sample in samples]
    views = TextViews(
        tree, domain.prompts["default"], dict.fromkeys(NAME_VIEWS, 1.0), captions,
        stored=[[(f"A {tree.name(int(node))}, seen from above.",) for node in nodes]],
        caption_share=0.7, part_share=0.5, both=True, caption_draws=2, nameless=0.3, negatives=2,
        nouns=dict.fromkeys(nodes.tolist(), "thing"), words=words,
    )  # fmt: skip
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    listed = set(find_tokens(tokenizer, list_texts(views, nodes.tolist(), words)).tolist())
    drawn: set[str] = set()
    for step in range(60):
        drawn |= set(views.draw(nodes, np.arange(len(nodes)), (0, step)).texts)
    tokens = {token for text in drawn for token in tokenizer.encode(text)}
    assert len(drawn) > 200 and tokens - listed == set()
