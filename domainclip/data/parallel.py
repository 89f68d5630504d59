"""Runs work over many rows in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from domainclip.errors import DataError

T = TypeVar("T")

PAYS = 64
"""Rows per process below which another process would cost more than it saves."""


def cpu_count() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_parallel(
    work: Callable[[range], list[T]], n: int, doing: str
) -> Iterator[tuple[range, list[T]]]:
    """Yield each range of rows with the work's results on it, in the order they are done.

    Args:
        work: Gives one result a row; worker processes pickle it where the system cannot fork.
        n: Number of rows.
        doing: What an error says was going on.

    Raises:
        DataError: If a worker process died.
    """
    workers = min(cpu_count(), 1 + n // PAYS)
    step = max(1, min(PAYS, n // (workers * 4)))
    chunks = [range(start, min(start + step, n)) for start in range(0, n, step)]
    if workers == 1:
        for chunk in chunks:
            yield chunk, work(chunk)
        return
    # fork starts at once and needs neither pickling nor a guarded main module
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    one_thread()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(work,))
        try:
            futures = {pool.submit(_work, chunk): chunk for chunk in chunks}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise DataError(
                f"a process died while {doing}",
                "most often the memory ran out: close other programs and start again",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_task: Callable[[range], list[Any]]


def _start(task: Callable[[range], list[Any]]) -> None:
    """Set up a worker process."""
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    one_thread()


def _work(rows: range) -> list[Any]:
    return _task(rows)


def one_thread(worker: int = 0) -> None:
    """Keep OpenCV to one thread: there is a process for each processor.

    Called before a fork as well: OpenCV's threads do not survive it, and a child that tells them to
    end waits for ever.
    """
    import cv2

    cv2.setNumThreads(1)
