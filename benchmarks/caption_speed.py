"""Captions a second through the `openai` captioner, and the memory that it takes.

    python benchmarks/caption_speed.py [--count 20000] [--delays 0.5 0.05] [--concurrency 64]

The server is a process of its own that answers each request after a fixed delay. The ceiling is
concurrency over delay; pictures are drawn, encoded and sent as in a real run. Each delay is
measured in a process of its own, so that its peak of memory is its own. Exits 1 where less than 90%
of the ceiling is reached at the first delay, or the memory is over 500 MB or grows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERVER = ROOT / "tests" / "endpoints" / "chat_server.py"
SHARE, PEAK_MB, GROWTH_MB = 0.9, 500, 20
SIDE = 224
"""Pixels along the pictures."""


def resident_mb() -> float:
    """Return the resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def requests(count: int) -> Iterator[Any]:
    """Yield requests whose pictures are decoded from JPEGs, as those of a folder are."""
    import io

    import numpy as np
    from PIL import Image

    from domainclip.captioning.requests import Prompt, Request

    jpegs = []
    for seed in range(16):
        waves = np.random.default_rng(seed).uniform(0, 255, (8, 8, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(waves).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        jpegs.append(buffer.getvalue())
    for number in range(count):
        excerpt = f"Fact {number} about what this picture may show, as a source says it. " * 12
        content = [{"type": "image"}, {"type": "text", "text": f"{excerpt}\nDescribe it."}]
        messages = (
            {"role": "system", "content": "You describe strictly what is visible."},
            {"role": "user", "content": content},
        )
        yield Request(
            f"train/{number:06d}", 0, ("a", "b"),
            lambda data=jpegs[number % 16]: Image.open(io.BytesIO(data)).convert("RGB"),
            seed=number, prompt=Prompt(messages, str(number)),
        )  # fmt: skip


def measure(url: str, count: int, concurrency: int) -> dict[str, float]:
    """Caption in this process and return what it took."""
    from domainclip.captioning.openai import OpenAICaptioner
    from domainclip.endpoints.chat import Endpoints

    endpoints = Endpoints([url], "tiny", concurrency=concurrency)
    captioner = OpenAICaptioner(endpoints)
    captioner.check()
    for _ in captioner.write(requests(2 * concurrency)):
        pass  # connections and imports
    start, cpu, done, failed, early = time.perf_counter(), time.process_time(), 0, 0, 0.0
    for written in captioner.write(requests(count)):
        done += 1
        failed += bool(written.error)
        if done == count // 4:
            early = resident_mb()
    seconds = time.perf_counter() - start
    late = resident_mb()
    endpoints.close()
    return {
        "seconds": seconds,
        "rate": done / seconds,
        "failed": failed,
        "cpu_ms": 1000 * (time.process_time() - cpu) / done,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "growth_mb": late - early,
    }


def run(delay: float, args: argparse.Namespace) -> dict[str, float]:
    """Start a server and a client, and return what the client measured."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--delay", str(delay)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        command = [
            sys.executable, __file__, "--client", url, "--count", str(args.count),
            "--concurrency", str(args.concurrency),
        ]  # fmt: skip
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    """Measure each delay and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delays", type=float, nargs="+", default=[0.5, 0.05])
    parser.add_argument("--client", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        print(json.dumps(measure(args.client, args.count, args.concurrency)))
        return 0
    print(f"{args.count:,} captions, {SIDE} px, concurrency {args.concurrency}")
    print("| delay | ceiling/s | captions/s | of ceiling | CPU ms each | peak MB | growth MB |")
    print("|---|---|---|---|---|---|---|")
    bad = False
    for delay in args.delays:
        took = run(delay, args)
        ceiling = args.concurrency / delay
        share = took["rate"] / ceiling
        print(
            f"| {delay:g} s | {ceiling:g} | {took['rate']:.1f} | {share:.1%} | {took['cpu_ms']:.2f}"
            f" | {took['peak_mb']:.0f} | {took['growth_mb']:.1f} |",
            flush=True,
        )
        bad |= took["failed"] > 0 or took["peak_mb"] > PEAK_MB or took["growth_mb"] > GROWTH_MB
        bad |= delay == args.delays[0] and share < SHARE
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
