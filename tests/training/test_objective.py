"""The loss of a batch by hand: which head, which scale, what weighs how much, what stays out."""

import math

import numpy as np
import pytest
import torch
from tiny_module import batch, build
from torch.nn import functional

from domainclip.data.batches import Batch
from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.model.clip import PREFIXES
from domainclip.recipe.schema import Loss
from domainclip.texts.views import Draw, TextViews
from domainclip.training.objective import Objective, Said
from domainclip.training.optimizer import build_optimizer

TREE = LabelTree.from_columns({"genus": ["a", "a", "b"], "species": ["one", "two", "three"]})
ONE, TWO, THREE = (TREE.find(name)[0] for name in ("one", "two", "three"))


class TwoHeads(torch.nn.Module):
    """What an objective needs of a model: the second head swaps the axes of the first."""

    def __init__(self, *heads: str) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleDict({head: torch.nn.Identity() for head in heads})
        scales = {"names": 3.0, "captions": 5.0}
        self.log_scales = torch.nn.ParameterDict(
            {head: torch.nn.Parameter(torch.tensor(math.log(scales[head]))) for head in heads}
        )
        self.biases = torch.nn.ParameterDict()

    def head(self, name: str) -> str:
        return name if name in self.heads else "names"

    def project(self, pooled: torch.Tensor, head: str) -> torch.Tensor:
        return functional.normalize(pooled.flip(1) if head == "captions" else pooled, dim=1)

    def scale(self, head: str) -> torch.Tensor:
        return self.log_scales[self.head(head)].exp()


def unit(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(n, 4, generator=generator), dim=1)


def say(drawn, wrong=()) -> Said:
    """Draws as (text, is it a caption, row of the picture)."""
    rows, caption, pictures = (np.array(x) for x in zip(*drawn, strict=True))
    wrong = np.array(wrong, dtype=np.int64).reshape(-1, 2)
    n = 1 + max([*rows.tolist(), *wrong[:, 0].tolist()])
    is_caption = np.isin(np.arange(n), [*rows[caption], *wrong[:, 0]])
    draw = Draw(tuple(map(str, range(n))), rows, caption.astype(bool), pictures, is_caption, wrong)
    ids = torch.zeros(n, 1)
    return Said(draw, ids, torch.from_numpy(pictures), torch.from_numpy(rows))


def measure(model, said, nodes, weights=None, gates=None, **loss):
    objective = Objective(Loss(**loss, gates=gates is not None), TREE, weights).eval()
    if gates is not None:
        objective.gates.means.copy_(torch.tensor(gates))
    n = len(nodes)
    pooled, encoded = unit(n, 1), unit(len(said.draw.texts), 2)
    items = Batch(torch.zeros(n, 1), torch.tensor(nodes), torch.arange(n), 0)
    return objective(model, pooled, encoded, said, items).item(), pooled, encoded, objective


def entropy(logits, targets) -> float:
    """Cross-entropy of one row of logits, with targets that are made to sum to one."""
    total = math.log(sum(math.exp(x) for x in logits))
    return sum(t * (total - x) for t, x in zip(targets, logits, strict=True)) / sum(targets)


def by_hand(images, texts, scale, right, weights, also=None) -> float:
    """The mean over pairs of both ways; `also`: further wrong texts of each picture."""
    found = []
    for i in range(len(images)):
        row = [scale * float(images[i] @ t) for t in texts]
        column = [scale * float(texts[i] @ x) for x in images]
        more = [scale * float(images[i] @ t) for t in (also or {}).get(i, ())]
        both = entropy(row + more, right[i] + [0] * len(more)) + entropy(column, right[i])
        found.append(weights[i] * both / 2)
    return sum(found) / len(found)


def test_names_and_captions_each_under_their_head_and_scale():
    # Three names (the first and last picture are of one label), two captions, one of them beside
    # a wrong one; stored weights.
    said = say(
        [(0, False, 0), (1, False, 1), (0, False, 2), (2, True, 0), (3, True, 1)], wrong=[(4, 3)]
    )
    weights = np.array([0.5, 1.0, 1.5], dtype=np.float32)
    loss, pooled, texts, _ = measure(
        TwoHeads("names", "captions"), said, [ONE, THREE, ONE], weights
    )
    names = by_hand(
        pooled, texts[[0, 1, 0]], 3.0, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], weights.tolist()
    )
    flipped = pooled.flip(1)
    captions = by_hand(
        flipped[:2], texts[[2, 3]], 5.0, [[1, 0], [0, 1]], [0.5, 1.0], {0: [texts[4]]}
    )
    assert loss == pytest.approx(3 / 5 * names + 2 / 5 * captions, rel=1e-5)


@pytest.mark.parametrize("targets", ["own", "label"])
def test_all_captions_of_a_picture_are_right_for_it(targets):
    said = say([(0, True, 0), (1, True, 0), (2, True, 1)])
    loss, pooled, texts, _ = measure(
        TwoHeads("names", "captions"), said, [ONE, THREE], targets=targets
    )
    images = pooled.flip(1)[[0, 0, 1]]
    right = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert loss == pytest.approx(by_hand(images, texts, 5.0, right, [1, 1, 1]), rel=1e-5)


def test_a_head_counts_by_its_pictures_however_many_captions_these_have():
    drawn = [(0, False, 0), (1, False, 1), (2, True, 2), (3, True, 2), (4, True, 3), (5, True, 3)]
    model, nodes = TwoHeads("names", "captions"), [ONE, THREE, ONE, THREE]
    loss, pooled, texts, _ = measure(model, say(drawn), nodes)
    own = np.eye(2).tolist()
    names = by_hand(pooled[:2], texts[:2], 3.0, own, [1, 1])
    images, right = pooled.flip(1)[[2, 2, 3, 3]], np.kron(np.eye(2), np.ones((2, 2))).tolist()
    captions = by_hand(images, texts[2:], 5.0, right, [1] * 4)
    assert loss == pytest.approx((names + captions) / 2, rel=1e-5)


