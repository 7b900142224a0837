"""What a run says while it runs: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol


class Progress(Protocol):
    """Hears of every logged step."""

    def start(self, total: int, *, done: int) -> None:
        """A run of `total` steps begins after `done` of them."""
        ...

    def update(self, step: int, shown: dict[str, float], *, tokens_per_second: float, share: float = 0.0) -> None:
        """After a logged step. share: of what this device can compute; 0: not known."""
        ...

    def say(self, text: str) -> None:
        """A line of its own."""
        ...

    def warn(self, text: str) -> None:
        """A line that is said even where nothing else is."""
        ...

    def end(self) -> None:
        """The run is over."""
        ...


class Silent:
    """Says nothing but warnings."""

    def start(self, total: int, *, done: int) -> None: ...

    def update(self, step: int, shown: dict[str, float], *, tokens_per_second: float, share: float = 0.0) -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def end(self) -> None: ...


class Mute(Silent):
    """Says nothing at all: a process that is not the first."""

    def warn(self, text: str) -> None: ...


class Lines:
    """A plain line every few seconds, to standard error."""

    def __init__(self, every: float = 10.0):
        self.every, self.total, self.done, self.begun, self.last = every, 0, 0, 0.0, 0.0

    def start(self, total: int, *, done: int) -> None:
        self.total, self.done = total, done
        self.begun = self.last = time.monotonic()

    def update(self, step: int, shown: dict[str, float], *, tokens_per_second: float, share: float = 0.0) -> None:
        now = time.monotonic()
        if now - self.last >= self.every or step >= self.total:
            self.last = now
            each = (now - self.begun) / max(1, step - self.done)
            left = each * (self.total - step)
            figures = f"{_figures(shown)}  {_speed(tokens_per_second, share)}"
            self.say(f"step {step}/{self.total}  {figures}  {_clock(left)} left")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def end(self) -> None: ...


class Bar:
    """rich's progress bar with the same figures."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("[progress.description]{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def start(self, total: int, *, done: int) -> None:
        self.bar.start()
        self.task = self.bar.add_task("training", total=total, completed=done, figures="")

    def update(self, step: int, shown: dict[str, float], *, tokens_per_second: float, share: float = 0.0) -> None:
        figures = f"{_figures(shown)}  {_speed(tokens_per_second, share)}"
        self.bar.update(self.task, completed=step, figures=figures)

    def say(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def end(self) -> None:
        self.bar.stop()


def make_progress(*, quiet: bool = False) -> Progress:
    """A bar in a terminal, lines elsewhere, nothing if quiet."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def _figures(shown: dict[str, float]) -> str:
    return "  ".join(f"{k} {v:.4g}" for k, v in shown.items())


def _speed(tokens_per_second: float, share: float) -> str:
    reached = f" ({share:.0%} of the bound)" if share >= 0.005 else ""
    return f"{tokens_per_second:,.0f} tokens/s{reached}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
