"""Writes a caption for every sample that has none yet, checks each, and stores it at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image

from domainclip.data.images import UnreadableImage
from domainclip.data.samples import Samples
from domainclip.endpoints.questions import Account
from domainclip.errors import DomainclipError

from .briefs import Briefs
from .checks import Checked
from .requests import Captioner, Request, Written
from .store import CaptionStore

if TYPE_CHECKING:
    from tqdm import tqdm

SIDE = 1024
"""Large pictures may be decoded smaller, but their shortest side not below twice this."""


Check: TypeAlias = Callable[[Request, str], Checked]
Verify: TypeAlias = Callable[[Iterable[tuple[Request, Checked]]], Iterable[tuple[Request, Checked]]]


@dataclass
class Captioned:
    """What came of a run."""

    counts: Counter[str] = field(default_factory=Counter)
    """Captions by outcome: kept, rewritten, rejected."""
    skipped: int = 0
    """Samples that were done before."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(sample id, reason) of pictures that cannot be read."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(sample id, reason) where the captioner wrote nothing; the next run asks again."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Checks that rejected or changed a caption."""
    tokens_in: int = 0
    """Tokens that the captioner read."""
    tokens_out: int = 0
    spent: Account = field(default_factory=Account)
    """What servers were asked and what it cost, the judge's too."""
    left: int = 0
    """Samples that are still to do, after an interrupt or where the captioner gave up."""
    stopped: bool = False
    """Whether Ctrl-C ended it."""
    error: DomainclipError | None = None
    """Why the captioner gave up."""
    notes: list[str] = field(default_factory=list)
    """What people should know about the captioner."""

    @property
    def written(self) -> int:
        """Captions written by this run, rejected ones too."""
        return sum(self.counts.values())


def caption_all(
    briefs: Briefs,
    captioner: Captioner,
    check: Check,
    store: CaptionStore,
    *,
    verify: Verify | None = None,
    progress: bool = True,
) -> Captioned:
    """Caption every sample that the store does not have.

    The first Ctrl-C lets what is in flight come in and asks for no more; a second one drops it.

    Args:
        briefs: Makes requests of the samples.
        captioner: Writes.
        check: Checks one caption.
        store: Keeps them; each is safe before the next one is taken.
        verify: Has a second model look at checked captions.
        progress: Show a bar on stderr.
    """
    run = _Run(briefs, captioner, check, store)
    run.work(verify, progress)
    return run.result


class _Run:
    """One run: what is in flight, and what came of the rest."""

    def __init__(
        self,
        briefs: Briefs,
        captioner: Captioner,
        check: Check,
        store: CaptionStore,
    ) -> None:
        self.briefs, self.captioner, self.check, self.store = briefs, captioner, check, store
        self.samples = briefs.samples
        self.rows, skipped = store.left(self.samples.ids)
        self.result = Captioned(skipped=skipped, left=len(self.rows))
        self.flight: dict[str, _InFlight] = {}
        self.stopping = threading.Event()

    def work(self, verify: Verify | None, progress: bool) -> None:
        from tqdm import tqdm

        bar = tqdm(
            total=len(self.rows),
            desc="captioning",
            unit=" captions",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=None if progress else True,
        )
        answers = self.captioner.write(self._requests()) if len(self.rows) else iter(())
        checked = self._checked(answers, bar)
        with bar, _interrupts(self._stop), closing(checked):
            try:
                for request, one in verify(checked) if verify else checked:
                    self._keep(request, one)
                    self._count(bar)
            except KeyboardInterrupt:
                self.stopping.set()
            except DomainclipError as error:
                self.result.error = error
        self.result.stopped = self.stopping.is_set()

    def _requests(self) -> Iterator[Request]:
        for i in self.rows.tolist():
            if self.stopping.is_set():
                return
            one = self.samples.ids[i]
            flight = _InFlight(self.samples, i)
            request = self.briefs.request(i, flight.read, self.store.tries(one))
            flight.request = request
            self.flight[one] = flight
            yield request

    def _checked(
        self, answers: Iterator[Written], bar: tqdm[Any]
    ) -> Generator[tuple[Request, Checked], None, None]:
        """Yield what was written and checked; list what could not be."""
        try:
            for written in answers:
                flight = self.flight[written.id]
                self.result.tokens_in += written.tokens_in
                self.result.tokens_out += written.tokens_out
                if flight.is_readable() and not written.error:
                    assert flight.request is not None
                    flight.written = written
                    yield flight.request, self.check(flight.request, written.text)
                    continue
                if flight.reason:
                    self.result.unreadable.append((written.id, flight.reason))
                else:
                    self.result.failed.append((written.id, written.error))
                del self.flight[written.id]
                self._count(bar)
        finally:
            close = getattr(answers, "close", None)
            if close is not None:  # so that what is in flight ends with the run
                close()

    def _keep(self, request: Request, checked: Checked) -> None:
        """Store one caption."""
        self.store.append(self._row(self.flight.pop(request.id), request, checked))
        self.result.counts[checked.outcome] += 1
        if checked.outcome != "kept":
            blamed = {note["check"] for note in checked.notes if note["outcome"] != "flag"}
            self.result.reasons.update(blamed)

    def _count(self, bar: tqdm[Any]) -> None:
        self.result.left -= 1
        said = {"rejected": self.result.counts["rejected"], "failed": len(self.result.failed)}
        bar.set_postfix({name: count for name, count in said.items() if count}, refresh=False)
        bar.update()

    def _row(self, flight: _InFlight, request: Request, checked: Checked) -> dict[str, Any]:
        captioner, written = self.captioner, flight.written
        return {
            "sample_id": written.id,
            "caption": checked.text,
            "label": " > ".join(self.samples.tree.path(request.node)),
            "split": self.samples.splits[flight.row],
            "picture": flight.digest,
            "captioner": captioner.name,
            "model": written.model or captioner.model,
            "model_revision": written.revision or captioner.revision,
            "prompt_hash": request.prompt.digest if request.prompt else "",
            "knowledge_revision": self.briefs.revision(request),
            "settings": dict(captioner.settings),
            "seed": request.seed,
            "tokens_in": written.tokens_in,
            "tokens_out": written.tokens_out,
            "seconds": round(written.seconds, 4),
            "written": written.text,
            "outcome": checked.outcome,
            "checks": list(checked.notes),
            "dropped": [claim.text for claim in checked.dropped],
            "details": dict(written.details),
        }

    def _stop(self) -> None:
        """Ask for no more pictures; a second time, drop those in flight."""
        if self.stopping.is_set():
            raise KeyboardInterrupt
        self.stopping.set()
        sys.stderr.write(f"\nstopping: {len(self.flight)} in flight; Ctrl-C again drops them\n")


@dataclass
class _InFlight:
    """One sample that the captioner has."""

    samples: Samples
    row: int
    request: Request | None = None
    written: Written = field(default_factory=lambda: Written(""))
    digest: str = ""
    reason: str = ""
    """Why its picture cannot be read."""

    def read(self) -> Image.Image:
        """Read the picture, in whatever thread the captioner wants it."""
        try:
            picture, self.digest = self.samples.picture(self.row, SIDE)
        except UnreadableImage as error:
            self.reason = error.reason
            raise
        return picture

    def is_readable(self) -> bool:
        """Return whether the picture is one; it is read now if the captioner had no need to."""
        if not self.digest and not self.reason:
            with suppress(UnreadableImage):
                self.read()
        return not self.reason


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Call a function on Ctrl-C, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
