"""Being asked to stop, by SIGTERM or SIGINT: while a run holds steps that are not on disk, a flag that it looks at
between its pieces of work; anywhere else the end at once, since there is nothing to save."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

ASKING = (signal.SIGTERM, signal.SIGINT)


class Ended(SystemExit):
    """Asked to stop where there was nothing to save. Its code is what a shell says of a process the signal ended."""


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(128 + number)


@contextmanager
def ending() -> Iterator[None]:
    """While entered, a signal raises Ended: files are closed and what is half made is removed on the way out."""
    before = {number: signal.signal(number, _end) for number in ASKING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def be_deaf() -> None:
    """Leave it to the main process, in one that works for it: a terminal asks all of them."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)


class Stop:
    """From `listen` to the end of the block, signals only set `asked` (to the signal's number); a second one ends the
    process."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, object] = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.asked = number

    def listen(self) -> None:
        """There is something to save from here on. Nothing happens outside the main thread: the caller decides."""
        for number in ASKING if not self._before else ():
            try:
                self._before[number] = signal.signal(number, self._hear)
            except ValueError:
                break

    def __enter__(self) -> Stop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    @property
    def exit_code(self) -> int:
        """What a process that was ended by the signal would return."""
        return 128 + self.asked if self.asked else 0
