"""What a table of word vectors knows: nearest words, agreement with human judgements of likeness, analogies.

Sources: word2vec, arXiv:1301.3781 §4 (a is to b as c is to d: the word nearest to b - a + c, the three words of the
question excluded); Spearman's rank correlation with human scores as everywhere since WordSim-353."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from modeledge.analysis.scores import regression
from modeledge.core import Facts, InputError, unknown


class WordVectors:
    """Unit vectors by word. An absent word is looked up in lower case; a row of zeros has cosine 0 with all."""

    def __init__(self, table: Float[np.ndarray, "v d"], words: Sequence[str]):
        if len(table) != len(words):
            raise ValueError(f"{len(table)} vectors for {len(words)} words")
        length = np.linalg.norm(table, axis=1, keepdims=True)
        self.unit = (table / np.where(length > 0, length, 1)).astype(np.float32)
        self.words = list(words)
        self.index = {w: i for i, w in reversed(list(enumerate(self.words)))}

    def find(self, word: str) -> int | None:
        """The row of a word, or None."""
        return self.index.get(word, self.index.get(word.lower()))

    def rows(self, words: Iterable[str]) -> list[int]:
        """The rows of words. Raises InputError naming the first that has no vector."""
        found = [(w, self.find(w)) for w in words]
        for word, row in found:
            if row is None:
                raise InputError(unknown("word vectors", "word", word, self.words[:20_000]))
        return [row for _, row in found if row is not None]

    def most_similar(
        self, positive: Sequence[str], negative: Sequence[str] = (), *, n: int = 10
    ) -> list[tuple[str, float]]:
        """The n words nearest to the sum of unit vectors, `negative` taken off, with cosines; none of the given."""
        plus, minus = self.rows(positive), self.rows(negative)
        query = self.unit[plus].sum(0) - self.unit[minus].sum(0)
        score = self.unit @ (query / max(float(np.linalg.norm(query)), 1e-12))
        score[[*plus, *minus]] = -np.inf
        best = np.argsort(-score, kind="stable")[: min(n, len(score) - len({*plus, *minus}))]
        return [(self.words[i], float(score[i])) for i in best]


def word_vectors(table: Float[np.ndarray, "v d"], facts: Facts) -> WordVectors:
    """The vectors of the ordinary words of a tokenizer, by their strings; special tokens are left out."""
    ordinary = np.flatnonzero(~facts.is_special())
    tokens = facts.tokenizer.pieces.tokens
    return WordVectors(table[ordinary], [tokens[i] for i in ordinary])


def similarity(vectors: WordVectors, pairs: Iterable[tuple[str, str, float]]) -> dict[str, float]:
    """Spearman's correlation of cosines with scores, over the pairs whose words both have vectors; n and missing."""
    rows = [(vectors.find(a), vectors.find(b), score) for a, b, score in pairs]
    known = [(a, b, s) for a, b, s in rows if a is not None and b is not None]
    if len(known) < 2:
        return {"spearman": float("nan"), "n": len(known), "missing": len(rows) - len(known)}
    left, right, gold = (np.array(column) for column in zip(*known, strict=True))
    cosine = (vectors.unit[left] * vectors.unit[right]).sum(1)
    rho = regression(cosine.astype(np.float64), gold.astype(np.float64))["spearman"]
    return {"spearman": rho, "n": len(known), "missing": len(rows) - len(known)}


def analogies(
    vectors: WordVectors, questions: Iterable[tuple[str, str, str, str]], *, among: int = 30_000, chunk: int = 512
) -> dict[str, float]:
    """Share of questions a : b = c : d whose answer is the word nearest to b - a + c, the three given excluded.

    Only the first `among` words are answers (the released script's limit), and only questions of which all four words
    are among them are asked; n and missing."""
    rows = [[vectors.find(w) for w in question] for question in questions]
    asked = np.array([r for r in rows if all(i is not None and i < among for i in r)], np.int64).reshape(-1, 4)
    right, pool = 0, vectors.unit[:among]
    for at in range(0, len(asked), chunk):
        a, b, c, d = asked[at : at + chunk].T
        score = (vectors.unit[b] - vectors.unit[a] + vectors.unit[c]) @ pool.T
        line = np.arange(len(a))
        for given in (a, b, c):
            score[line, given] = -np.inf
        right += int((score.argmax(1) == d).sum())
    share = right / len(asked) if len(asked) else float("nan")
    return {"accuracy": share, "n": len(asked), "missing": len(rows) - len(asked)}
