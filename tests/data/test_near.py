"""Near-duplicates against exact Jaccard similarities."""

from __future__ import annotations

import numpy as np

from modeledge.data import _near
from modeledge.data._near import NearDuplicates, signatures


def shingles(tokens):
    return {tuple(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4))}


def similarity(one, other):
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def made_of(documents):
    return signatures(np.concatenate(documents), np.array([len(d) for d in documents]))


def edited(rng, tokens, changes):
    tokens = tokens.copy()
    tokens[rng.integers(0, len(tokens), changes)] = rng.integers(1000, 2000, changes)
    return tokens


def test_equal_bins_estimate_the_jaccard_similarity():
    rng = np.random.default_rng(0)
    errors = []
    for changes in (0, 5, 20, 60):
        base = [rng.integers(0, 1000, 400) for _ in range(60)]
        other = [edited(rng, d, changes) for d in base]
        equal = (made_of(base).bins == made_of(other).bins).mean(1)
        exact = np.array([similarity(a.tolist(), b.tolist()) for a, b in zip(base, other, strict=True)])
        errors.append(abs(equal.mean() - exact.mean()))
        sigma = np.sqrt((exact * (1 - exact)).mean() / 32 / 60)
        assert errors[-1] <= 3.5 * sigma + 1e-9


def test_copies_are_found_and_strangers_are_not():
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 5000, rng.integers(50, 400)) for _ in range(500)]
    copies = [edited(rng, d, max(1, len(d) // 100)) for d in documents[:100]]
    near, _ = NearDuplicates().find(made_of(documents + copies), np.zeros(600, bool))
    assert near[:500].sum() == 0 and near[500:].sum() >= 93


def test_documents_are_compared_over_calls_too():
    rng = np.random.default_rng(2)
    documents = [rng.integers(0, 5000, 80) for _ in range(50)]
    seen = NearDuplicates()
    assert not seen.find(made_of(documents), np.zeros(50, bool))[0].any()
    near, side = seen.find(made_of(documents[::-1]), np.ones(50, bool))
    assert near.all() and not side.any()  # they follow the ones they resemble


def test_short_documents_are_equal_or_not():
    documents = [np.array(d) for d in ([1], [2], [1], [1, 2, 3], [1, 2, 3], [3, 2, 1])]
    near, _ = NearDuplicates().find(made_of(documents), np.zeros(6, bool))
    assert near.tolist() == [False, False, True, False, True, False]


def test_memory_stays_what_it_is_and_old_documents_are_forgotten(monkeypatch):
    monkeypatch.setattr(_near, "_KEEP", 64)
    rng, seen = np.random.default_rng(3), NearDuplicates()
    documents = [rng.integers(0, 5000, 30) for _ in range(200)]
    size = seen.bins.nbytes
    for first in range(0, 200, 20):
        seen.find(made_of(documents[first : first + 20]), np.zeros(20, bool))
    assert seen.bins.nbytes == size
    assert not seen.find(made_of(documents[:20]), np.zeros(20, bool))[0].any()
    assert seen.find(made_of(documents[-20:]), np.zeros(20, bool))[0].all()
