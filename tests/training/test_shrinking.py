"""Smaller pictures in the first part of a run."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_recipe import small_recipe
from tiny_module import batch, build

from domainclip.errors import UsageError
from domainclip.training.module import ContrastiveModule
from domainclip.training.run import read_metrics, train
from domainclip.training.shrinking import require_any_size, shrink, side_at, small_side


@given(st.integers(16, 1024))
def test_small_pictures_have_about_two_thirds_of_the_side(size):
    side = small_side(size)
    assert side % 16 == 0 and side <= size
    assert abs(side - 2 * size / 3) <= 8 or side == 16


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_share_of_a_run_that_sees_small_ones(steps, small):
    sides = [side_at(step, steps, small, 96) for step in range(steps)]
    assert sides == sorted(sides) and set(sides) <= {64, 96}
    assert sides.count(64) == round(small * steps)


def test_each_pixel_is_a_mean_of_those_in_its_place():
    pixels = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    pixels[..., :48] = 200
    found = shrink(pixels, 64)
    assert found.shape == (1, 3, 64, 64) and found.dtype == torch.uint8
    assert (found[..., :31] == 200).all() and (found[..., 33:] == 0).all()
    assert shrink(pixels, 96) is pixels


def _sides(module: ContrastiveModule, steps: int, small: float) -> list[int]:
    train = module.recipe.train.model_copy(update={"small": small})
    module.recipe, module.steps = module.recipe.model_copy(update={"train": train}), steps
    module.model.preprocess = module.model.preprocess.__class__(48, (0.5,) * 3, (0.25,) * 3)
    seen: list[int] = []
    module.model.clip.visual.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[-1]))
    one = batch(module.views.tree)
    pixels = one.pixels.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    for step in range(steps):
        module.backpropagate(one._replace(step=step, pixels=pixels))
    return seen


def test_steps_see_small_pictures_first():
    assert _sides(build("resnet"), 4, 0.5) == [32, 32, 48, 48]


def test_chunks_of_a_batch_see_them_too():
    sides = _sides(build("resnet", micro=6), 2, 0.5)
    assert set(sides[: len(sides) // 2]) == {32} and set(sides[len(sides) // 2 :]) == {48}


def test_a_tower_of_one_size_is_refused():
    require_any_size(build("resnet").model)
    model = build("vit").model
    model.preprocess = model.preprocess.__class__(48, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(UsageError, match=r"train\.small"):
        require_any_size(model)
    assert model.training


def test_minutes_become_steps_of_both_sizes(tmp_path):
    length = {"steps": None, "minutes": 0.02, "small": 0.5, "validations": 1}
    asked = small_recipe(tmp_path / "run", model={"image_size": 48}, train=length)
    train(asked, progress=False)
    assert read_metrics(tmp_path / "run")["steps"] >= 1
