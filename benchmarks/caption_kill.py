"""Kills `domainclip caption` again and again at random moments, and counts what is there then.

    python benchmarks/caption_kill.py

A scripted server on this machine stands for the language model and counts how often each picture is
asked about. At the end every sample has exactly one caption, and only pictures that were in flight
at a kill were asked about twice.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "endpoints"))
from chat_server import Answer, Asked, serve  # noqa: E402

CAPTION = "Wings seen from above, {} spots near the margin, on a plain ground."
TRIAL = 50
"""Characters below which a question is no prompt: each start tries the server once."""
GRACE = 0.3
"""Seconds after its answer in which a picture still counts as in flight: it is being stored."""


@dataclass
class Counts:
    """What came of it."""

    samples: int
    kills: int
    asked: int = 0
    """Questions that reached the server."""
    twice: int = 0
    """Pictures asked about more than once."""
    in_flight: int = 0
    """Questions in flight at the kills, all of them together."""
    unexplained: int = 0
    """Pictures asked about again that were in flight at no kill."""
    rows: int = 0
    stored: int = 0
    """Samples with a caption in the store."""
    duplicates: int = 0
    lines: list[str] = field(default_factory=list)


class Watched:
    """The server's answers, and when each picture was asked about."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.asked: dict[str, list[float]] = {}
        self.began = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        """Answer one question after the delay."""
        if len(asked.text) < TRIAL:
            return Answer("Yes.", tokens=(9 + 50 * len(asked.pictures), 1))
        for url in asked.pictures:
            one = hashlib.sha256(url.encode()).hexdigest()[:12]
            self.asked.setdefault(one, []).append(time.monotonic())
        self.began.set()
        return Answer(CAPTION.format(len(self.asked)), delay=self.delay)

    @property
    def total(self) -> int:
        """Questions so far."""
        return sum(map(len, self.asked.values()))


def run(
    samples: int, kills: int, *, concurrency: int = 8, delay: float = 0.05, seed: int = 0
) -> Counts:
    """Caption, kill, go on, until all is done; return the counts."""
    rng = random.Random(seed)
    watched = Watched(delay)
    counts = Counts(samples, 0)
    killed: list[float] = []
    with tempfile.TemporaryDirectory() as folder, serve(watched) as server:
        command = [
            sys.executable, "-m", "domainclip", "caption", "--domain", "biology", "--quiet",
            "--limit", str(samples), "--out", folder, "--captioner", "openai", "--model", "tiny",
            "--endpoint", server.url, "--concurrency", str(concurrency),
        ]  # fmt: skip
        expected = samples / concurrency * delay
        while True:
            watched.began.clear()
            worker = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                text=True,
            )
            if counts.kills < kills:
                # now and then before the first question, mostly while it is at work
                if counts.kills % 5 == 4:
                    time.sleep(rng.uniform(0.2, 1.5))
                else:
                    watched.began.wait(60)
                    time.sleep(rng.uniform(0, 1.6 * expected / kills))
                if worker.poll() is None:
                    worker.kill()
                    killed.append(time.monotonic())
                    counts.kills += 1
            _, said = worker.communicate()
            if worker.returncode == 0:
                break
            if worker.returncode > 0:
                counts.lines.append(said.strip())
                if counts.kills >= kills:
                    break
        _read(folder, counts)
    _judge(watched, killed, counts)
    return counts


def _read(folder: str, counts: Counts) -> None:
    from domainclip.data.captions import caption_files, list_generations, read_rows

    several = list_generations(folder)
    files = [file for generation in several for file in caption_files(generation.folder)]
    rows = Counter(
        one
        for batch in read_rows(files, ("sample_id", "caption"))
        for one, caption in zip(*batch.values(), strict=True)
        if caption
    )
    counts.rows, counts.stored = rows.total(), len(rows)
    counts.duplicates = sum(count > 1 for count in rows.values())


def _judge(watched: Watched, killed: list[float], counts: Counts) -> None:
    """Tell questions asked again for a kill from those asked again for nothing."""
    counts.asked = watched.total
    for times in watched.asked.values():
        lost = [
            start
            for start in times
            if any(start <= kill <= start + watched.delay + GRACE for kill in killed)
        ]
        counts.in_flight += len(lost)
        counts.twice += len(times) > 1
        counts.unexplained += len(times) - 1 > len(lost)


def main() -> None:
    """Print the counts; exit 1 if one of them is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts = run(asked.samples, asked.kills, seed=asked.seed)
    for name in (
        "samples",
        "kills",
        "asked",
        "twice",
        "in_flight",
        "unexplained",
        "rows",
        "stored",
    ):
        print(f"{name.replace('_', ' '):12} {getattr(counts, name)}")
    print(f"{'duplicates':12} {counts.duplicates}")
    for line in counts.lines:
        print(line)
    right = counts.rows == counts.stored == counts.samples and not counts.unexplained
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
