"""Batches: every step depends on the seed and its number alone, and a run goes on exactly."""

import sys
from collections import Counter

import data_fakes as fakes
import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint

from domainclip.data.datamodule import open_data
from domainclip.data.sampling import StepSampler
from domainclip.domains.registry import get_domain
from domainclip.recipe.schema import Recipe


def opened(size=16, **data):
    data = {"batch_size": 8, "workers": 0, **data}
    return open_data(Recipe(domain="fake", data=data), fakes.make_domain(), size)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.integers(0, 12))
def test_a_step_does_not_depend_on_where_the_run_began(n, batch, seed, start):
    whole = list(StepSampler(n, batch, seed, 12))
    rest = list(StepSampler(n, batch, seed, 12, start))
    assert len(rest) == len(StepSampler(n, batch, seed, 12, start)) == 12 - start
    for (a, one), (b, other) in zip(whole[start:], rest, strict=True):
        assert a == b
        assert one.tolist() == other.tolist()
        assert len(one) == batch


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 20))
def test_pictures_come_equally_often(n, batch, steps):
    drawn = np.concatenate([rows for _, rows in StepSampler(n, batch, 0, steps)])
    counts = Counter(drawn.tolist())
    often = [counts[i] for i in range(n)]
    assert max(often) - min(often) <= 1
    for at in range(0, len(drawn) - n + 1, n):
        assert sorted(drawn[at : at + n].tolist()) == list(range(n))


def test_epochs_and_seeds_have_orders_of_their_own():
    sampler = StepSampler(50, 50, 0, 2)
    assert sampler.batch(0).tolist() != sampler.batch(1).tolist()
    assert sampler.batch(0).tolist() != StepSampler(50, 50, 1, 2).batch(0).tolist()


def test_a_batch_is_what_the_model_takes():
    data = opened()
    data.steps = 3
    batches = list(data.train_dataloader())
    assert [b.step for b in batches] == [0, 1, 2]
    for batch in batches:
        assert batch.pixels.shape == (8, 3, 16, 16)
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
        assert batch.nodes.dtype == batch.indices.dtype == torch.int64
        nodes = data.splits["train"].nodes[batch.indices.numpy()]
        assert batch.nodes.tolist() == nodes.tolist()


def same(a, b):
    return all(
        x.step == y.step
        and torch.equal(x.pixels, y.pixels)
        and torch.equal(x.indices, y.indices)
        and torch.equal(x.nodes, y.nodes)
        for x, y in zip(a, b, strict=True)
    )


def test_augmentation_is_seeded_by_step():
    data = opened()
    data.steps = 8
    one, two = list(data.train_dataloader()), list(data.train_dataloader())
    assert same(one, two)
    loader = data.train_dataloader()
    loader.load_state_dict({"next_step": 5})
    assert same(list(loader), one[5:])
    data.seed = 1
    assert not torch.equal(next(iter(data.train_dataloader())).pixels, one[0].pixels)


def test_the_same_picture_is_augmented_anew():
    data = opened()
    data.steps = 12
    seen = {}
    for batch in data.train_dataloader():
        for index, pixels in zip(batch.indices.tolist(), batch.pixels, strict=True):
            seen.setdefault(index, set()).add(pixels.numpy().tobytes())
    assert np.mean([len(views) for views in seen.values()]) > 2


@pytest.mark.parametrize("domain", ["biology", "medical", "remote_sensing", "fake"])
def test_the_recipe_says_how_much_a_crop_takes(domain):
    """Of a picture that is brighter to the right, small crops show few of the shades."""
    shades = np.linspace(0, 255, 72).astype(np.uint8)
    picture = np.broadcast_to(shades[None, :, None], (72, 72, 3))
    spans = {}
    for crop in (0.1, 0.9):
        recipe = Recipe(domain=domain, data={"limit": 8, "workers": 0}, train={"crop": crop})
        of = fakes.make_domain() if domain == "fake" else get_domain(domain)
        transform = open_data(recipe, of, 64).augment(64)
        seen = [transform(image=picture)["image"].astype(float) for _ in range(40)]
        spans[crop] = np.mean([np.ptp(pixels) for pixels in seen])
    assert spans[0.1] < 0.9 * spans[0.9]


@pytest.mark.skipif(sys.platform != "linux", reason="starts processes by fork")
def test_workers_change_nothing():
    one, two = opened(), opened(workers=2)
    one.steps = two.steps = 5
    assert same(list(one.train_dataloader()), list(two.train_dataloader()))


def test_whole_pictures_come_in_order():
    data = opened()
    batches = list(data.loader("train"))
    assert torch.cat([b.indices for b in batches]).tolist() == list(range(30))
    split = data.splits["train"]
    pixels = torch.cat([b.pixels for b in batches]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(pixels, split.read(range(30))[:, 1:17, 1:17])
    assert data.side == data.splits["val"].pictures.side == 18  # packed with a margin
    np.testing.assert_array_equal(data.splits["val"].read([2]), data.splits["val"][2][0][None])


class Recorder(L.LightningModule):
    """Trains nothing and writes down what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append((batch.step, batch.indices.tolist(), int(batch.pixels.long().sum())))
        return self.weight.sum()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def shown(folder, checkpoint=None):
    data, module = opened(), Recorder()
    data.steps = 9
    saver = ModelCheckpoint(
        folder, "{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False
    )
    trainer = L.Trainer(
        max_steps=9,
        max_epochs=-1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saver],
    )
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=False if checkpoint else None)
    return module.seen


@pytest.mark.filterwarnings("ignore")
def test_lightning_takes_a_run_up_again_at_any_step(tmp_path):
    whole = shown(tmp_path / "a")
    assert [step for step, *_ in whole] == list(range(9))
    for step in (1, 4, 8):
        rest = shown(tmp_path / f"b{step}", tmp_path / "a" / f"{step}.ckpt")
        assert rest == whole[step:]
