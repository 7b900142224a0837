"""What the kinds of `prepare` share: records under a policy for bad ones, ordered work in processes, the printed
summary."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modeledge.core import DataError, RunError
from modeledge.data.readers import Bad, Record, Wanted, read
from modeledge.data.store import sources_of

REJECTS = "rejects.jsonl"
Progress = Callable[[float, int], None]


@dataclass
class Summary:
    """What `prepare` did. rows: documents, pairs or images in the training part; counts: what was seen on the way."""

    path: Path
    rows: int = 0
    valid_rows: int = 0
    tokens: int = 0
    valid_tokens: int = 0
    vocab: int = 0
    fingerprint: str = ""
    files: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The summary for reading, a line each."""
        made = [f"{self.path}: {self.rows:,} rows for training, {self.valid_rows:,} held out, from {self.files} files"]
        if self.tokens:
            speed = (self.tokens + self.valid_tokens) / max(self.seconds, 1e-9)
            made.append(f"tokens: {self.tokens:,} for training, {self.valid_tokens:,} held out ({speed:,.0f} a second)")
        if self.vocab:
            made.append(f"tokenizer: {self.vocab:,} ids, fingerprint {self.fingerprint[:16]}")
        if self.labels:
            made.append(f"labels: {', '.join(self.labels[:20])}")
        told = [f"{name.replace('_', ' ')}: {n:,}" for name, n in self.counts.items() if n]
        return made + (["seen on the way: " + ", ".join(told)] if told else [])


class Job:
    """Records of files, in their order, under a policy for bad ones.

    on_bad: `stop` at the first, or `skip` it into rejects.jsonl of the folder given to `rejecting`."""

    def __init__(
        self, files: list[Path], wanted: Wanted, *, on_bad: Literal["stop", "skip"], progress: Progress | None
    ):
        self.files, self.wanted, self.on_bad, self.progress = files, wanted, on_bad, progress
        self.tally: Counter[str] = Counter()
        self.total = max(sum(_size(f) for f in files), 1)
        self.rejects: Path | None = None

    def records(self) -> Iterator[Record]:
        """Every good record. Raises DataError with file, line and byte at a bad one, unless they are skipped."""
        for file in self.files:
            for record in read(file, self.wanted, self.tally):
                if isinstance(record, Record):
                    yield record
                else:
                    self.reject(record)

    def reject(self, bad: Bad) -> None:
        """Stop, or write the bad record down."""
        if self.on_bad == "stop":
            raise DataError(f"{bad}\n  next: mend it, or leave such records out with --on-bad skip")
        self.tally["rejected"] += 1
        if self.rejects is not None:
            with open(self.rejects, "a", encoding="utf-8") as out:
                out.write(json.dumps(bad._asdict(), ensure_ascii=False) + "\n")

    def report(self, made: int) -> None:
        """Tell the caller how far the reading is."""
        if self.progress is not None:
            self.progress(min(self.tally["read"] / self.total, 1.0), made)

    def sources(self) -> list[dict[str, Any]]:
        """Name, size and SHA-256 of every file read."""
        return sources_of(self.files)

    def processes(self, wanted: int | None) -> int:
        """As many processes as asked for; by default (or 0) one for little data, else one a core."""
        if wanted:
            return wanted
        return 1 if self.total < 4 << 20 else max(1, min(cores(), 16))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(file: Path) -> int:
    return sum(p.stat().st_size for p in file.glob("*.arrow")) if file.is_dir() else file.stat().st_size


@contextmanager
def ordered_map(
    work: Callable[[Any], Any], processes: int, start: Callable[..., None], argument: Any
) -> Iterator[Callable[[Iterator[Any]], Iterator[Any]]]:
    """A function that maps `work` over items in their order, with a bounded number of them under way.

    `start(argument)` prepares each process. With one process everything happens here."""
    if processes <= 1:
        start(argument)
        yield lambda items: map(work, items)
        return
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(start, argument))

    def mapped(items: Iterator[Any]) -> Iterator[Any]:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield mapped
    except BrokenProcessPool:
        raise RunError(
            "a worker process of `prepare` ended unexpectedly (killed, or out of memory); nothing was written\n"
            "  next: run it again with --processes 1; in a script, call it under `if __name__ == '__main__':`"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(start: Callable[..., None], argument: Any) -> None:
    """Begin a process with one thread, since there are several of us."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    start(argument)


def batches(records: Iterator[Record], size_of: Callable[[Record], int], most: int) -> Iterator[list[Record]]:
    """Consecutive records in lists whose sizes add up to about `most`."""
    held: list[Record] = []
    size = 0
    for record in records:
        held.append(record)
        size += size_of(record)
        if size >= most:
            yield held
            held, size = [], 0
    if held:
        yield held


def names_of(files: Sequence[Path]) -> str:
    """The first few names, for a message."""
    return ", ".join(map(str, files[:3])) + (", ..." if len(files) > 3 else "")


def texts_of(records: Sequence[Record], column: str) -> list[str]:
    """One column of some records."""
    return [r.value[column] for r in records]
