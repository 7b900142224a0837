"""Rows of a table as rows of tokens: one text or two, tagged words, a question with windows of its passage.

Truncation: the longer of two texts gives way from its end (transformers' `longest_first`). Windows overlap by `stride`
tokens; answers lie in a window whole or are not in it. Source: BERT, arXiv:1810.04805 §4 and its released fine-tuning
code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modeledge.core import IGNORE

Row = dict[str, np.ndarray]


def frame_texts(tokenizer: Any, parts: Sequence[np.ndarray], length: int) -> tuple[Row, int]:
    """One framed row of one or two texts, and how many tokens were left out."""
    frame = tokenizer.frame(pair=len(parts) == 2)
    room = length - len(frame.before) - len(frame.after) - (len(frame.between) if len(parts) == 2 else 0)
    sizes = fit([len(p) for p in parts], room)
    lost = sum(map(len, parts)) - sum(sizes)
    return _join(tokenizer, frame, [p[:n] for p, n in zip(parts, sizes, strict=True)]), lost


def fit(sizes: list[int], room: int) -> list[int]:
    """How much of one or two texts stays in `room` tokens; the longer gives way until both are equally long."""
    if len(sizes) == 1 or sum(sizes) <= room:
        return [min(sizes[0], room), *sizes[1:]]
    shorter = min(*sizes, room // 2)
    return [room - shorter, shorter] if sizes[0] > sizes[1] else [shorter, room - shorter]


def _join(tokenizer: Any, frame: Any, parts: Sequence[np.ndarray]) -> Row:
    pieces = [(frame.before, True, frame.segments[0]), (parts[0], False, frame.texts[0])]
    if len(parts) == 2:
        pieces += [(frame.between, True, frame.segments[1]), (parts[1], False, frame.texts[1])]
    pieces.append((frame.after, True, frame.segments[2]))
    words = [np.ones(len(ids), bool) if special else tokenizer.word_starts(ids) for ids, special, _ in pieces]
    row = {
        "ids": np.concatenate([np.asarray(ids, np.int32) for ids, _, _ in pieces]),
        "special": np.concatenate([np.full(len(ids), special) for ids, special, _ in pieces]),
        "word_starts": np.concatenate(words),
        "segments": np.concatenate([np.full(len(ids), segment, np.int8) for ids, _, segment in pieces]),
    }
    if not row["segments"].any():
        del row["segments"]
    return row


def tag_words(tokenizer: Any, encoded: Any, tags: np.ndarray, length: int) -> tuple[Row, int]:
    """A row of words, the label of each on its first token, and how many words were left out.

    `words` tells which word a token belongs to, -1 for special tokens."""
    frame = tokenizer.frame()
    room = length - len(frame.before) - len(frame.after)
    ids, words = encoded.ids[:room], encoded.words[:room]
    row = _join(tokenizer, frame, [ids])
    first = np.append(True, words[1:] != words[:-1])[: len(words)]
    around = [len(frame.before), len(frame.after)]
    row["word_starts"][around[0] : around[0] + len(ids)] = first
    row["labels"] = np.pad(np.where(first, tags[words], IGNORE), around, constant_values=IGNORE)
    row["words"] = np.pad(words, around, constant_values=-1)
    return row, len(tags) - (int(words[-1]) + 1 if len(words) else 0)


def passage_windows(tokenizer: Any, question: Any, passage: Any, length: int, stride: int) -> list[Row]:
    """A question with each window of a passage; `passage_spans` [n, 2] are the characters of passage tokens, -1
    elsewhere.

    A question may fill half of the row at most."""
    frame = tokenizer.frame(pair=True)
    room = length - len(frame.before) - len(frame.between) - len(frame.after)
    asked = question.ids[: room // 2]
    room -= len(asked)
    step = max(1, room - stride)
    rows = []
    for begin in range(0, max(1, len(passage.ids) - room + step), step):
        ids = passage.ids[begin : begin + room]
        row = _join(tokenizer, frame, [asked, ids])
        spans = np.full((len(row["ids"]), 2), -1, np.int32)
        at = len(frame.before) + len(asked) + len(frame.between)
        spans[at : at + len(ids)] = passage.spans[begin : begin + room]
        row["passage_spans"] = spans
        rows.append(row)
    return rows


def find_span(spans: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """First and last token of a row that hold the characters begin ... end - 1; (0, 0) if the row does not hold them
    all."""
    inside = np.flatnonzero((spans[:, 0] >= 0) & (spans[:, 1] > begin) & (spans[:, 0] < end))
    if not len(inside):
        return 0, 0
    first, last = int(inside[0]), int(inside[-1])
    here = np.flatnonzero(spans[:, 0] >= 0)
    cut_left = first == here[0] and spans[first, 0] > begin
    cut_right = last == here[-1] and spans[last, 1] < end
    return (0, 0) if cut_left or cut_right else (first, last)
