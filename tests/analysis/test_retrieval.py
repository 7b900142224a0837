"""Recall and ranks against a loop over shuffled ties."""

from __future__ import annotations

import numpy as np
import torch

from modeledge.analysis.retrieval import retrieval, retrieval_of_pairs


def by_sorting(scores, right, k):
    """Hit of one query when ties are broken by the order the keys stand in."""
    order = np.argsort(-scores, kind="stable")
    return right[order[:k]].any()


def test_untied_scores_agree_with_sorting():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(7, 5)), rng.normal(size=(15, 5))
    owner = np.concatenate([np.arange(7), rng.integers(0, 7, 8)])
    got = retrieval(torch.tensor(image), torch.tensor(text), owner, chunk=4)
    scores = image @ text.T
    for k in (1, 5, 10):
        forth = np.mean([by_sorting(scores[i], owner == i, k) for i in range(7)])
        back = np.mean([by_sorting(scores[:, j], np.arange(7) == owner[j], k) for j in range(15)])
        assert abs(got["image_to_text"][f"recall@{k}"] - forth) < 1e-12
        assert abs(got["text_to_image"][f"recall@{k}"] - back) < 1e-12
    ranks = [1 + (scores[:, j] > scores[owner[j], j]).sum() for j in range(15)]
    assert got["text_to_image"]["median_rank"] == np.median(ranks)


def test_ties_are_worth_what_a_random_order_gives():
    rng = np.random.default_rng(1)
    image, text = rng.integers(0, 2, (6, 3)).astype(float), rng.integers(0, 2, (12, 3)).astype(float)
    owner = np.repeat(np.arange(6), 2)
    got = retrieval(torch.tensor(image), torch.tensor(text), owner, ranks=(1, 3))
    scores, draws = image @ text.T, 4000
    for k in (1, 3):
        hits = np.zeros((draws, 6))
        for d in range(draws):
            order = rng.permutation(12)
            hits[d] = [by_sorting(scores[i][order], (owner == i)[order], k) for i in range(6)]
        assert abs(got["image_to_text"][f"recall@{k}"] - hits.mean()) < 3 * 0.5 / np.sqrt(draws * 6)


def test_a_model_that_says_the_same_of_everything_gets_chance():
    got = retrieval(torch.ones(20, 4), torch.ones(100, 4), np.repeat(np.arange(20), 5))
    assert abs(got["text_to_image"]["recall@5"] - 5 / 20) < 1e-9
    assert abs(got["image_to_text"]["recall@1"] - 5 / 100) < 1e-9
    assert got["text_to_image"]["median_rank"] == 10.5


def test_rows_of_one_picture_count_as_one_picture():
    rng = np.random.default_rng(2)
    pictures, text = torch.from_numpy(rng.normal(size=(5, 4))), torch.from_numpy(rng.normal(size=(9, 4)))
    owner = np.array([3, 0, 1, 4, 2, 0, 0, 3, 1])
    names = np.array([70, 20, 90, 10, 50])  # whatever numbers the pictures go by
    got = retrieval_of_pairs(pictures[owner], text, names[owner])
    order = np.argsort(names)
    assert got == retrieval(pictures[order], text, np.argsort(order)[owner])


def test_any_of_its_captions_is_a_hit_for_a_picture():
    image = torch.eye(3)
    text = torch.stack([image[0], -image[0], image[1], -image[1], image[2], -image[2]])
    got = retrieval(image, text, np.array([0, 0, 1, 1, 2, 2]))
    assert got["image_to_text"]["recall@1"] == 1.0 and got["image_to_text"]["median_rank"] == 1.0
    assert got["text_to_image"]["recall@1"] == 0.5  # the opposite caption finds one of the two others
    assert got["image_to_text"]["n"] == 3 and got["image_to_text"]["keys"] == 6
