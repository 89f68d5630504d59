"""Whole runs with low-rank adapters: what they leave, and that they go on exactly."""

from pathlib import Path

import pytest
import torch
from small_recipe import small_recipe

from domainclip.errors import UsageError
from domainclip.model.folder import load_model
from domainclip.recipe.schema import Recipe
from domainclip.training import fit as fitting
from domainclip.training.run import resume, train


def recipe(out: Path, **changes) -> Recipe:
    return small_recipe(out, data={"limit": 32, "batch_size": 16}, **changes)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A model to adapt."""
    return train(recipe(tmp_path_factory.mktemp("first") / "run"), progress=False).folder


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    path = fitting.checkpoint_path(folder, fitting.LAST)
    return torch.load(path, map_location="cpu", weights_only=False)["state_dict"]


def test_a_run_adapts_merges_and_goes_on_exactly(first, tmp_path, monkeypatch):
    lora = {"model": {"name": str(first), "image_size": 0, "lora": 4, "lock": "image"}}
    whole = train(recipe(tmp_path / "whole", **lora), progress=False)
    plain, adapted = load_model(first), load_model(whole.folder)
    before, after = plain.state_dict(), adapted.state_dict()
    assert before.keys() == after.keys()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert not any("visual" in n for n in changed)
    assert "clip.text.transformer.resblocks.0.attn.in_proj_weight" in changed
    assert "clip.text.token_embedding.weight" not in changed

    def stop_early(self, trainer, module, outputs, batch, index):
        if trainer.global_step == 3 and not self.stopped:
            self._stop(2, None)
        if self.stopped:
            trainer.should_stop = True

    with monkeypatch.context() as patched:
        patched.setattr(fitting.StopOnSignal, "on_train_batch_end", stop_early)
        stopped = train(recipe(tmp_path / "stopped", **lora), progress=False)
    done = resume(stopped.folder, progress=False)
    one, other = checkpoint(whole.folder), checkpoint(done.folder)
    assert any("lora_A" in n for n in one)
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_adapters_of_nothing_are_refused_before_anything_starts(tmp_path):
    with pytest.raises(UsageError, match="starts from nothing"):
        train(recipe(tmp_path / "run", model={"lora": 4}), progress=False)
    assert not (tmp_path / "run").exists()
