"""The characters a vocabulary starts from, and how to keep training repeatable.

The library numbers inner characters (##x, x</w>) in the order of a randomly seeded hash table, and breaks ties between
merges by these numbers; giving them as if they were special tokens, sorted, makes the same texts give the same
vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import tokenizers as hf

_LEAST, _COVER = 1000, 0.9999
_ALL = 0x110000


def alphabet(inner: hf.Tokenizer, texts: Sequence[str], vocab: int) -> list[str]:
    """The most frequent characters of the normalised texts, sorted: those that cover 99.99 % and at least 1000, but at
    most a third of the vocabulary. Of equally frequent ones, the lower code point stays."""
    counts = np.zeros(_ALL, np.int64)
    for block in _blocks(texts):
        text = inner.normalizer.normalize_str(block) if inner.normalizer else block
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        counts += np.bincount(codes, minlength=_ALL)
    for code in np.flatnonzero(counts):
        if chr(code).isspace():
            counts[code] = 0
    seen = np.flatnonzero(counts)
    ranked = seen[np.lexsort((seen, -counts[seen]))]
    covered = np.cumsum(counts[ranked]) / max(counts.sum(), 1)
    wanted = max(_LEAST, int(np.searchsorted(covered, _COVER)) + 1)
    return sorted(chr(c) for c in ranked[: min(wanted, vocab // 3)])


def _blocks(texts: Sequence[str], size: int = 1 << 20) -> list[str]:
    blocks, held, length = [], [], 0
    for text in texts:
        held.append(text)
        length += len(text)
        if length >= size:
            blocks.append("\n".join(held))
            held, length = [], 0
    return [*blocks, "\n".join(held)]


def without_special(inner: hf.Tokenizer, tokens: Sequence[str]) -> hf.Tokenizer:
    """The same pipeline with `tokens` as ordinary entries of the vocabulary."""
    content, drop = json.loads(inner.to_str()), set(tokens)
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in drop]
    return hf.Tokenizer.from_str(json.dumps(content))
