"""Times `domainclip --help` in fresh processes: `python benchmarks/help_time.py`.

Prints medians, the first run not counted; exits 1 where `--help` takes 0.3 s or more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LIMIT = 0.3


def measure(command: list[str], runs: int) -> list[float]:
    """Return the seconds of each run of a command."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    bare = statistics.median(measure([sys.executable, "-c", "pass"], runs))
    slow = False
    for words in (["--help"], ["train", "--help"], ["recipes", "list"]):
        seconds = statistics.median(measure([sys.executable, "-m", "domainclip", *words], runs))
        limit = LIMIT if words == ["--help"] else None
        slow |= limit is not None and seconds >= limit
        goal = f"  (limit {limit} s)" if limit else ""
        print(f"domainclip {' '.join(words):<14} {seconds:.3f} s{goal}")
    print(f"python alone              {bare:.3f} s")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
