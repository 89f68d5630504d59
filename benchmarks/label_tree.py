"""Time and memory of a label tree of a million leaves over seven ranks, with made-up names.

    python benchmarks/label_tree.py --leaves 1000000

Every measurement runs in a process of its own. Memory is the peak of resident memory above what the
process held before the step, the input columns included in "before"; "peak" is all of the process.
CPU seconds stand beside the wall clock because other work on the machine only slows the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RANKS = ("realm", "division", "section", "series", "clan", "tribe", "kind")
PER_PARENT = (4, 5, 6, 8, 9, 0)
"""Children of each node; the sixth rank has as many as the leaves need at about ten each."""
STEPS = ("from_columns", "from_csv", "groups", "nodes_of", "distance", "digest", "roll_up")
BATCH = 16


def columns_of(leaves: int) -> dict[str, list[str]]:
    """Return made-up lineages; one in nine misses a rank in the middle."""
    last = max(1, leaves // 10)
    sizes = [1]
    for per in PER_PARENT:
        sizes.append(min(last, sizes[-1] * per) if per else last)
    columns: dict[str, list[str]] = {}
    for number, rank in enumerate(RANKS[:-1]):
        names = [f"{rank.title()} {i}" for i in range(sizes[number + 1])]
        span = leaves / len(names)
        cells = [names[min(int(i / span), len(names) - 1)] for i in range(leaves)]
        if 1 < number < 5:
            cells = ["" if i // 10 % 27 == number else cell for i, cell in enumerate(cells)]
        columns[rank] = cells
    columns[RANKS[-1]] = [f"kind of thing {i}" for i in range(leaves)]
    return columns


def peak_mb() -> float:
    """Return the highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """Return the resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(step: str, leaves: int) -> dict[str, Any]:
    """Run one step in this process."""
    import numpy as np

    from domainclip.domains.labels import LabelTree

    def timed(function: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
        before = resident_mb()
        start, cpu = time.perf_counter(), time.process_time()
        value = function()
        row = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        return value, {**row, "extra_mb": peak_mb() - before, "peak_mb": peak_mb()}

    columns = columns_of(leaves)
    if step == "from_columns":
        tree, row = timed(lambda: LabelTree.from_columns(columns, RANKS))
        return {**row, "note": f"{len(tree):,} nodes"}
    tree = LabelTree.from_columns(columns, RANKS)
    if step == "from_csv":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labels.csv"
            tree.to_csv(path)
            size = path.stat().st_size / 2**20
            del tree, columns
            again, row = timed(lambda: LabelTree.from_csv(path))
        return {**row, "note": f"{len(again):,} rows, {size:.0f} MB"}
    if step == "groups":
        groups, row = timed(lambda: tree.groups("clan", tree.leaves))
        return {**row, "note": f"{len(groups):,} groups, {int((groups.nodes < 0).sum()):,} buckets"}
    if step == "nodes_of":
        nodes, row = timed(lambda: tree.nodes_of(columns))
        return {**row, "note": f"{len(np.unique(nodes)):,} labels found"}
    if step == "distance":
        rng = np.random.default_rng(0)
        a, b = rng.integers(0, len(tree), (2, 1_000_000))
        far, row = timed(lambda: tree.distance(a, b))
        return {**row, "note": f"{len(far):,} pairs, mean {far.mean():.2f}"}
    if step == "digest":
        value, row = timed(tree.digest)
        return {**row, "note": value[:12]}
    return _measure_roll_up(tree, timed)


def _measure_roll_up(tree: Any, timed: Callable[..., Any]) -> dict[str, Any]:
    import torch

    from domainclip.inference.rollup import roll_up

    groups = tree.groups("clan", tree.leaves)
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(BATCH, len(tree.leaves), generator=generator).softmax(-1)
    roll_up(scores, groups)
    total, row = timed(lambda: roll_up(scores, groups))
    off = float((total.double().sum(-1) - 1).abs().max())
    rate = BATCH / row["seconds"]
    return {**row, "note": f"{rate:,.0f} images/s, sums off one by {off:.0e}"}


def main() -> None:
    """Print one line a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--step", choices=STEPS, help="measure one step here and print JSON")
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measure(given.step, given.leaves)))
        return
    print(f"{given.leaves:,} leaves over {len(RANKS)} ranks")
    print(f"{'step':14}{'seconds':>9}{'CPU s':>8}{'extra MB':>10}{'peak MB':>9}  note")
    for step in STEPS:
        command = [sys.executable, __file__, "--step", step, "--leaves", str(given.leaves)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout)
        print(
            f"{step:14}{row['seconds']:9.2f}{row['cpu']:8.2f}{row['extra_mb']:10.0f}"
            f"{row['peak_mb']:9.0f}  {row['note']}"
        )


if __name__ == "__main__":
    main()
