"""Starts the processes of this machine that share a batch, one for each device."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import torch

from domainclip.errors import TrainingError, UsageError
from domainclip.recipe.schema import Train

from .processes import find_cluster


def missing_processes(asked: Train, device: str) -> int:
    """Return how many processes are to be started; 0 where one is enough or they run already.

    Raises:
        UsageError: If there are fewer GPUs than devices asked for.
    """
    if device == "cuda" and asked.devices > torch.cuda.device_count():
        raise UsageError(
            f"train.devices = {asked.devices}, but there are {torch.cuda.device_count()} GPUs here",
            "ask for as many at most; several machines: see docs/training.md",
        )
    return asked.devices if asked.devices > 1 and find_cluster() is None else 0


def launch(count: int, arguments: Sequence[str], folder: Path) -> None:
    """Run `domainclip` with some arguments in `count` processes, as torchrun would.

    The first one speaks on standard error; of the others only one that fails is heard.

    Args:
        count: Number of processes.
        arguments: Arguments of the command line.
        folder: The run folder, for the message.

    Raises:
        TrainingError: If a process fails; its exit code is the error's.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1",
        "TORCHELASTIC_RUN_ID": "domainclip",
    }  # fmt: skip
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    command = [sys.executable, "-m", "domainclip", *arguments]
    heard = [_scratch() for _ in range(1, count)]
    started = [
        subprocess.Popen(
            command,
            env={**threads, **os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=heard[rank - 1] if rank else None,
        )
        for rank in range(count)
    ]

    def pass_on(number: int, frame: object) -> None:
        for process in started:
            process.send_signal(number)

    main = threading.current_thread() is threading.main_thread()  # others get no signals
    before = signal.signal(signal.SIGTERM, pass_on) if main else None
    try:
        rank, code = wait_for_all(started)
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        _end(started)
    if code and rank:
        heard[rank - 1].seek(0)
        sys.stderr.write(heard[rank - 1].read().decode(errors="replace"))
    for file in heard:
        file.close()
    if code:
        error = TrainingError(
            f"process {rank} of {count} ended with exit code {code}; what it said stands above",
            f"domainclip train --resume {shlex.quote(str(folder))}"
            if (folder / "recipe.yaml").is_file()
            else "",
        )
        error.exit_code = code if code > 0 else 1
        raise error


def _scratch() -> IO[bytes]:
    return tempfile.TemporaryFile()


def wait_for_all(started: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int]:
    """Wait for all to end well or for one to fail; return its number and exit code.

    Of several that fail it is the first to end: the others fail because they have lost it.
    """
    ended: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def watch(rank: int) -> None:
        ended.put((rank, started[rank].wait()))

    for rank in range(len(started)):
        threading.Thread(target=watch, args=(rank,), daemon=True).start()
    left = len(started)
    while left:
        try:
            rank, code = ended.get()
        except KeyboardInterrupt:
            continue  # the terminal told the processes as well; they end after their step
        if code:
            return rank, code
        left -= 1
    return 0, 0


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
