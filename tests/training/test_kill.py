"""A run killed at any moment and taken up again ends like one that nothing stopped, bit by bit."""

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import pytest
import torch

import domainclip
from domainclip.training.checkpoints import BEST, LAST, checkpoint_path
from domainclip.training.metrics import read_history

ROOT = Path(domainclip.__file__).resolve().parents[1]
RECIPE = (
    "--domain=biology", "--device=cpu", "--data.limit=24", "--data.batch_size=8",
    "--data.workers=0", "--model.image_size=32", "--train.steps=20", "--train.validations=10",
    "--train.precision=float32", "--evaluate.bootstrap=0",
)  # fmt: skip
KILLS = 4
METHODS = {
    "plain": (),
    "many": (
        "--train.ema=0.9", "--train.micro_batch=4", "--data.workers=2", "--data.sisters=0.5",
        "--text.both=true", "--text.negatives=1", "--loss.gates=true",
    ),
    "patience": ("--train.patience=2",),
    "dropout": ("--model.patch_dropout=0.5",),
}  # fmt: skip
VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def tiny_vit(folder: Path) -> Path:
    """Write a tiny model in open_clip's own layout."""
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(
        open_clip.CLIP(**copy.deepcopy(VIT)).state_dict(), folder / "open_clip_pytorch_model.bin"
    )
    card = {"model_cfg": VIT, "preprocess_cfg": {"size": 32}}
    (folder / "open_clip_config.json").write_text(json.dumps(card))
    return folder


def start(*args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "domainclip", "train", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said


def written(folder: Path) -> int:
    path = checkpoint_path(folder, LAST)
    return path.stat().st_mtime_ns if path.is_file() else 0


def kill_after_a_checkpoint(process: subprocess.Popen, folder: Path, wait: float) -> bool:
    """Kill; False where the run was done before."""
    before = written(folder)
    while written(folder) == before:
        if process.poll() is not None:
            finish(process)
            return False
        time.sleep(0.01)
    time.sleep(wait)
    if process.poll() is not None:
        finish(process)
        return False
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = checkpoint_path(folder, name)
    return torch.load(path, map_location="cpu", weights_only=False)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_again_and_again_it_ends_the_same(tmp_path, method):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = (*RECIPE, *METHODS[method])
    if method == "dropout":
        options = (*options, f"--model.name={tiny_vit(tmp_path / 'vit')}", "--optim.lr=1e-3")
    finish(start(*options, f"--out={whole}"))
    seed = time.time_ns()
    moments = random.Random(seed)
    process, kills = start(*options, f"--out={killed}"), 0
    while kills < KILLS:
        if not kill_after_a_checkpoint(process, killed, moments.uniform(0, 0.5)):
            break
        kills += 1
        process = start(f"--resume={killed}")
    else:
        finish(process)
    assert kills, f"never killed in time (seed {seed})"
    for name in (LAST, BEST):
        first, second = weights(whole, name), weights(killed, name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[k], second[k]) for k in first), (name, seed, kills)
    for path in (whole / "model").iterdir():
        if path.suffix == ".safetensors":
            assert path.read_bytes() == (killed / "model" / path.name).read_bytes(), path.name
    figures = [
        [{k: x.get(k) for k in ("step", "train_loss", "val_top1")} for x in read_history(f)]
        for f in (whole / "metrics.jsonl", killed / "metrics.jsonl")
    ]
    assert figures[0] == figures[1], (seed, kills)
