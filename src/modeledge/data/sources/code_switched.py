"""Sentences in which some phrases stand in another language: each replaced by what it is in the translation.

Source: ALM, AAAI 2020, "Alternating Language Modeling for Cross-Lingual Pre-Training", §3. Words are aligned when the
source is first opened, from the pairs of the store alone (data/_phrases.py), and the links are kept. Not here:
sentences that alternate whole (alternating.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, Facts
from modeledge.data._kept import kept
from modeledge.data._phrases import LEARNT_FROM, LEAST, ROUNDS, Lexicon, learn, phrases_of, words_of
from modeledge.data.sources import Source
from modeledge.data.sources._frame import Frame
from modeledge.data.store import Store

SIDES = ("tokens", "second")


class CodeSwitched(Source):
    """[cls] sentence [sep]; row 2 i is the first text of pair i with phrases of the second, row 2 i + 1 the second with
    phrases of the first. `lang` says which language a token is of; what frames the row is of the row's own."""

    class Config(Source.Config):
        """langs: the numbers of the two languages; rate: share of the words that change their language, as far as they
        are aligned; phrase: the longest phrase, in words."""

        langs: tuple[int, int] = (0, 1)
        rate: float = Field(0.3, ge=0, le=1)
        phrase: int = Field(4, ge=1, le=16)

    config: Config
    reads = "parallel"

    def __init__(self, config: Config, store: Store, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        self.frame = Frame(facts)
        one, two = self.words = [words_of(self.store, side) for side in SIDES]
        links = self._links(store)
        back = np.full(len(two.said), -1)
        back[links[links >= 0]] = np.flatnonzero(links >= 0)
        self.phrases = [
            phrases_of(words, found, len(other.said), longest=config.phrase)
            for words, found, other in ((one, links, two), (two, back, one))
        ]
        self.number(2 * (len(one.first) - 1))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        b, length = len(index), self.config.length
        pair, side = np.divmod(index, 2)
        order = rng.random((b, self._most(pair)))
        spare = rng.random(b)
        ids, lang = np.full((b, length), self.frame.sep, np.int32), np.zeros((b, length), np.int32)
        n, starts = np.zeros(b, np.int64), np.ones((b, length), bool)
        for which in (0, 1):
            rows = np.flatnonzero(side == which)
            if len(rows):
                taken = self._choose(pair[rows], which, order[rows], spare[rows])
                place = self._write(pair[rows], which, taken, (ids, lang, starts), rows)
                n[rows] = place
        at = np.arange(length)
        head = self.frame.head
        valid = at <= head + n[:, None]
        special = (at < head) | (at >= head + n[:, None])
        ids[special] = self.frame.sep
        ids[~valid] = self.frame.pad
        if self.frame.cls is not None:
            ids[:, 0] = self.frame.cls
        lang = np.where(special, np.asarray(self.config.langs)[side][:, None], lang).astype(np.int32)
        batch = Batch(ids=ids, special=special, word_starts=starts | special, lang=lang)
        return batch if valid.all() else batch.but(valid=valid)

    def _links(self, store: Store) -> Int[np.ndarray, " w"]:
        """Which word of the second texts translates each of the first, by what the training pairs teach."""
        one, two = self.words if self.store is store else [words_of(store, side) for side in SIDES]
        settings = {"pairs": LEARNT_FROM, "rounds": ROUNDS}
        learnt = kept(store, "lexicon", lambda: learn(one, two), **settings)
        lexicon = Lexicon(one, two, learnt)
        by = {name: said["sha256"] for name, said in store.meta["columns"].items()}
        return kept(self.store, "links", lambda: lexicon.linked(*self.words), by=by, least=LEAST, **settings)["links"]

    def _most(self, pair: Int[np.ndarray, " b"]) -> int:
        return max(int((p.first[pair + 1] - p.first[pair]).max(initial=0)) for p in self.phrases)

    def _choose(
        self, pair: Int[np.ndarray, " b"], side: int, order: np.ndarray, spare: np.ndarray
    ) -> Int[np.ndarray, "k 2"]:
        """Phrases to replace, as (row, number of the phrase): in random order whatever neither overlaps one before it
        nor goes beyond the row's share of words, which is rounded up as often as its fraction says."""
        phrases, words = self.phrases[side], self.words[side]
        count, first = phrases.first[pair + 1] - phrases.first[pair], words.first[pair]
        size = words.first[pair + 1] - first
        left = np.floor(self.config.rate * size + spare).astype(np.int64)
        row, taken, found = np.arange(len(pair)), np.zeros((len(pair), int(size.max()) + 1), bool), []
        turn = np.argsort(np.where(np.arange(order.shape[1]) < count[:, None], order, 2.0), axis=1)
        for nth in range(int(count.max(initial=0))):  # phrases of a row, not tokens
            number = np.minimum(phrases.first[pair] + turn[:, nth], len(phrases.begin) - 1)
            begin, end = phrases.begin[number] - first, phrases.end[number] - first
            fits = (nth < count) & (end - begin <= left)
            begin, end = np.where(fits, begin, 0), np.where(fits, end, 0)
            for step in range(self.config.phrase):
                fits &= ~((begin + step < end) & taken[row, np.minimum(begin + step, taken.shape[1] - 1)])
            for step in range(self.config.phrase):
                inside = fits & (begin + step < end)
                taken[row[inside], (begin + step)[inside]] = True
            left -= np.where(fits, end - begin, 0)
            found.append(np.stack([row[fits], number[fits]], axis=1))
        return np.concatenate(found) if found else np.zeros((0, 2), np.int64)

    def _write(
        self, pair: np.ndarray, side: int, taken: np.ndarray, out: tuple[np.ndarray, ...], rows: np.ndarray
    ) -> Int[np.ndarray, " b"]:
        """Put the tokens of the rows, their languages and word starts into `out`; how many tokens each row has."""
        ids, lang, starts = out
        words, other, phrases = self.words[side], self.words[1 - side], self.phrases[side]
        begin, end = (words.begins[words.first[pair + k]] for k in (0, 1))
        width = int((end - begin).max(initial=1))
        emits = (np.arange(width) < (end - begin)[:, None]).astype(np.int64)  # tokens written for each token
        row, number = taken.T
        a, b = words.begins[phrases.begin[number]] - begin[row], words.begins[phrases.end[number]] - begin[row]
        c, d = other.begins[phrases.other_begin[number]], other.begins[phrases.other_end[number]]
        step = np.zeros((len(pair), width + 1), np.int64)
        np.add.at(step, (row, a), 1)
        np.add.at(step, (row, b), -1)
        replaced = np.cumsum(step, axis=1)[:, :width] > 0
        emits[replaced] = 0
        emits[row, a] = d - c
        at = np.cumsum(emits, axis=1) - emits
        room = self.frame.room(ids.shape[1])

        def put(r: np.ndarray, to: np.ndarray, source: np.ndarray, of: int) -> None:
            fits = to < room
            where = rows[r[fits]], self.frame.head + to[fits]
            column = SIDES[of]
            ids[where] = self.store[column][source[fits]]
            starts[where] = self.store["word_starts" if of == 0 else f"{column}_word_starts"][source[fits]]
            lang[where] = self.config.langs[of]

        r, column = np.nonzero((emits > 0) & ~replaced)
        put(r, at[r, column], begin[r] + column, side)
        size = d - c
        within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        put(np.repeat(row, size), np.repeat(at[row, a], size) + within, np.repeat(c, size) + within, 1 - side)
        return np.minimum(emits.sum(axis=1), room)
