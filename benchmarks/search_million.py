"""Search among a million made-up vectors: how many of the ten nearest are found, and how fast.

    python benchmarks/search_million.py
    python benchmarks/search_million.py --rows 100000 --clusters 1000

A vector is the centre of its cluster, a random unit vector, plus normal noise of a mean length of
`--spread`, brought to length one: at 0.8 two vectors of a cluster have a cosine of about
1 / (1 + 0.8^2) = 0.61, those of two clusters one of about 0. Queries are drawn likewise. The
filters keep a tenth at random, a tenth of the clusters (nine queries of ten then lie outside of
what is kept) and a thousandth at random. What is exact is computed by matrix products. Queries come
one at a time through `SearchIndex.search`, filter and counting included; times are warm, after a
round of queries that are not counted. Figures want a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from turns import MISSED, describe_machine, print_table, tell

from domainclip.inference.origin import Origin
from domainclip.inference.search.build import index_vectors
from domainclip.inference.search.index import SearchIndex
from domainclip.inference.search.planning import plan
from domainclip.inference.search.store import ABOUT

K, WARM, BLOCK = 10, 30, 20_000


@dataclass(frozen=True)
class Case:
    """A question of the benchmark; without bars it is told and not judged."""

    name: str
    where: str | None
    keeps: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
    recall: float | None = None
    milliseconds: float | None = None
    worded: bool = False
    """Ask with queries that lie as far from all clusters as texts do, and as texts are asked."""


@dataclass(frozen=True)
class Made:
    """Made-up vectors, drawn block by block."""

    rows: int
    dim: int
    clusters: int
    spread: float
    seed: int

    def centres(self) -> NDArray[np.float32]:
        """Return the centres of the clusters, shape (clusters, dim)."""
        return unit(draw(np.random.default_rng([self.seed, 0]), self.clusters, self.dim))

    def blocks(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]]:
        """Yield vectors, their clusters, and a number from 0 to 999 of each."""
        centres = self.centres()
        for block, start in enumerate(range(0, self.rows, BLOCK)):
            random = np.random.default_rng([self.seed, 1, block])
            cluster = random.integers(0, self.clusters, min(BLOCK, self.rows - start))
            yield (
                self.around(centres[cluster], random),
                cluster,
                random.integers(0, 1000, len(cluster)),
            )

    def around(
        self, centres: NDArray[np.float32], random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return unit vectors around centres, shape (n, dim)."""
        noise = draw(random, len(centres), self.dim) * np.float32(self.spread / self.dim**0.5)
        return unit(centres + noise)

    def queries(self, count: int, worded: bool) -> NDArray[np.float32]:
        """Return queries like the vectors, or at a cosine of 0.3 to a centre, as of texts."""
        random = np.random.default_rng([self.seed, 2])
        centres = self.centres()[random.integers(0, self.clusters, count)]
        if not worded:
            return self.around(centres, random)
        aside = unit(draw(random, count, self.dim))
        return unit(np.float32(0.3) * centres + np.float32(0.91**0.5) * aside)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the vectors as rows of an index."""
        start = 0
        for vectors, cluster, number in self.blocks():
            names = [f"made-up/{start + i}" for i in range(len(vectors))]
            rows = claim(self.dim).rows(names, vectors)
            yield rows.append_column("cluster", pa.array(cluster)).append_column(
                "number", pa.array(number)
            )
            start += len(vectors)
            tell(f"{start:,} vectors")


def claim(dim: int) -> Origin:
    """Return what the vectors claim to be made by."""
    return Origin("made up", "0" * 32, "captions", dim)


def draw(random: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    """Return normal numbers, shape (rows, dim)."""
    return random.standard_normal((rows, dim), dtype=np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors at length one."""
    found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def cases(clusters: int) -> list[Case]:
    """Return the questions, with the bars of those that are judged."""
    tenth = clusters // 10
    return [
        Case("no filter", None, lambda c, n: n >= 0, 0.97, 15),
        Case("a tenth at random", "number < 100", lambda c, n: n < 100, 0.95, 60),
        Case("a tenth of the clusters", f"cluster < {tenth}", lambda c, n: c < tenth, 0.95, 60),
        Case("a thousandth at random", "number = 7", lambda c, n: n == 7, 0.95, 60),
        Case("half of the clusters", f"cluster < {5 * tenth}", lambda c, n: c < 5 * tenth),
        Case("no filter, asked as by a text", None, lambda c, n: n >= 0, worded=True),
    ]


