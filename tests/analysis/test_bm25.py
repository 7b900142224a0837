"""BM25 against a plain loop over words and texts, and recall against chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.analysis.bm25 import BM25
from modeledge.analysis.retrieval import recall


def loop(texts, query, k1, b):
    mean = sum(map(len, texts)) / len(texts)
    out = []
    for text in texts:
        total = 0.0
        for word in query:
            having = sum(word in t for t in texts)
            count = list(text).count(word)
            idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            total += idf * count * (k1 + 1) / (count + k1 * (1 - b + b * len(text) / mean))
        out.append(total)
    return out


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4)])
def test_scores_are_those_of_the_formula(k1, b):
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 20, n) for n in rng.integers(1, 30, 25)]
    queries = [rng.integers(0, 25, 6) for _ in range(8)]  # words no text has, and words that come twice
    found = BM25(texts, k1=k1, b=b).scores(queries)
    assert found == pytest.approx(np.array([loop(texts, list(q), k1, b) for q in queries]), rel=1e-5)


def test_recall_counts_a_query_once_whichever_of_its_right_keys_is_found():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    right = torch.tensor([[False, True, True, False], [True, False, False, False]])
    found = recall(scores, right, ranks=(1, 2, 4))
    assert [found[f"recall@{k}"] for k in (1, 2, 4)] == [0.0, 0.5, 1.0]
    assert recall(torch.zeros(1, 100), torch.eye(1, 100).bool(), ranks=(10,))["recall@10"] == pytest.approx(0.1)
