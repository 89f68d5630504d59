"""Several processes that share a batch do what one does with the whole, over gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_module import batch, build

import domainclip
from domainclip.errors import UsageError
from domainclip.recipe.schema import Train
from domainclip.training.launch import missing_processes

HERE = Path(__file__).parent
CHECKOUT = Path(domainclip.__file__).parents[1]
WORKER = """
import sys
import torch
from tiny_module import batch, build
from domainclip.training.processes import average_gradients, join_processes, process_rank

micro, out = int(sys.argv[1]), sys.argv[2]
join_processes("cpu")
module = build("vit", micro, targets="tree")
module.model.clip.visual.patch_dropout = torch.nn.Identity()
whole = batch(module.views.tree)
half = len(whole.pixels) // 2
mine = whole._replace(pixels=whole.pixels[process_rank() * half : (process_rank() + 1) * half])
loss = module.backpropagate(mine).detach()
if not micro:
    average_gradients(module.model)  # what DDP does
torch.distributed.all_reduce(loss)
if not process_rank():
    torch.save((loss / 2, {k: p.grad for k, p in module.model.named_parameters()}), out)
"""


FAILING = """
import torch
from domainclip.errors import DataError, TrainingError
from domainclip.training.processes import (
    any_process, first_alone, from_all, join_processes, leave_processes, process_rank,
    take_from_first,
)

join_processes("cpu")
rank = process_rank()
assert from_all(rank) == [0, 1]
assert any_process(rank == 1) and not any_process(False)
statistics = torch.full((2,), float(rank))
take_from_first([statistics])
assert statistics.tolist() == [0, 0]
try:
    with first_alone():
        assert not rank, "the others never get here"
        raise DataError("no such picture", "look again")
except TrainingError as error:
    assert rank and "no such picture" in error.message and error.hint == "look again"
except DataError:
    assert not rank
with first_alone():
    pass
leave_processes()
"""


def environment(rank: int, port: int) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{HERE}", "RANK": str(rank),
        "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def run_both(code: str, *arguments: str) -> None:
    """Run a piece of Python in two processes of one group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", code, *arguments]
    both = [subprocess.Popen(command, env=environment(rank, port)) for rank in (0, 1)]
    assert [process.wait(timeout=280) for process in both] == [0, 0]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_failure_of_the_first_ends_the_others_too():
    run_both(FAILING)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("micro", [0, 4])
def test_two_processes_have_the_gradient_of_one(micro, tmp_path):
    run_both(WORKER, str(micro), str(tmp_path / "out.pt"))
    loss, found = torch.load(tmp_path / "out.pt")
    module = build("vit", targets="tree")
    module.model.clip.visual.patch_dropout = torch.nn.Identity()
    wanted = module.backpropagate(batch(module.views.tree))
    assert float(loss) == pytest.approx(float(wanted.detach()), rel=1e-6)
    for name, parameter in module.model.named_parameters():
        if parameter.grad is not None:
            off = (found[name] - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-6)
            assert off <= 1e-5, (name, float(off))


def train(folder: Path, *options: str, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *(start if torchrun else []), "-m", "domainclip", "train", "--domain",
         "biology", "--tiny", "--out", str(folder), "--model.image_size", "32",
         "--train.precision", "float32", "--train.augment", "false", "--device", "cpu", *options],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row["train_loss"] for row in map(json.loads, lines) if "train_loss" in row]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_by_two_processes_is_that_of_one(tmp_path):
    """By the flag, by torchrun, and in chunks: the losses of every step are those of one process.

    The built-in model normalises by batch statistics, each process by its own; so they are held.
    """
    held = ["--model.lock", "image"]
    alone = train(tmp_path / "alone", *held)
    assert alone.returncode == 0, alone.stderr
    for name, options, torchrun in (
        ("flag", ["--train.devices", "2"], False),
        ("torchrun", [], True),
        ("chunks", ["--train.devices", "2", "--train.micro_batch", "4"], False),
    ):
        done = train(tmp_path / name, *held, *options, torchrun=torchrun)
        assert done.returncode == 0, done.stderr
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
        assert (tmp_path / name / "model" / "domainclip.json").is_file()
        assert done.stdout.count("top1") == alone.stdout.count("top1") > 0


def test_what_cannot_be_had_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="fsdp needs GPUs"):
        missing_processes(Train(strategy="fsdp", devices=2), "cpu")
    with pytest.raises(UsageError, match="there are 0 GPUs here"):
        missing_processes(Train(devices=3), "cuda") if not torch.cuda.device_count() else (
            missing_processes(Train(devices=torch.cuda.device_count() + 1), "cuda")
        )
    assert missing_processes(Train(devices=3), "cpu") == 3
    assert missing_processes(Train(), "cpu") == 0
