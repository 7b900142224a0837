"""Word hashing: the paper's example, unseen words, and how many words share their bag of trigrams."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from modeledge.backbones.bag import Bag
from modeledge.core import Batch, Facts
from modeledge.tokenizers import load_tokenizer
from modeledge.tokenizers.trigrams import Trigrams, trigrams


@pytest.fixture(scope="module")
def trained():
    made = Trigrams(Trigrams.Config(kind="trigrams", vocab=500))
    made.train(iter(["good food, a Banana", "the dog stood on the road"]))
    return made


def strings(tokenizer, text):
    return [tokenizer.pieces.tokens[i] for i in tokenizer.encode_batch([text])[0]]


def test_good_is_four_trigrams(trained):
    assert strings(trained, "good") == "#go goo ood od#".split() == trigrams("good").split()
    assert strings(trained, "Banana") == "#ba ban ana nan ana na#".split()  # folded; counted twice, not once


@pytest.mark.parametrize("word", ["a", "of", "good", "banana", "naïve", "知识"])
def test_a_word_has_as_many_trigrams_as_characters(word):
    assert len(trigrams(word).split()) == len(word)


def test_an_unseen_word_of_seen_trigrams_is_known_and_only_new_trigrams_are_not(trained):
    unknown = trained.special["unk"]
    assert unknown not in trained.encode_batch(["bana"])[0]
    assert (trained.encode_batch(["zzz"])[0] == unknown).all()


def test_words_begin_where_a_mark_opens_them(trained):
    flat, sizes = trained.encode_flat(["good food,", "dog"])
    assert sizes.tolist() == [9, 3]
    assert np.flatnonzero(trained.word_starts(flat)).tolist() == [0, 4, 8, 9]
    spans = trained.encode_spans(["good food,"])[0]
    assert spans.ids.tolist() == flat[:9].tolist() and spans.spans[5].tolist() == [5, 9]


def test_a_saved_folder_encodes_the_same(trained, tmp_path):
    trained.save(tmp_path)
    text = ["the good dog", "a road"]
    for one, two in zip(trained.encode_batch(text), load_tokenizer(tmp_path).encode_batch(text), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.contract
def test_few_words_share_their_bag_and_trigrams_grow_slower_than_words(data):
    """The paper: 500,000 words become 30,621 trigrams with 22 collisions (0.0044 %)."""
    text = " ".join(pq.read_table(data("text/en_wiki_passages.train.parquet"), columns=["text"])["text"].to_pylist())
    made = Trigrams(Trigrams.Config(kind="trigrams"))
    words = sorted({w for w, _ in made.words_of(text) if w.isascii() and w.isalpha()})
    bags: dict = {}
    for word in words:  # by brute force: two words collide if their multisets of trigrams are equal
        marked = f"#{word}#"
        bags.setdefault(frozenset(Counter(marked[i : i + 3] for i in range(len(word))).items()), []).append(word)
    ours = Counter(tuple(sorted(trigrams(w).split())) for w in words)
    collisions = sum(n - 1 for n in ours.values())
    assert collisions == len(words) - len(bags)
    assert len(words) > 20_000 and collisions / len(words) < 0.001
    half = words[::2]
    kinds = [len({t for w in part for t in trigrams(w).split()}) for part in (half, words)]
    assert kinds[1] < 0.4 * len(words) and kinds[1] < 1.5 * kinds[0]


def test_the_bag_is_the_counts_of_tokens_through_a_matrix_and_moves_only_their_rows():
    facts = Facts(vocab=30, special={"pad": 0, "cls": 1, "sep": 2}, words=(3, 30))
    model = Bag(Bag.Config(kind="bag", widths=(6, 5)), facts)
    ids = torch.tensor([[1, 4, 4, 9, 2, 0], [1, 7, 2, 0, 0, 0]])
    out = model(Batch(ids=ids, valid=ids != 0)).pooled
    counts = torch.zeros(2, 30)
    counts[0, 4], counts[0, 9], counts[1, 7] = 2, 1, 1
    layer = model.layers[0]
    wanted = torch.tanh(F.linear(torch.tanh(counts @ model.embed.weight + model.bias), layer.weight, layer.bias))
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(model(Batch(ids=ids.flip(1), valid=ids.flip(1) != 0)).pooled, out)
    out.sum().backward()
    assert model.embed.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [4, 7, 9]
