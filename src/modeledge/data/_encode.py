"""The work of one process of `prepare`: texts to tokens, sentence and word starts, content hashes, signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from modeledge.core import InputError, keyed
from modeledge.data._chinese import chinese_starts, has_chinese
from modeledge.data._gazetteer import Gazetteer, units
from modeledge.data._marks import lie_on
from modeledge.data._near import Signatures, signatures
from modeledge.data._split import split_sentences

_SLICE = 1 << 17
"""Characters encoded at a time: the library needs some 250 bytes for each."""


class Chunk(NamedTuple):
    """Some documents, encoded. Documents and sentences without tokens are left out; `kept` tells which documents
    remain; `bytes`: of each one's text in UTF-8; `notes`: further columns with one entry a token."""

    kept: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray
    sentences: np.ndarray
    word_starts: np.ndarray
    hashes: np.ndarray
    near: Signatures
    bytes: np.ndarray
    notes: dict[str, np.ndarray] = {}


class Encoder:
    """What every process holds: the tokenizer, whether Chinese words are told by a segmenter, the entities, phrases and
    capitals to mark, whether texts come with marks of their own, and the fraction of the documents that is held out,
    which no chance cuts into tokens."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        segment: bool,
        sentences: bool = True,
        entities: Gazetteer | None = None,
        phrases: Gazetteer | None = None,
        capitals: bool = False,
        marks: bool = False,
        fraction: float = 1.0,
    ):
        self.fraction, self.draws = (
            fraction,
            getattr(getattr(tokenizer, "config", None), "sample", None) is not None and fraction < 1,
        )
        if self.draws and (entities, phrases, capitals, marks) != (None, None, False, False):
            raise InputError(
                "tokenizer.sample: names, phrases and capitals are marked in texts cut in the most probable way\n"
                "  next: leave out tokenizer.sample, or --entities, --phrases, --capitals and --column marks=..."
            )
        self.tokenizer, self.segment, self.sentences = tokenizer, segment, sentences
        self.entities, self.phrases, self.capitals = entities, phrases, capitals
        self.dtype = np.uint16 if tokenizer.vocab <= 1 << 16 else np.uint32

    def __call__(self, texts: Sequence[str], marks: Sequence[np.ndarray] | None = None) -> Chunk:
        """Encode documents. marks: spans of characters of each, whose tokens are marked."""
        parts = [split_sentences(text) if self.sentences else [text] for text in texts]
        pieces = [piece for found in parts for piece in found]
        owners = [number for number, found in enumerate(parts) for _ in found]
        tokens, sizes, starts = self._encode(pieces)
        some = sizes > 0
        owner, sizes = np.array(owners, np.int64)[some], sizes[some]
        starts[np.cumsum(sizes) - sizes] = True
        lengths = np.bincount(owner, sizes, len(texts)).astype(np.int64)
        kept = lengths > 0
        hashes = np.array([content_hash(t) for t in texts], np.uint64)
        near = signatures(tokens, lengths[kept])
        if self.draws:
            by_chance = ~held_out(hashes, self.fraction)[owner]
            pieces = [p for p, keep in zip(pieces, some, strict=True) if keep]
            tokens, sizes, starts = self._drawn(pieces, by_chance, (tokens, sizes, starts), hashes)
            lengths = np.bincount(owner, sizes, len(texts)).astype(np.int64)
        begins = np.cumsum(sizes) - sizes
        notes = self._mark(tokens, starts, begins)
        if self.capitals:
            notes["capitals"] = self._capitals(pieces, starts)
        if marks is not None:
            notes["marked"] = lie_on(texts, marks, parts, [e.spans for e in self.tokenizer.encode_spans(pieces)])
        tokens = tokens.astype(self.dtype)
        written = np.array([len(t.encode("utf-8", "replace")) for t in texts], np.int64)
        return Chunk(kept, tokens, lengths[kept], begins, starts, hashes[kept], near, written[kept], notes)

    def _drawn(
        self, pieces: list[str], by_chance: np.ndarray, best: tuple[np.ndarray, ...], hashes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, sizes and word starts where these pieces are cut by chance; what a segmenter cuts stays."""
        tokens, sizes, starts = best
        by_chance = by_chance & ~np.array([self.segment and has_chinese(p) for p in pieces], bool)
        rng = keyed("segmentation", int(np.bitwise_xor.reduce(hashes)))  # the same for any number of processes
        drawn, n = self.tokenizer.encode_training([p for p, c in zip(pieces, by_chance, strict=True) if c], rng)
        first = np.array(self.tokenizer.word_starts(drawn))
        first[(np.cumsum(n) - n)[n > 0]] = True
        parts = [np.split(column, np.cumsum(sizes)[:-1]) for column in (tokens, starts)]
        made = [np.split(column, np.cumsum(n)[:-1]) for column in (drawn, first)]
        for nth, place in enumerate(np.flatnonzero(by_chance).tolist()):
            for part, found in zip(parts, made, strict=True):
                part[place] = found[nth]
        sizes = np.array([len(part) for part in parts[0]], np.int64)
        return np.concatenate(parts[0]), sizes, np.concatenate(parts[1])

    def _capitals(self, pieces: list[str], starts: np.ndarray) -> np.ndarray:
        """Which tokens are of a word that begins with a capital letter."""
        found = [np.zeros(0, bool)]
        for text, encoded in zip(pieces, self.tokenizer.encode_spans(pieces), strict=True):
            small = "".join(c if len(c.lower()) > 1 else c.lower() for c in text)
            large = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32) != np.frombuffer(
                small.encode("utf-32-le", "replace"), np.uint32
            )
            found.append(large[encoded.spans[:, 0]])
        first = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
        return np.concatenate(found)[first]

    def _mark(self, tokens: np.ndarray, starts: np.ndarray, begins: np.ndarray) -> dict[str, np.ndarray]:
        """Mentions of entities and phrases: columns with one entry a token."""
        if not len(tokens) or (self.entities is None and self.phrases is None):
            return {}
        words = np.array(self.tokenizer.word_starts(tokens))
        words[begins] = True
        notes = {}
        if self.entities is not None:
            notes["entities"], first = self.entities.find(tokens, words, begins)
            notes["entity_starts"] = units(first, notes["entities"], starts)
        if self.phrases is not None:
            marks, first = self.phrases.find(tokens, words, begins)
            notes["phrase_starts"] = units(first, marks, starts)
        return notes

    def _encode(self, pieces: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of all pieces, how many each has, word starts (the first of a piece is the caller's to mark)."""
        chinese = [self.segment and has_chinese(p) for p in pieces]
        if not any(chinese):
            found = [self.tokenizer.encode_flat(part) for part in _slices(pieces)]
            if not found:
                return np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, bool)
            ids, sizes = (np.concatenate(column) for column in zip(*found, strict=True))
            return ids, sizes, self.tokenizer.word_starts(ids)
        ids, starts = [], []
        for part in _slices(pieces):
            for text, encoded in zip(part, self.tokenizer.encode_spans(part), strict=True):
                told = chinese_starts(text, encoded.spans, encoded.word_starts) if has_chinese(text) else None
                ids.append(encoded.ids)
                starts.append(encoded.word_starts if told is None else told)
        return np.concatenate(ids), np.fromiter(map(len, ids), np.int64, len(ids)), np.concatenate(starts)


def _slices(pieces: list[str]) -> Iterator[list[str]]:
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _SLICE:
            yield held
            held, size = [], 0
    if held:
        yield held


def held_out(hashes: np.ndarray, fraction: float) -> np.ndarray:
    """Which documents are held out, by what they say: equal ones always go to the same side."""
    return hashes.astype(np.uint64) < np.uint64(min(int(fraction * 2**64), 2**64 - 1))


def content_hash(text: str) -> int:
    """64 bits that depend on the words of a text, not on its blanks."""
    words = " ".join(text.split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")


_encoder: Encoder | None = None


def start(encoder: Encoder) -> None:
    """Begin a process."""
    global _encoder
    _encoder = encoder


def work(given: tuple[Sequence[str], Sequence[np.ndarray] | None]) -> Chunk:
    """Encode documents, with their marks or without, in a process that was started by `start`."""
    assert _encoder is not None
    return _encoder(*given)
