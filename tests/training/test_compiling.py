"""Compiled towers: the same model by another way, and a plain one again afterwards."""

import copy

import pytest
import torch

from domainclip.errors import UsageError
from domainclip.model.folder import create_model, load_model
from domainclip.recipe.schema import Recipe
from domainclip.training.checkpoints import LAST, checkpoint_path
from domainclip.training.compiling import compiled, require_compiler
from domainclip.training.run import resume, train


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
@pytest.mark.timeout(900)
def test_a_compiled_run_trains_alike_and_goes_on(compiler, tmp_path):
    def recipe(name: str, **changes) -> Recipe:
        length = {"steps": 4, "validations": 2, "precision": "float32", **changes}
        return Recipe.model_validate(
            {
                "domain": "biology",
                "out": str(tmp_path / name),
                "device": "cpu",
                "data": {"limit": 24, "batch_size": 8, "workers": 0},
                "model": {"image_size": 32},
                "train": length,
                "evaluate": {"bootstrap": 0},
            }
        )

    def weights(name: str) -> dict[str, torch.Tensor]:
        path = checkpoint_path(tmp_path / name, LAST)
        return torch.load(path, map_location="cpu", weights_only=False)["state_dict"]

    plain = train(recipe("plain"), progress=False)
    done = train(recipe("compiled", compile=True), progress=False)
    first, second = weights("plain"), weights("compiled")
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=5e-3, rtol=0.05, msg=name)
    assert [r["metric"] for r in plain.rows] == [r["metric"] for r in done.rows]
    assert (
        load_model(done.folder).state_dict().keys() == load_model(plain.folder).state_dict().keys()
    )
    resume(done.folder, progress=False)
