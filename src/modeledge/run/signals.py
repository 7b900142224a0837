"""Being asked to stop: a flag that every long piece of work looks at between its steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Stop:
    """While entered, SIGTERM and SIGINT only set `asked` (to the signal's number); a second one ends the process."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, object] = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.asked = number

    def __enter__(self) -> Stop:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._hear)
            except ValueError:  # not the main thread: the caller decides
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int:
        """What a process that was ended by the signal would return."""
        return 128 + self.asked if self.asked else 0
