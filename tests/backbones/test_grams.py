"""Words by their character n-grams against gensim's fastText."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gensim.models import FastText
from gensim.models.fasttext_inner import compute_ngrams_bytes, ft_hash_bytes
from pydantic import ValidationError

from modeledge.backbones.grams import gram_hashes
from modeledge.core import Batch, Facts, find

WORDS = ["dog", "dogs", "hound", "naïve", "straße", "日本語", "a", "of", "internationally", "🙂ok"]
BUCKETS = 97


@pytest.mark.parametrize("lengths", [(3, 6), (2, 4), (5, 5)])
def test_n_grams_and_their_hashes_are_gensims(lengths):
    found, sizes = gram_hashes(WORDS, shortest=lengths[0], longest=lengths[1])
    at = 0
    for word, size in zip(WORDS, sizes, strict=True):
        wanted = [ft_hash_bytes(gram) for gram in compute_ngrams_bytes(word, *lengths)]
        assert sorted(found[at : at + size].tolist()) == sorted(wanted), word
        at += size
    assert at == len(found)


def test_no_word_has_no_n_gram():
    assert [part.tolist() for part in gram_hashes(["", "", ""], shortest=3, longest=6)] == [[], [0, 0, 0]]
    assert [part.tolist() for part in gram_hashes([], shortest=3, longest=6)] == [[], []]


def backbone(words, width=8):
    tokens = ["<pad>", "<unk>", *words]
    facts = Facts(vocab=len(tokens), special={"pad": 0, "unk": 1}, words=(2, len(tokens)))
    facts.tokenizer = SimpleNamespace(pieces=SimpleNamespace(tokens=tokens))
    part = find("backbones", "grams")
    return part(part.Config(kind="grams", width=width, buckets=BUCKETS), facts)


@torch.no_grad()
def test_vectors_are_gensims_for_words_it_knows_and_for_others():
    texts = [[str(w) for w in np.random.default_rng(i).permutation(WORDS)] for i in range(50)]
    theirs = FastText(texts, vector_size=8, min_count=1, bucket=BUCKETS, epochs=2, seed=1, workers=1)
    words = theirs.wv.index_to_key
    ours = backbone(words)
    ours.embed.weight[2:] = torch.from_numpy(theirs.wv.vectors_vocab.copy())
    ours.grams.weight.copy_(torch.from_numpy(theirs.wv.vectors_ngrams.copy()))
    ids = torch.arange(2, 2 + len(words)).view(2, -1)
    states = ours(Batch(ids=ids)).states.flatten(0, 1)
    np.testing.assert_allclose(states.numpy(), [theirs.wv[w] for w in words], atol=1e-6)
    new = ["doghound", "straßen", "x"]
    np.testing.assert_allclose(ours.spell(new).numpy(), [theirs.wv[w] for w in new], atol=1e-6)


def test_a_step_moves_the_words_of_the_batch_and_their_n_grams_only():
    ours = backbone(WORDS)
    ours(Batch(ids=torch.tensor([[2, 2, 4]]))).states.sum().backward()
    rows = {2, 4}
    assert set(ours.embed.weight.grad.abs().sum(1).nonzero().flatten().tolist()) == rows
    hashed, _ = gram_hashes([WORDS[0], WORDS[2]], shortest=3, longest=6)
    assert set(ours.grams.weight.grad.abs().sum(1).nonzero().flatten().tolist()) == set((hashed % BUCKETS).tolist())


def test_special_tokens_have_no_n_grams_and_a_word_without_any_spells_zeros():
    ours = backbone(WORDS)
    assert torch.equal(ours(Batch(ids=torch.tensor([[0, 1]]))).states[0], ours.embed.weight[:2])
    assert not backbone(["dog"]).spell([""]).any()


def test_lengths_must_be_in_order():
    with pytest.raises(ValidationError, match="longest: 3 is less than shortest: 4"):
        find("backbones", "grams").Config(kind="grams", shortest=4, longest=3)
