"""Compiled towers: the same model by another way, and a plain one again afterwards."""

import copy
from pathlib import Path

import pytest
import torch
from small_recipe import small_recipe
from tiny_module import batch, build

from domainclip.errors import UsageError
from domainclip.model.folder import create_model, load_model
from domainclip.recipe.schema import Recipe
from domainclip.training.checkpoints import LAST, checkpoint_path
from domainclip.training.compiling import compiled, require_compiler
from domainclip.training.run import resume, train
from domainclip.training.stop import StopOnSignal


@pytest.fixture(scope="module")
def compiler():
    try:
        require_compiler("cpu")
    except UsageError as error:
        pytest.skip(error.message)


def test_names_of_weights_stay_and_copies_are_plain():
    model, _ = create_model("small", image_size=32)
    names = list(model.state_dict())
    with compiled(model, True):
        assert list(model.state_dict()) == names
        assert model.clip.visual._compiled_call_impl is not None
        assert copy.deepcopy(model).clip.visual._compiled_call_impl is None
    assert model.clip.visual._compiled_call_impl is None
    with compiled(model, False):
        assert model.clip.visual._compiled_call_impl is None


def test_a_compiler_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    torch._dynamo.reset()
    with pytest.raises(UsageError, match=r"train\.compile does not work here") as caught:
        require_compiler("cpu")
    assert "g++" in caught.value.hint and "--train.compile false" in caught.value.hint
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_compiled_step_has_the_gradient_of_a_plain_one(compiler):
    found = []
    for wanted in (False, True):
        module = build("resnet")
        with compiled(module.model, wanted):
            loss = module.backpropagate(batch(module.views.tree)).detach()
        grads = {n: p.grad for n, p in module.model.named_parameters() if p.grad is not None}
        found.append((loss, grads))
    (loss, plain), (other, fast) = found
    torch.testing.assert_close(other, loss, atol=1e-5, rtol=1e-5)
    assert plain.keys() == fast.keys()
    for name, grad in plain.items():
        off = (fast[name] - grad).norm() / grad.norm().clamp(min=1e-6)
        assert off < 1e-3, (name, float(off))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_run_goes_on_exactly(compiler, tmp_path, monkeypatch):
    def recipe(name: str) -> Recipe:
        return small_recipe(tmp_path / name, train={"compile": True})

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        path = checkpoint_path(folder, LAST)
        return torch.load(path, map_location="cpu", weights_only=False)["state_dict"]

    def stop_early(self, trainer, module, outputs, batch, index):
        if trainer.global_step == 2 and not self.stopped:
            self._stop(2, None)
        if self.stopped:
            trainer.should_stop = True

    whole = train(recipe("whole"), progress=False)
    with monkeypatch.context() as patched:
        patched.setattr(StopOnSignal, "on_train_batch_end", stop_early)
        stopped = train(recipe("stopped"), progress=False)
    assert stopped.stopped
    done = resume(stopped.folder, progress=False)
    one, other = weights(whole.folder), weights(done.folder)
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    plain = create_model("small", image_size=32)[0].state_dict()
    assert load_model(done.folder).state_dict().keys() == plain.keys()
