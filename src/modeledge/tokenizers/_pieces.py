"""What the ids of a vocabulary look like: their strings, and how they join into words.

Word starts follow the pre-tokenisation of the pipeline as far as single ids show it: WordPiece's ##, BPE's </w>, the
leading space of byte-level BPE and Unigram; there a change between letters, digits and other signs begins a word too,
and so does a Chinese character (the released ALBERT code's rule for foreign characters)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import tokenizers as hf
from tokenizers import models

_JOIN, _LETTER, _DIGIT, _OTHER, _SPACE, _ALONE = 0, 1, 2, 3, 4, 255


@dataclass
class Pieces:
    """tokens: strings by id; spaces: a word carries the space before it; continues: WordPiece only.

    A token begins a word if `marks` says so, or if its first sign is of another class than the last sign before it."""

    tokens: list[str]
    spaces: bool
    continues: np.ndarray | None
    marks: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def word_starts(self, ids: np.ndarray) -> np.ndarray:
        """bool [n] for consecutive ids; the first begins a word."""
        last = self.last[ids[:-1]]
        starts = self.marks[ids]
        starts[1:] |= (self.first[ids[1:]] != last) & (last != _JOIN)
        starts[:1] = True
        return starts


def pieces_of(inner: hf.Tokenizer, vocab: int, special: list[int]) -> Pieces:
    """Read the tables off a trained pipeline."""
    tokens = [inner.id_to_token(i) or "" for i in range(vocab)]
    model = inner.model
    marks, first, last = np.zeros(vocab, bool), np.full(vocab, _LETTER, np.uint8), np.zeros(vocab, np.uint8)
    continues, spaces = None, False
    if isinstance(model, models.WordPiece):
        continues = np.array([t.startswith(model.continuing_subword_prefix) for t in tokens])
        marks = ~continues
    elif isinstance(model, models.WordLevel):
        marks[:] = True
    elif isinstance(model, models.BPE) and model.end_of_word_suffix:
        ends = np.array([t.endswith(model.end_of_word_suffix) for t in tokens])
        last[ends] = _ALONE
    else:
        spaces = True
        plain = [_plain(t) for t in tokens]
        marks = np.array([p[:1].isspace() or is_chinese(p[:1]) for p in plain])
        signs = [p.strip() for p in plain]
        first = np.array([_class(s[:1]) for s in signs], np.uint8)
        last = np.array([_class(s[-1:]) for s in signs], np.uint8)
        last[[i for i, s in enumerate(signs) if not s]] = _JOIN
    marks[special], first[special], last[special] = True, _ALONE, _ALONE
    if continues is not None:
        continues[special] = False
    return Pieces(tokens, spaces, continues, marks, first, last)


def is_chinese(character: str) -> bool:
    """A CJK ideograph (as BERT's tokenizer counts them: no kana, no hangul)."""
    if not character:
        return False
    c = ord(character)
    return 0x4E00 <= c <= 0x9FFF or 0x3400 <= c <= 0x4DBF or 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x2FA1F


def _class(sign: str) -> int:
    if not sign:
        return _SPACE
    if sign.isalpha() or sign == "\ufffd":
        return _LETTER
    return _DIGIT if sign.isdigit() else _OTHER


def _plain(token: str) -> str:
    """The characters a byte-level or Unigram token stands for; incomplete UTF-8 counts as a letter."""
    if "\u2581" in token:
        return token.replace("\u2581", " ")
    table = _bytes_of()
    if all(c in table for c in token):
        return bytes(table[c] for c in token).decode("utf-8", "replace")
    return token


@cache
def _bytes_of() -> dict[str, int]:
    """GPT-2's bytes as printable characters, reversed: character -> byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}
