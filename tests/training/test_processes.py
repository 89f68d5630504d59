"""Several processes that share a batch do what one does with the whole, over gloo."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from test_kill import tiny_vit
from tiny_module import batch, build

import domainclip
from domainclip.errors import UsageError
from domainclip.model.folder import create_model
from domainclip.recipe.schema import Train
from domainclip.training.checkpoints import LAST, checkpoint_path, step_of
from domainclip.training.guard import clip_gradients
from domainclip.training.launch import missing_processes
from domainclip.training.processes import find_cluster

HERE = Path(__file__).parent
CHECKOUT = Path(domainclip.__file__).parents[1]
WORKER = """
import sys
import torch
from torch.distributed.device_mesh import init_device_mesh
from tiny_module import batch, build
from domainclip.training.guard import clip_gradients
from domainclip.training.processes import average_gradients, join_processes, process_rank
from domainclip.training.sharding import local_part, shard_towers, whole_on_cpu

strategy, micro, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
join_processes("cpu")
module = build("vit", micro, strategy, targets="tree")
module.model.clip.visual.patch_dropout = torch.nn.Identity()
if module.sharded:
    shard_towers(module.model, init_device_mesh("cpu", (2,)))
    sizes = [(local_part(p).numel(), p.numel()) for p in module.parameters()]
    assert sum(held for held, _ in sizes) < 0.6 * sum(whole for _, whole in sizes)
whole = batch(module.views.tree)
half = len(whole.pixels) // 2
mine = whole._replace(pixels=whole.pixels[process_rank() * half : (process_rank() + 1) * half])
loss = module.backpropagate(mine).detach()
if not micro and not module.sharded:
    average_gradients(module.model)  # what DDP does
torch.distributed.all_reduce(loss)
found = {k: whole_on_cpu(p.grad).clone() for k, p in module.model.named_parameters()}
norm = clip_gradients(list(module.model.parameters()), 0.01)
clipped = clip_gradients(list(module.model.parameters()), 0.0)
if not process_rank():
    torch.save((loss / 2, found, norm, clipped), out)
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
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("micro", [0, 4])
def test_two_processes_have_the_gradient_of_one(strategy, micro, tmp_path):
    run_both(WORKER, strategy, str(micro), str(tmp_path / "out.pt"))
    loss, found, norm, clipped = torch.load(tmp_path / "out.pt")
    module = build("vit", targets="tree")
    module.model.clip.visual.patch_dropout = torch.nn.Identity()
    wanted = module.backpropagate(batch(module.views.tree))
    assert float(loss) == pytest.approx(float(wanted.detach()), rel=1e-6)
    for name, parameter in module.model.named_parameters():
        if parameter.grad is not None:
            off = (found[name] - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-6)
            assert off <= 1e-5, (name, float(off))
    wanted = clip_gradients(list(module.model.parameters()), 0.0)
    assert float(norm) == pytest.approx(float(wanted), rel=1e-5)
    assert float(clipped) == pytest.approx(0.01, rel=1e-3)


def train(folder: Path, *options: str, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    return run(
        "--domain", "biology", "--tiny", "--out", str(folder), "--model.image_size", "32",
        "--train.precision", "float32", "--train.augment", "false", "--device", "cpu", *options,
        torchrun=torchrun,
    )  # fmt: skip


def run(*options: str, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *(start if torchrun else []), "-m", "domainclip", "train", *options],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row["train_loss"] for row in map(json.loads, lines) if "train_loss" in row]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint_path(folder, LAST), weights_only=False)["state_dict"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_by_two_processes_is_that_of_one(tmp_path):
    """By the flag, by torchrun, and in chunks: losses and weights are those of one process.

    Both towers learn; they have no batch statistics, which each process takes of its own pictures.
    """
    vit = tiny_vit(tmp_path / "vit")
    options = ["--model.name", str(vit), "--optim.lr", "1e-3"]
    alone = train(tmp_path / "alone", *options)
    assert alone.returncode == 0, alone.stderr
    begun = torch.load(vit / "open_clip_pytorch_model.bin")
    wanted = weights(tmp_path / "alone")
    moved = {f"model.clip.{k}": wanted[f"model.clip.{k}"] - v for k, v in begun.items()
             if f"model.clip.{k}" in wanted}  # fmt: skip
    assert any("visual.transformer" in k for k in moved)
    tokens = "model.clip.token_embedding"
    moved[f"{tokens}.rows"] = (
        wanted[f"{tokens}.rows"] - begun["token_embedding.weight"][wanted[f"{tokens}.ids"]]
    )
    for name, more, torchrun in (
        ("flag", ["--train.devices", "2"], False),
        ("torchrun", [], True),
        ("chunks", ["--train.devices", "2", "--train.micro_batch", "4"], False),
    ):
        done = train(tmp_path / name, *options, *more, torchrun=torchrun)
        assert done.returncode == 0, done.stderr
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
        found = weights(tmp_path / name)
        for key, way in moved.items():  # AdamW's first steps blow up what rounding leaves
            assert (found[key] - wanted[key]).norm() <= 0.02 * way.norm(), key
        assert (tmp_path / name / "model" / "domainclip.json").is_file()
        assert done.stdout.count("top1") == alone.stdout.count("top1") > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_in_shards_goes_on_in_one_process(tmp_path):
    """Two processes that each hold half of the weights; then one goes on from their checkpoint."""
    alone, two = tmp_path / "alone", tmp_path / "two"
    options = ["--model.name", str(tiny_vit(tmp_path / "vit")), "--optim.lr", "1e-3",
               "--train.validations", "4", "--train.strategy", "fsdp"]  # fmt: skip
    done = train(alone, *options)
    assert done.returncode == 0, done.stderr
    early, last = tmp_path / "early.ckpt", checkpoint_path(two, LAST)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(train, two, *options, torchrun=True)
        while not (last.is_file() or running.done()):
            time.sleep(0.002)
        if last.is_file():
            shutil.copy(last, early)
    done = running.result()
    assert done.returncode == 0, done.stderr
    assert losses(two) == pytest.approx(losses(alone), rel=1e-3)
    create_model(str(two))
    whole, shards = (
        torch.load(checkpoint_path(folder, LAST), weights_only=False) for folder in (alone, two)
    )
    assert {k: v.shape for k, v in whole["state_dict"].items()} == {
        k: v.shape for k, v in shards["state_dict"].items()
    }
    assert 0 < step_of(early) < 4
    shutil.copy(early, last)
    done = run("--resume", str(two))
    assert done.returncode == 0, done.stderr
    assert len(losses(two)) == 4
    assert losses(two) == pytest.approx(losses(alone), rel=1e-3)


def test_only_what_srun_started_is_one_of_the_tasks_of_slurm(monkeypatch):
    job = {
        "NTASKS": "4", "NTASKS_PER_NODE": "2", "PROCID": "2", "LOCALID": "0", "NODEID": "1",
        "NODELIST": "a1,a2", "JOB_NAME": "run",
    }  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert find_cluster() is None  # the batch script itself
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    cluster = find_cluster()
    assert cluster is not None
    assert (cluster.world_size(), cluster.global_rank(), cluster.main_address) == (4, 2, "a1")


def test_what_cannot_be_had_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="there are 0 GPUs here"):
        missing_processes(Train(devices=3), "cuda") if not torch.cuda.device_count() else (
            missing_processes(Train(devices=torch.cuda.device_count() + 1), "cuda")
        )
    assert missing_processes(Train(devices=3), "cpu") == 3
    assert missing_processes(Train(), "cpu") == 0
