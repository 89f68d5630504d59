"""Kills `domainclip caption` again and again at random moments, and counts what is there then.

    python benchmarks/caption_kill.py

A scripted server on this machine stands for the language model and remembers which picture each
question was about. At the end every sample has exactly one caption, and only pictures that were in
flight at a kill were asked about again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from domainclip.data.captions import caption_files, list_generations, read_rows

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "endpoints"))
from chat_server import Answer, Asked, serve  # noqa: E402

CAPTION = "Wings seen from above on a plain ground, picture number {}."
TRIAL = 50
"""Characters below which a question is no prompt: each start tries the server once."""


@dataclass
class Counts:
    """What came of it."""

    samples: int
    kills: int = 0
    asked: int = 0
    """Questions that reached the server."""
    in_flight: int = 0
    """Questions that were asked and not stored when a kill came, over all kills."""
    most_in_flight: int = 0
    """The most of them at one kill."""
    again: int = 0
    """Questions about a picture that had been asked about before."""
    for_nothing: int = 0
    """Those of them whose caption had been stored already."""
    rows: int = 0
    stored: int = 0
    """Samples with a row in the store."""
    duplicates: int = 0
    lines: list[str] = field(default_factory=list)
    """What a run that failed by itself said."""

    @property
    def right(self) -> bool:
        """Whether each sample is there once and nothing was asked for nothing."""
        return self.rows == self.stored == self.samples and not self.for_nothing


class Watched:
    """The server's answers, numbered, and which picture each number was about."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.pictures: list[str] = []
        self.began = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        """Answer one question after the delay."""
        if len(asked.text) < TRIAL:
            return Answer("Yes.", tokens=(9 + 50 * len(asked.pictures), 1))
        (picture,) = asked.pictures
        self.pictures.append(hashlib.sha256(picture.encode()).hexdigest())
        self.began.set()
        return Answer(CAPTION.format(len(self.pictures) - 1), delay=self.delay)


def run(
    samples: int, kills: int, *, concurrency: int = 8, delay: float = 0.05, seed: int = 0
) -> Counts:
    """Caption, kill, go on, until all is done; return the counts."""
    rng = random.Random(seed)
    watched, counts = Watched(delay), Counts(samples)
    done: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, serve(watched) as server:
        command = [
            sys.executable, "-m", "domainclip", "caption", "--domain", "biology", "--quiet",
            "--limit", str(samples), "--out", folder, "--captioner", "openai", "--model", "tiny",
            "--endpoint", server.url, "--concurrency", str(concurrency),
        ]  # fmt: skip
        share = samples / concurrency * delay / max(kills, 1)
        for _ in range(3 * kills + 1):
            watched.began.clear()
            start = len(watched.pictures)
            worker = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            if counts.kills < kills:
                # now and then before the first question, mostly while it is at work
                if counts.kills % 5 == 4:
                    time.sleep(rng.uniform(0.2, 1.5))
                else:
                    watched.began.wait(60)
                    time.sleep(rng.uniform(0, 1.6 * share))
                if worker.poll() is None:
                    worker.kill()
                    counts.kills += 1
            _, said = worker.communicate()
            time.sleep(0.1)  # what was sent before the kill arrives
            asked = watched.pictures[start:]
            counts.for_nothing += sum(picture in done for picture in asked)
            done = {watched.pictures[number] for number in _answers(folder)}
            lost = len(set(asked) - done)
            counts.in_flight += lost
            counts.most_in_flight = max(counts.most_in_flight, lost)
            if worker.returncode == 0:
                break
            if worker.returncode > 0:
                counts.lines.append(said.strip())
        rows = Counter(_column(folder, "sample_id"))
    counts.asked = len(watched.pictures)
    counts.again = counts.asked - len(set(watched.pictures))
    counts.rows, counts.stored = rows.total(), len(rows)
    counts.duplicates = sum(count > 1 for count in rows.values())
    return counts


def _answers(folder: str) -> list[int]:
    """Return the numbers of the answers that are stored."""
    return [int(text.rstrip(".").rpartition(" ")[2]) for text in _column(folder, "written")]


def _column(folder: str, name: str) -> list[str]:
    several = list_generations(folder)
    files = [file for generation in several for file in caption_files(generation.folder)]
    return [value for batch in read_rows(files, (name,)) for value in batch[name]]


def main() -> None:
    """Print the counts; exit 1 if one of them is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts = run(asked.samples, asked.kills, seed=asked.seed)
    for name, value in vars(counts).items():
        if name != "lines":
            print(f"{name.replace('_', ' '):16} {value}")
    for line in counts.lines:
        print(line)
    sys.exit(0 if counts.right else 1)


if __name__ == "__main__":
    main()
