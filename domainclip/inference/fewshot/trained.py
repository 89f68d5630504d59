"""Tip-Adapter-F: the cache's keys are trained, everything else stays.

Zhang et al. 2022, arXiv:2207.09519, and the paper's code: AdamW at 1e-3 with eps 1e-4, a cosine
over 20 epochs, batches of 256. Alpha and beta are those that suit the untrained cache, and
the epoch is chosen on validation; the paper's code chooses it on the test. The paper trains on
fresh random crops, which differ from the keys; here vectors are what there is, and a picture is
told by all keys but its own, which would know the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch.nn import functional

from .support import Held, Method, Settings, Support, Vectors, find_accuracy
from .tip import START, Tip, fit_tip, search_tip

EPOCHS, BATCH = 20, 256
RATE, EPS = 1e-3, 1e-4


def fit_trained(support: Support, settings: Settings | None = None, seed: int = 0) -> Tip:
    """Train the keys for as many epochs as the settings say, all of them where there are none."""
    settings = dict(settings or {**START, "epochs": EPOCHS})
    tip = replace(fit_tip(support), settings=settings)
    *_, keys = islice(train_keys(tip, support, seed), int(settings["epochs"]) + 1)
    return replace(tip, keys=keys)


def search_trained(support: Support, held: Held, seed: int = 0) -> Tip:
    """Train the keys, and take those of the epoch that is best on held pictures.

    Of equal epochs the first is taken; epoch 0 is the untrained cache.
    """
    tip = search_tip(support, held)
    if not tip.settings["alpha"]:  # a cache that does not count cannot be trained
        tip = fit_tip(support)
    best, most = tip, -1.0
    for epoch, keys in enumerate(train_keys(tip, support, seed)):
        now = replace(tip, keys=keys, settings={**tip.settings, "epochs": epoch})
        accuracy = find_accuracy(now, held)
        if accuracy > most:
            best, most = now, accuracy
    return best


def train_keys(tip: Tip, support: Support, seed: int) -> Iterator[Vectors]:
    """Yield the keys, shape (N, dim), before the first epoch and after each.

    Args:
        tip: The untrained cache, with the strengths that it is trained under.
        support: The pictures and their labels.
        seed: Seed of the order of the pictures.
    """
    alpha, beta = tip.settings["alpha"], tip.settings["beta"]
    features, labels = torch.from_numpy(support.features), torch.from_numpy(support.labels)
    texts = torch.from_numpy(tip.texts)
    keys = torch.nn.Parameter(features.clone())
    optimizer = torch.optim.AdamW([keys], lr=RATE, eps=EPS)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    yield keys.detach().numpy().copy()
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            near = torch.exp(beta * (features[rows] @ keys.T - 1))
            near = near.scatter(1, rows[:, None], 0.0)  # its own key
            logits = tip.scale * features[rows] @ texts.T
            logits = logits.index_add(1, labels, near, alpha=alpha)
            optimizer.zero_grad()
            loss = functional.cross_entropy(logits, labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        yield np.asarray(keys.detach().numpy().copy())


TIP_TRAINED = Method(Tip, fit_trained, search_trained, needs=("texts",))
