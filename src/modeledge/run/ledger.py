"""Finished cells of a long experiment, one JSON line each, so that it can be stopped at any moment and gone on with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from modeledge.core import InputError


class Ledger:
    """Records by key; a record is on disk before `add` returns, and a line that was cut off counts as not done."""

    def __init__(self, path: Path):
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise InputError(f"{path}: this is a folder, not a file of records")
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        for line in lines:
            record = _parsed(line) if line.endswith("\n") else None
            if record is not None:
                self.records[_key(record["key"])] = record
        if lines and not lines[-1].endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The record of a key, or None if that cell is not done."""
        return self.records.get(_key(key))

    def add(self, record: dict[str, Any], **key: Any) -> dict[str, Any]:
        """Write down a finished cell."""
        whole = {"key": key, **record}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(whole, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records[_key(key)] = whole
        return whole


def _key(key: dict[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, default=str)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("key"), dict) else None
