"""The run folder: what a run was asked, what it measured, and who is writing in it."""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import yaml

from modeledge.core import InputError, RunError

HALF_WRITTEN = 10.0
"""Seconds after which a lock without a name in it is nobody's."""
VERSIONS = ("torch", "numpy", "safetensors", "tokenizers", "pydantic", "modeledge")


class Tracker(Protocol):
    """Whoever follows a run beside metrics.jsonl."""

    def log(self, record: dict[str, Any]) -> None:
        """A record that was logged."""
        ...

    def close(self) -> None:
        """There will be no more."""
        ...


class RunFolder:
    """A folder with recipe.yaml, environment.json, metrics.jsonl, checkpoints/ and, at the end, model/."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._metrics: int | None = None
        self._torn = False
        self.hears: list[Tracker] = []
        """Told of every record that is logged."""
        self._lock = path / ".lock"

    def holds_run(self) -> bool:
        """Whether a run has begun here; one that failed before its first step has not, and may be tried again."""
        logged = (self.path / "metrics.jsonl").exists() or any(self.checkpoints.glob("step-*"))
        return logged and (self.path / "recipe.yaml").exists()

    def begin(self, *, resume: bool) -> None:
        """Take the folder. Raises InputError if it cannot be written, holds another run, or is being written."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: this is a file, not a folder\n  next: choose another --out")
        begun = (self.path / "recipe.yaml").exists()
        if self.holds_run() and not resume:
            raise InputError(
                f"{self.path}: this folder already holds a run\n"
                "  next: add --resume to go on with it, or choose another --out"
            )
        if resume and not begun:
            raise InputError(f"{self.path}: there is no run to resume here\n  next: leave out --resume, or check --out")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror}\n  next: choose another --out"
            ) from None

    def _take_lock(self) -> None:
        me = {"pid": os.getpid(), "host": socket.gethostname()}
        try:
            handle = os.open(self._lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            try:
                other = json.loads(self._lock.read_text())
            except ValueError:
                other = {}
            gone = other.get("host") == me["host"] and not _alive(int(other.get("pid", 0)))
            if gone or (not other and time.time() - self._lock.stat().st_mtime > HALF_WRITTEN):
                self._lock.unlink(missing_ok=True)
                return self._take_lock()
            raise InputError(
                f"{self.path}: another process writes here (pid {other.get('pid')} on {other.get('host')})\n"
                f"  next: wait for it, or remove {self._lock} if it is gone"
            ) from None
        with os.fdopen(handle, "w") as file:
            json.dump(me, file)

    def end(self) -> None:
        """Leave the folder to others."""
        if self._metrics is not None:
            os.close(self._metrics)
            self._metrics = None
        for tracker in self.hears:
            tracker.close()
        self._lock.unlink(missing_ok=True)

    def write_recipe(self, keys: dict[str, Any], facts: dict[str, Any]) -> None:
        """recipe.yaml: the resolved recipe, and what was decided or measured before the first step."""
        text = yaml.safe_dump({**keys, "resolved": facts}, sort_keys=False, allow_unicode=True, width=120)
        put(self.path / "recipe.yaml", text)

    def read_recipe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The resolved recipe of this run, and what was decided for it."""
        from modeledge.recipe.read import read_file

        keys, _ = read_file(self.path / "recipe.yaml")
        decided = keys.pop("resolved", {})
        return keys, decided

    def write_environment(self, extra: dict[str, Any]) -> None:
        """environment.json: versions, machine, command line."""
        from importlib.metadata import PackageNotFoundError, version

        versions = {}
        for name in VERSIONS:
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                versions[name] = None
        facts = {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "versions": versions,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **extra,
        }
        put(self.path / "environment.json", json.dumps(facts, indent=1))

    def log(self, record: dict[str, Any]) -> str:
        """One line of metrics.jsonl. Returns why it could not be written: a run does not end for that."""
        problem = ""
        try:
            if self._metrics is None:
                self._metrics = os.open(self.path / "metrics.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            line = ("\n" if self._torn else "") + json.dumps(record) + "\n"
            self._torn = os.write(self._metrics, line.encode()) < len(line)
        except OSError as error:
            self._torn, problem = True, f"{self.path / 'metrics.jsonl'}: {error.strerror}"
        for tracker in self.hears:
            tracker.log(record)
        return problem

    def cut_log(self, step: int, *, judged: int) -> None:
        """Drop what was logged after `step`, and held-out figures after the step `judged`, before going on from it."""
        file = self.path / "metrics.jsonl"
        if file.exists():
            kept = [line for line in file.read_text().splitlines() if _known(line, step, judged)]
            put(file, "".join(line + "\n" for line in kept))


def put(file: Path, text: str) -> None:
    """Write a file so that it is the old one or the new one, whatever happens. Raises RunError if it cannot be
    written."""
    aside = file.with_name(f"{file.name}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(file)
    except OSError as error:
        raise RunError(f"{file}: cannot be written: {error.strerror}\n  next: make space, or another --out") from None


def _known(line: str, step: int, judged: int) -> bool:
    try:
        record = json.loads(line)
        return int(record["step"]) <= (judged if "valid" in record else step)
    except (ValueError, KeyError, TypeError):
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl; an unfinished last line is left out."""
    out = []
    for line in (path / "metrics.jsonl").read_text().splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out
