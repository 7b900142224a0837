"""Important words, held against the procedure written out for one text after the other."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.analysis.importance import important


def one_by_one(words: list[int], sure, threshold: float) -> list[bool]:
    """The procedure of arXiv:2004.09733 for one text: a list as buffer, a word at a time."""
    buffer, found = [], []
    for word in words:
        buffer.append(word)
        found.append(sure(words) - sure(buffer) < threshold)
        if found[-1]:
            buffer.pop()
    return found


def classifier(kind: str):
    """How sure something is that reads words as numbers, in their order."""
    if kind == "sum":
        return lambda words: 1 / (1 + np.exp(-sum((w % 7) - 3 for w in words) / 3))
    return lambda words: (hash(tuple(words)) % 1000) / 1000  # any change of the words changes everything


@pytest.mark.parametrize("kind", ["sum", "arbitrary"])
@pytest.mark.parametrize("threshold", [0.05, 0.2])
def test_all_texts_together_are_judged_as_each_by_itself(kind, threshold):
    rng, sure = np.random.default_rng(0), classifier(kind)
    texts = [rng.integers(0, 50, n).tolist() for n in [1, 9, 30, 4, 0, 17, *rng.integers(1, 25, 30)]]
    calls = []

    def score(rows, shown):
        calls.append(len(rows))
        assert shown.shape == (len(rows), 30)
        return np.array([sure([texts[r][i] for i in np.flatnonzero(s)]) for r, s in zip(rows, shown, strict=True)])

    found = important(np.array([len(t) for t in texts]), score, threshold=threshold)
    wanted = [one_by_one(t, sure, threshold) for t in texts]
    assert [row[: len(t)].tolist() for row, t in zip(found, texts, strict=True)] == wanted
    assert not any(row[len(t) :].any() for row, t in zip(found, texts, strict=True))
    assert len(calls) == 31 and calls[1] == 35 and calls[-1] == 1  # as many as the longest has words, and one
    assert 20 < sum(map(sum, wanted)) < 0.8 * sum(map(len, texts))


def test_the_words_a_class_hangs_on_are_found_each_without_the_others():
    words = np.array([["the", "film", "was", "great", "and", "the", "cast", "great"]])

    def score(rows, shown):
        return np.where((shown & (words == "great")).any(1), 0.98, 0.5)

    found = important(np.array([8]), score, threshold=0.05)
    assert words[found].tolist() == ["great", "great"]
