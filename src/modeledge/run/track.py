"""Trackers beside metrics.jsonl. A tracker that fails is said once and dropped; it never stops a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modeledge.core import InputError, unknown

TRACKERS = ("tensorboard",)


class TensorBoard:
    """Scalars under the same names as in metrics.jsonl, in RUN/tensorboard."""

    def __init__(self, folder: Path, *, say: Callable[[str], None]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError(
                "--track tensorboard needs tensorboard, which is not installed (extra `track`)\n"
                "  next: pip install 'modeledge[track]'"
            ) from None
        self.say, self.writer = say, SummaryWriter(str(folder / "tensorboard"))

    def log(self, record: dict[str, Any]) -> None:
        """One record of metrics.jsonl."""
        if self.writer is None:
            return
        try:
            for name, value in scalars(record):
                self.writer.add_scalar(name, value, record["step"])
            self.writer.flush()
        except Exception as error:  # a tracker is never worth a run
            self.say(f"tensorboard stopped: {error}; metrics.jsonl goes on")
            self.writer = None

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()


def scalars(record: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a record by name: loss/mlm, valid/mlm, lr, ..."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{above}{key}/")
        elif isinstance(value, int | float) and key not in ("step", "stage"):
            yield above + key, float(value)


def make_tracker(name: str, folder: Path, *, say: Callable[[str], None]) -> TensorBoard:
    """The tracker of that name. Raises InputError for another name, and where its library is missing."""
    if name not in TRACKERS:
        raise InputError(unknown("--track", "tracker", name, TRACKERS))
    return TensorBoard(folder, say=say)
