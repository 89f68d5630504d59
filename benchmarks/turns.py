"""Sides of a comparison that run in turn, each in a process of its own, and are kept once done.

A side is told what to do by a job, a plain dictionary. Its folder keeps the job and the machine,
the log and what came out; the same job asked for again on the same machine is read from there,
another one replaces it.

Figures want a machine that does nothing else: beside other work two threads can be slower than one,
by several times, as each waits for the other at every operation (`load` of a result tells, before
and after).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from domainclip.model.folder import write_json
from domainclip.training.environment import git_commit, processor_name

JOB, RESULT, LOG = "job.json", "result.json", "log.txt"
MISSED, SEEDS = "MISSED", 3
"""What a table says of a bar that is not reached, and the seeds that a bar is judged on."""
HOURS = 3
"""A side that takes longer hangs."""
Job = dict[str, Any]
Figures = dict[str, Any]


def take_turn(script: str | Path, job: Job, folder: Path) -> Figures | None:
    """Return the figures of one side, run in a process of its own unless that has been done.

    Args:
        script: The benchmark itself; it answers `--job FOLDER` by `do_job`.
        job: What to do; plain JSON.
        folder: Where job, log and figures lie.

    Returns:
        The figures, or None where the side failed: its log says why, and asking again tries again.
    """
    done = read_figures(job, folder)
    if done is not None:
        return done
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / JOB, _here(job))
    tell(f"{datetime.now(UTC):%H:%M:%S} {folder} (load {os.getloadavg()[0]:.1f})")
    signal.signal(signal.SIGTERM, end)  # else the side would outlive what waits for it
    with (folder / LOG).open("w", encoding="utf-8") as log:
        command = [sys.executable, str(script), "--job", str(folder)]
        try:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=HOURS * 3600)
        except subprocess.TimeoutExpired:
            log.write(f"\nended after {HOURS} hours\n")
    figures = read_figures(job, folder)
    if figures is None:
        last = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        tell(f"FAILED: {folder / LOG}: {' | '.join(last[-2:])[:300]}")
    return figures


def end(*_: object) -> None:
    """End this process as a signal asks, so that what it waits for is ended too."""
    sys.exit(143)


def read_figures(job: Job, folder: Path) -> Figures | None:
    """Return the figures of a finished side, None where there are none of this job."""
    try:
        same = json.loads((folder / JOB).read_text("utf-8")) == _here(job)
        return dict(json.loads((folder / RESULT).read_text("utf-8"))) if same else None
    except (OSError, ValueError):
        return None


def _here(job: Job) -> Job:
    """Return a job as it is written down: plain JSON, with the machine that it is done on."""
    return {**json.loads(json.dumps(job, default=str)), "machine": machine()}


def machine() -> str:
    """Return the processor, its cores and the threads that are used."""
    return f"{processor_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def do_job(folder: Path, sides: dict[str, Callable[[Job, Path], Figures]]) -> None:
    """Do the job of a folder, in the process made for it, and write down its figures.

    Args:
        folder: As `take_turn` made it.
        sides: What does it, by the `side` that the job names.
    """
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    load = [round(os.getloadavg()[0], 2)]
    figures = sides[job["side"]](job, folder)
    load.append(round(os.getloadavg()[0], 2))
    threads = {"threads": torch.get_num_threads(), "waiting": os.environ.get("OMP_WAIT_POLICY")}
    write_json(folder / RESULT, {**figures, **threads, "load": load, "date": today()})


def today() -> str:
    """Return the date."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def describe_machine() -> str:
    """Return the line that says where and when, for a table's head."""
    commit = (git_commit() or "no commit")[:10]
    return f"{today()}, {machine()}, {commit}"


def tell(line: str) -> None:
    """Say a line on standard error at once."""
    print(line, file=sys.stderr, flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    for row in [head, ["---"] * len(head), *rows]:
        print(f"| {' | '.join(map(str, row))} |")


def mean_of(values: Sequence[float]) -> float:
    """Return the mean, nan of nothing."""
    return statistics.fmean(values) if values else float("nan")