def test_where_no_label_tells_pictures_apart_their_captions_are_wrong_for_each_other():
    said = say([(0, True, 0), (1, True, 1), (2, True, 2)])
    loss, pooled, texts, objective = measure(TwoHeads("names", "captions"), said, [ONE, ONE, ONE])
    assert loss == pytest.approx(0, abs=1e-6)  # as pictures of one label nothing is known wrong
    objective.labelled = False
    items = Batch(torch.zeros(3, 1), torch.tensor([ONE] * 3), torch.arange(3), 0)
    loss = objective(TwoHeads("names", "captions"), pooled, texts, said, items).item()
    own = np.eye(3).tolist()
    assert loss == pytest.approx(by_hand(pooled.flip(1), texts, 5.0, own, [1, 1, 1]), rel=1e-5)


def test_a_wrong_caption_counts_once_though_two_pictures_were_given_it():
    drawn = [(0, True, 0), (0, True, 1), (1, True, 2)]
    once, *_ = measure(TwoHeads("names"), say(drawn, wrong=[(2, 0)]), [ONE, TWO, THREE])
    twice, *_ = measure(TwoHeads("names"), say(drawn, wrong=[(2, 0), (2, 1)]), [ONE, TWO, THREE])
    none, *_ = measure(TwoHeads("names"), say(drawn), [ONE, TWO, THREE])
    assert twice == pytest.approx(once, rel=1e-6) and once > none + 1e-3


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_gates_of_several_captions(order):
    # Picture 0 has a name and two captions, picture 1 a name and one, picture 2 a name alone.
    first, second = order
    said = say([
        (first, True, 0), (second, True, 0), (0, False, 0), (4, True, 1), (1, False, 1),
        (5, False, 2),
    ])  # fmt: skip
    model = TwoHeads("names", "captions")
    _, pooled, texts, objective = measure(model, said, [ONE, TWO, THREE], gates=[0.9, 0.8, 0.7])
    gate = objective._gate(objective.gates, model, pooled, texts, said)

    def closed(found, mean) -> float:
        return math.exp(min(0.0, float(found) - mean)) ** 2

    def pair(picture, name, caption) -> tuple[float, float]:
        image, flipped = pooled[picture], pooled.flip(1)[picture]
        beside = closed(texts[name] @ texts[caption], 0.9)
        return (
            beside * closed(image @ texts[name], 0.8),
            beside * closed(flipped @ texts[caption], 0.7),
        )

    one, two, three = pair(0, 0, first), pair(0, 0, second), pair(1, 1, 4)
    name = (one[0] + two[0]) / 2
    alone = (name + three[0]) / 2
    expected = [one[1], two[1], name, three[1], three[0], alone]
    assert gate.tolist() == pytest.approx(expected, rel=1e-5)


def test_without_a_pair_gates_leave_all_as_it_is():
    said = say([(0, False, 0), (1, False, 1)])
    model = TwoHeads("names")
    gated, *_ = measure(model, said, [ONE, TWO], gates=[1.0, 1.0, 1.0])
    assert gated == pytest.approx(measure(model, said, [ONE, TWO])[0], rel=1e-6)


def test_a_head_that_nothing_is_said_to_stays_as_it_is():
    module = build("vit")
    module.views.caption_share = 0.0
    optim = module.recipe.optim.model_copy(update={"lr": 0.1, "warmup": 0.0})
    optimizer, _ = build_optimizer(module.model, optim, 10)
    before = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    module.backpropagate(batch(module.views.tree))
    module.configure_gradient_clipping(optimizer)
    optimizer.step()
    same = {n for n, p in module.model.named_parameters() if torch.equal(p, before[n])}
    assert same == {n for n in before if "captions" in n} != set()


def test_each_text_is_tokenised_with_the_prefix_of_its_kind():
    module = build("vit")
    module.model.prefixes = dict(PREFIXES)
    module.views = TextViews(
        module.views.tree, PromptSet(), {"formal": 1.0},
        [(f"It has {i + 2} dark spots.",) for i in range(12)], caption_share=0.5, negatives=1,
        words=get_domain("biology").knowledge.words(),
    )  # fmt: skip
    said = module.say(batch(module.views.tree))
    wrong = set(said.draw.wrong[:, 0].tolist())
    kinds = said.draw.text_is_caption
    assert wrong and kinds[[*wrong]].all() and 0 < kinds.sum() < len(kinds)
    prefixed = [
        f"{PREFIXES['captions' if caption else 'names']} {text}"
        for text, caption in zip(said.draw.texts, kinds, strict=True)
    ]
    module.model.prefixes = {}
    assert torch.equal(said.tokens, module.model.tokenize(prefixed, "names"))


def test_tokens_are_kept_within_bounds_and_wrong_captions_are_not():
    module = build("vit")
    module._tokens.most = 5
    texts = [("a long caption of far more than twelve tokens that is cut at its end", "captions")]
    texts += [(f"text {i}", "names") for i in range(7)]
    keep = [True] * 7 + [False]
    tokens, cut = module._tokens.tokenize(module.model, texts, keep)
    plain = [text for text, _ in texts]
    assert torch.equal(tokens, module.model.tokenize(plain))
    assert cut.tolist() == [True] + [False] * 7
    assert len(module._tokens) == 5 and list(module._tokens._kept) == texts[2:7]
    again, cut = module._tokens.tokenize(module.model, texts[::-1], keep)
    assert torch.equal(again, tokens.flip(0)) and cut.tolist() == [False] * 7 + [True]
