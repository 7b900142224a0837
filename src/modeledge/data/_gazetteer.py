"""Mentions of entities and phrases that the user lists, found among tokens.

A surface form is encoded as the text is, so "Paris" is found as the tokenizer sees it (an uncased one finds "PARIS").
A mention begins and ends where the tokenizer says that a word does, the longest wins, the leftmost first, and none
crosses a sentence. All places are compared at once, by a rolling hash for each length that occurs in the list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from modeledge.core import DataError
from modeledge.data._names import Numbers

_BASE = np.uint64(0x9E3779B97F4A7C15)
_LONGEST = 64
"""Tokens of the longest surface form that is looked for."""


class Gazetteer:
    """Surface forms with the number of what each stands for; the first line of a form decides."""

    def __init__(self, forms: Sequence[str], numbers: Sequence[int], tokenizer: Any):
        variants = [form for form in forms] + [f" {form}" for form in forms]  # inside a text and after a blank
        encoded = tokenizer.encode_batch(variants)
        by_length: dict[int, dict[bytes, int]] = {}
        for ids, number in zip(encoded, [*numbers, *numbers], strict=True):
            if 0 < len(ids) <= _LONGEST:
                by_length.setdefault(len(ids), {}).setdefault(np.asarray(ids, np.int64).tobytes(), number)
        self.tables = {length: _Table(found, length) for length, found in sorted(by_length.items(), reverse=True)}

    def find(
        self, tokens: Int[np.ndarray, " n"], words: Bool[np.ndarray, " n"], begins: Int[np.ndarray, " s"]
    ) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """For each token the number of the mention it belongs to (-1: none), and which tokens begin a mention.

        `words`: tokens that begin a word; `begins`: tokens that begin a sentence, the first of all among them."""
        n = len(tokens)
        number, size = np.full(n, -1, np.int64), np.zeros(n, np.int64)
        ends = np.append(begins[1:], n)
        stop = np.repeat(ends, ends - begins)  # where the sentence of each token ends
        boundary = np.append(words, True)
        boundary[ends] = True
        tokens = np.asarray(tokens, np.int64)
        for length, table in self.tables.items():  # the longest first
            at = np.flatnonzero(words[: max(n - length + 1, 0)] & (size[: max(n - length + 1, 0)] == 0))
            at = at[(at + length <= stop[at]) & boundary[at + length]]
            found = table.look_up(tokens, at)
            hit = found >= 0
            number[at[hit]], size[at[hit]] = found[hit], length
        starts = _leftmost(size, begins, ends)
        at = np.flatnonzero(starts)
        marks = np.full(n, -1, np.int32)
        inside = _ranges(at, size[at])
        marks[inside] = np.repeat(number[at], size[at])
        return marks, starts


class _Table:
    """Token sequences of one length, sorted by hash."""

    def __init__(self, found: dict[bytes, int], length: int):
        self.length = length
        forms = np.frombuffer(b"".join(found), np.int64).reshape(-1, length)
        codes = _hash(forms.T)
        order = np.argsort(codes, kind="stable")
        self.codes, self.forms = codes[order], forms[order]
        self.numbers = np.array(list(found.values()), np.int64)[order]

    def look_up(self, tokens: np.ndarray, at: np.ndarray) -> np.ndarray:
        """The number of the form that begins at each place, -1 for none."""
        codes = _hash([tokens[at + i] for i in range(self.length)])
        place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        near = np.flatnonzero(self.codes[place] == codes)
        same = (tokens[at[near, None] + np.arange(self.length)] == self.forms[place[near]]).all(1)
        out = np.full(len(at), -1, np.int64)
        out[near[same]] = self.numbers[place[near[same]]]
        return out


def _hash(columns: Any) -> np.ndarray:
    total = np.uint64(0)
    with np.errstate(over="ignore"):
        for column in columns:
            total = (total + column.astype(np.uint64) + np.uint64(1)) * _BASE
            total ^= total >> np.uint64(29)
    return np.asarray(total)


def units(starts: Bool[np.ndarray, " n"], marks: Int[np.ndarray, " n"], words: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Tokens that begin a mention, or a word outside mentions: bool [n]."""
    after = np.append(False, marks[:-1] >= 0) & (marks < 0)
    return starts | (words & (marks < 0)) | after


def _leftmost(size: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which candidates are taken when each sentence is read from the left; all sentences go on together."""
    candidates = np.append(np.flatnonzero(size), len(size))
    taken = np.zeros(len(size), bool)
    at, end = begins, ends
    while True:
        at = candidates[np.searchsorted(candidates, at)]
        more = at < end
        if not more.any():
            return taken
        at, end = at[more], end[more]
        taken[at] = True
        at = at + size[at]


def _ranges(begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """begins[0] ... begins[0] + sizes[0] - 1, and so on, in a row."""
    before = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) - np.repeat(before - begins, sizes)


def read_entities(file: Path) -> tuple[list[str], list[int], list[str]]:
    """Surface forms, the entity number of each, and the entities' names, numbered as they first occur.

    A line is a surface form, a tab, and an entity. Raises DataError for another line, with its place."""
    numbers, forms, owners = Numbers(), [], []
    for line, text in _lines(file):
        parts = [part.strip() for part in text.split("\t")]
        if len(parts) != 2 or not all(parts):
            raise DataError(f"{file}:{line}: expected a surface form, a tab and an entity, found {text[:60]!r}")
        forms.append(parts[0])
        owners.append(numbers[parts[1]])
    return forms, owners, list(numbers)


def read_phrases(file: Path) -> list[str]:
    """Phrases, one a line."""
    return [text.strip() for _, text in _lines(file)]


def _lines(file: Path) -> list[tuple[int, str]]:
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (byte {error.start})") from None
    found = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not found:
        raise DataError(f"{file}: nothing in it")
    return found
