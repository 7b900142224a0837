"""Words for the output, their characters for the input: ELMo.

Source: ELMo, arXiv:1802.05365, and its released batcher: UTF-8 bytes 0-255, 256/257 sentence begin and end, 258/259
word begin and end, 260 padding, width 50, every id shifted by one so that 0 is a masked place."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from modeledge.tokenizers.word import Word

WIDTH = 50
"""Characters of a word, its two boundary marks included."""
_SENTENCE_BEGIN, _SENTENCE_END, _WORD_BEGIN, _WORD_END, _PAD = 256, 257, 258, 259, 260


class Chars(Word):
    """A word-level vocabulary with the characters of every word."""

    class Config(Word.Config):
        """As for words; ELMo keeps the case."""

        lowercase: bool = False

    characters_size = _PAD + 2
    """Rows of a character embedding: 261 ids and the masked place."""

    @cached_property
    def characters(self) -> np.ndarray:
        """uint16 [v, 50]: the characters of each id of the vocabulary; a row of zeros for padding."""
        table = characters_of(self.pieces.tokens)
        special: dict[str, list[int]] = {"bos": [_SENTENCE_BEGIN], "eos": [_SENTENCE_END]}
        for role, inside in special.items():
            table[self.special[role]] = _row(inside)
        table[self.special["pad"]] = 0
        return table


def characters_of(words: list[str]) -> np.ndarray:
    """uint16 [n, 50]: the character ids of words; a long word loses its tail but keeps the end-of-word mark."""
    return (
        np.stack([_row(list(w.encode("utf-8", "replace"))) for w in words])
        if words
        else np.zeros((0, WIDTH), np.uint16)
    )


def _row(inside: list[int]) -> np.ndarray:
    marked = [_WORD_BEGIN, *inside[: WIDTH - 2], _WORD_END]
    return np.array(marked + [_PAD] * (WIDTH - len(marked)), np.uint16) + 1
