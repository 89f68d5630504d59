"""Runs asynchronous work on a stream from ordinary code: pulls as slots free up, yields as done."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class LoopThread:
    """An event loop in a thread of its own, which ends with the process at the latest."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="endpoints", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run one coroutine to its end and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Stop the loop; what runs in it is dropped."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(5)

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def stream(
        self,
        items: Iterable[T],
        work: Callable[[T], Coroutine[Any, Any, R]],
        *,
        limit: int,
        over: Callable[[], bool] = lambda: False,
    ) -> Iterator[R]:
        """Yield the result of `work` for each item, in the order in which they are done.

        Items are pulled in the caller's thread, never more than `limit` ahead of what has been
        yielded. Closing the generator cancels what is under way and waits until that is so.

        Args:
            items: Pulled lazily. If it raises, what is under way is finished and yielded first.
            work: Run in the loop; what it raises is raised here.
            limit: Items held at a time.
            over: Asked before each pull; true ends the stream after what is under way.
        """
        done: queue.SimpleQueue[asyncio.Task[R]] = queue.SimpleQueue()
        tasks: set[asyncio.Task[R]] = set()
        source, held = iter(items), 0
        exhausted, broken = False, None

        def start(item: T) -> None:
            task = self.loop.create_task(work(item))
            tasks.add(task)
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[R]) -> None:
            tasks.discard(task)
            done.put(task)

        async def stop() -> None:
            left = list(tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        try:
            while True:
                if not exhausted and held < limit:
                    try:
                        if over():
                            exhausted = True
                        else:
                            item = next(source)
                            held += 1
                            self.loop.call_soon_threadsafe(start, item)
                    except StopIteration:
                        exhausted = True
                    except Exception as error:  # raised below, after what is under way
                        exhausted, broken = True, error
                if exhausted and not held:
                    break
                try:
                    task = done.get(block=exhausted or held >= limit)
                except queue.Empty:
                    continue
                held -= 1
                yield task.result()
            if broken is not None:
                raise broken
        finally:
            if held and not sys.is_finalizing():
                self.run(stop())