def find_nearest(made: Made, asked: list[Case], count: int) -> dict[str, list[set[int]]]:
    """Return the rows of the exact answer to each query of each case, by matrix products."""
    best = {
        case.name: (np.full((count, K), -2, np.float32), np.zeros((count, K), np.int64))
        for case in asked
    }
    queries = {worded: made.queries(count, worded) for worded in (False, True)}
    start = 0
    for vectors, cluster, number in made.blocks():
        rows = np.arange(start, start + len(vectors))
        products = {worded: each @ vectors.T for worded, each in queries.items()}
        for case in asked:
            kept = case.keeps(cluster, number)
            old, places = best[case.name]
            scores = np.concatenate([old, products[case.worded][:, kept]], 1)
            places = np.concatenate([places, np.tile(rows[kept], (count, 1))], 1)
            top = np.argpartition(-scores, K - 1, 1)[:, :K]
            best[case.name] = (
                np.take_along_axis(scores, top, 1),
                np.take_along_axis(places, top, 1),
            )
        start += len(vectors)
    return {name: [set(row.tolist()) for row in places] for name, (_, places) in best.items()}


def ask(
    index: SearchIndex, case: Case, queries: NDArray[np.float32]
) -> tuple[list[set[int]], list[float], list[float], str]:
    """Return the rows found for each query, the milliseconds each took, and how it was searched.

    The milliseconds are those of the clock, and those of all cores: beside other work the first
    are longer than they need be.
    """
    found, took, busy, how = [], [], [], ""
    for number, query in enumerate([*queries[:WARM], *queries]):
        start, start_busy = time.perf_counter(), time.process_time()
        if case.worded:  # texts are encoded by a model, which there is none of here
            chosen = plan(len(index), len(index), index.store.partitions, of_pictures=False)
            rows, how = index.store.nearest(query, chosen, K), chosen.said
            names = [row["file_name"] for row in rows]
        else:
            matches = index.search(vector=query, where=case.where, k=K)
            names, how = [match.file_name for match in matches], matches.how
        elapsed = 1000 * (time.perf_counter() - start)
        if number >= min(WARM, len(queries)):
            took.append(elapsed)
            busy.append(1000 * (time.process_time() - start_busy))
            found.append({int(name.rpartition("/")[2]) for name in names})
    return found, took, busy, how


def build(made: Made, folder: Path) -> SearchIndex:
    """Make the index, unless an earlier run has, and say what it took."""
    if (folder / ABOUT).is_file():
        return SearchIndex.open(folder)
    start = time.perf_counter()
    index_vectors(folder, claim(made.dim), made.tables(), tell=tell)
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9
    index = SearchIndex.open(folder)
    print(
        f"built in {seconds:.0f} s, {size:.2f} GB, {index.store.partitions:,} partitions\n",
        flush=True,
    )
    return index


def main() -> None:
    """Build, ask, and print a table; exit with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--clusters", type=int, default=10_000)
    parser.add_argument("--spread", type=float, default=0.8, help="length of the noise")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where the index stays, and is taken from again"
    )
    asked = parser.parse_args()
    made = Made(asked.rows, asked.dim, asked.clusters, asked.spread, asked.seed)
    print(f"{describe_machine()}\n\n{made}, {asked.queries} queries\n", flush=True)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="search-"))
    try:
        missed = measure(build(made, folder), made, asked.queries)
    finally:
        if asked.folder is None:
            shutil.rmtree(folder)
    sys.exit(missed)


def measure(index: SearchIndex, made: Made, count: int) -> bool:
    """Print the table and return whether a bar is missed."""
    asked = cases(made.clusters)
    tell("finding what is exact")
    truth = find_nearest(made, asked, count)
    table, missed = [], False
    for case in asked:
        tell(case.name)
        found, took, busy, how = ask(index, case, made.queries(count, case.worded))
        hits = [len(f & t) / K for f, t in zip(found, truth[case.name], strict=True)]
        recall, median = statistics.fmean(hits), statistics.median(took)
        verdict = ""
        if case.recall is not None and case.milliseconds is not None:
            reached = recall >= case.recall and median < case.milliseconds
            missed |= not reached
            bar = f"{case.recall:g}, {case.milliseconds:g} ms"
            verdict = f"{bar}: {'reached' if reached else MISSED}"
        times = median, float(np.percentile(took, 95)), statistics.median(busy)
        table.append([case.name, how, f"{recall:.3f}", *(f"{t:.1f}" for t in times), verdict])
    head = ["query", "how", f"recall@{K}", "median ms", "p95 ms", "median ms of all cores", "bar"]
    print_table(head, table)
    return missed


if __name__ == "__main__":
    main()
