"""Trees against brute force and gensim's, and the probabilities they give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from modeledge.core import Batch, Facts, find
from modeledge.heads.hierarchical_softmax import huffman, paths


def make(counts, width=6):
    part, backbone = find("heads", "hierarchical_softmax"), nn.Module()
    backbone.width = width
    facts = Facts(vocab=len(counts), special={"pad": 0}, counts=None if counts[0] is None else np.array(counts, float))
    return part(part.Config(kind="hierarchical_softmax"), facts, backbone)


def lengths(counts):
    return np.abs(paths(huffman(np.array(counts, float)))[1]).sum(1)


def trees(leaves):
    """Every way to join leaves two and two, as the depth of each leaf."""
    if len(leaves) == 1:
        yield {leaves[0]: 0}
    for size in range(1, len(leaves) // 2 + 1):
        for left in itertools.combinations(leaves, size):
            right = [x for x in leaves if x not in left]
            for a, b in itertools.product(trees(list(left)), trees(right)):
                yield {word: depth + 1 for word, depth in (a | b).items()}


@pytest.mark.parametrize("counts", [[5, 1, 1, 2, 9], [1, 1, 1, 1, 1], [0, 0, 3, 40, 2], [8, 4, 2, 1, 1], [1, 2]])
def test_no_tree_has_shorter_paths(counts):
    best = min(sum(counts[w] * d for w, d in tree.items()) for tree in trees(list(range(len(counts)))))
    assert np.dot(lengths(counts), counts) == best


def test_paths_are_a_prefix_code_as_long_as_gensims():
    gensim = pytest.importorskip("gensim")
    rng = np.random.default_rng(0)
    counts = dict(zip((f"w{i}" for i in range(300)), rng.zipf(1.4, 300).clip(max=5000).tolist(), strict=True))
    model = gensim.models.Word2Vec(vector_size=4, min_count=1, hs=1, negative=0)
    model.build_vocab_from_freq(counts)
    ours = lengths(list(counts.values()))
    theirs = [len(model.wv.get_vecattr(word, "code")) for word in counts]
    assert np.dot(ours, list(counts.values())) == np.dot(theirs, list(counts.values()))
    assert math.isclose(sum(2.0**-n for n in ours), 1.0)  # Kraft: every fork has two sides, none is spare


def test_the_words_share_out_all_probability():
    torch.manual_seed(0)
    head = make([3, 1, 7, 2, 2, 30, 1])
    nn.init.normal_(head.weight)
    states = torch.randn(4, 3, 6)
    assert torch.allclose(head(states).exp().sum(-1), torch.ones(4, 3))
    batch = Batch(ids=torch.tensor([[5, 2, 6]] * 4))
    asked = torch.tensor([1.0, 0.0, 1.0])[None, :, None].expand(4, 3, 1)
    found = head.words(states, batch, asked)
    wanted = -head(states)[:, [0, 2], [5, 6]].sum()
    assert torch.allclose(found.total, wanted) and found.count == 8


def test_a_fresh_head_says_half_at_every_fork():
    counts = [1, 1, 2, 4]
    assert torch.allclose(make(counts)(torch.randn(6)).exp(), 0.5 ** torch.from_numpy(lengths(counts)))


def test_a_saved_tree_is_read_again_without_counts():
    torch.manual_seed(0)
    head, fresh, states = make([0, 50, 9, 1, 1, 2]), make([None] * 6), torch.randn(5, 6)
    nn.init.normal_(head.weight)
    assert not torch.equal(fresh.paths[0], head.paths[0])
    fresh.load_state_dict(head.state_dict())
    assert torch.equal(fresh(states), head(states))
