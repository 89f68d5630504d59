"""Memory that runs out, and a device that is not there: what a person reads then."""

import re
import sys

import pytest
import torch

from domainclip.errors import TrainingError, UsageError
from domainclip.model.device import pick_device
from domainclip.recipe.load import load_recipe
from domainclip.recipe.schema import Recipe
from domainclip.training.memory import explained_memory, peak_memory_mb

# The limit comes after the imports, which alone reserve gigabytes of addresses.
LIMITED = """
import resource, sys
import domainclip.training.run
from domainclip.cli import main
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
sys.argv = ["domainclip", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_batch_that_does_not_fit_says_what_to_lower(tmp_path, run_python):
    run = tmp_path / "run"
    done = run_python(
        "-c", LIMITED, "train", "--domain=biology", "--device=cpu", "--data.limit=24",
        "--data.batch_size=6000", "--data.workers=0", "--train.steps=2", "--train.validations=1",
        "--model.image_size=64", "--train.precision=float32", f"--out={run}",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    error, hint = done.stderr.strip().splitlines()[-2:]
    assert error == "error: memory ran out, at 6000 pictures a step"
    assert f"--recipe {run} --out NEW" in hint
    for way in ("train.micro_batch 1500", "data.batch_size 3000", "model.grad_checkpointing true"):
        assert f"--{way}" in hint
    assert "Traceback" not in done.stderr


def test_other_errors_stay_as_they_are(tmp_path):
    recipe = Recipe.model_validate({"domain": "biology", "train": {"micro_batch": 8}})
    with pytest.raises(RuntimeError, match="of another kind"), explained_memory(recipe, tmp_path):
        raise RuntimeError("of another kind")
    with pytest.raises(TrainingError, match="in parts of 8") as caught:  # noqa: SIM117
        with explained_memory(recipe, tmp_path):
            bytearray(2**62)
    assert "train.micro_batch 2 " in caught.value.hint and "--resume" not in caught.value.hint


@pytest.mark.parametrize(
    ("batch", "micro", "devices"), [(36, 0, 4), (96, 32, 1), (4096, 0, 8), (4, 2, 2), (2, 0, 1)]
)
def test_what_is_advised_is_accepted(tmp_path, batch, micro, devices):
    asked = {"data.batch_size": batch, "train.micro_batch": micro, "train.devices": devices}
    recipe = load_recipe("biology", None, asked, {}).recipe
    with pytest.raises(TrainingError) as caught, explained_memory(recipe, tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory")
    advised = re.findall(r"--(\S+) (\d+|true)", caught.value.hint)
    assert advised
    for key, value in advised:
        load_recipe("biology", None, {**asked, key: value}, {})
        share = batch // devices
        assert key != "train.micro_batch" or int(value) < (micro or share)


def test_the_peak_counts_what_was_taken():
    before = peak_memory_mb("cpu")
    block = bytearray(int((before + 200) * 2**20))
    assert peak_memory_mb("cpu") > before + 150
    del block


def test_a_device_that_is_not_there_is_refused_before_anything(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(UsageError, match=f"no {name} device"):
            pick_device(name)
    assert pick_device("auto") == pick_device("cpu") == "cpu"
