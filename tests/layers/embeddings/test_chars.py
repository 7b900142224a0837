"""Words by their characters against a plain loop over filters and places."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, RecipeError, find
from modeledge.layers import Sizes
from modeledge.layers.positions.none import Unplaced
from modeledge.tokenizers.chars import characters_of

WORDS = ["", "a", "cat", "cats", "straße", "x" * 80, "y" * 48 + "z", "y" * 48 + "w"]


def make(tokenizer=True, **settings):
    torch.manual_seed(0)
    table = characters_of(WORDS)
    table[0] = 0  # padding
    facts = Facts(vocab=len(WORDS), tokenizer=SimpleNamespace(characters=table) if tokenizer else None)
    sizes = Sizes(width=5, heads=1, head_width=5)
    part = find("layers.embeddings", "chars")
    settings = {"width": 3, "filters": [(1, 4), (2, 3), (3, 6)], "highways": 2} | settings
    return part(part.Config(kind="chars", **settings), facts, sizes), table, Unplaced(Unplaced.Config(), sizes)


def test_a_words_vector_is_that_of_the_formulas():
    embedding, table, none = make()
    ids = torch.arange(1, len(WORDS))[None]
    found = embedding(Batch(ids=ids), none, embedding.places(Batch(ids=ids), 0))[0]
    letters = embedding.character.weight.detach().numpy()
    with torch.no_grad():
        for word in range(1, len(WORDS)):
            x = letters[table[word]]  # 50 characters
            features = []
            for conv in embedding.filters:
                w, bias = conv.weight.numpy(), conv.bias.numpy()
                span = w.shape[2]
                at = [[(w[f].T * x[p : p + span]).sum() + bias[f] for p in range(50 - span + 1)] for f in range(len(w))]
                features += [max(0.0, max(line)) for line in at]
            y = np.array(features, np.float32)
            for highway in embedding.highways:
                gate = 1 / (1 + np.exp(-(highway.carry.weight.numpy() @ y + highway.carry.bias.numpy())))
                new = np.maximum(highway.change.weight.numpy() @ y + highway.change.bias.numpy(), 0)
                y = gate * new + (1 - gate) * y
            y = embedding.project.weight.numpy() @ y + embedding.project.bias.numpy()
            np.testing.assert_allclose(found[word - 1].numpy(), y, atol=1e-5)


def test_words_are_told_apart_by_their_first_48_bytes_and_padding_is_zero():
    embedding, _, none = make()
    ids = torch.tensor([[0, 2, 3, 6, 7, 2]])
    x = embedding(Batch(ids=ids), none, embedding.places(Batch(ids=ids), 0))[0]
    assert (x[0] == 0).all() and torch.equal(x[1], x[5]) and (x[1] - x[2]).abs().max() > 1e-3
    torch.testing.assert_close(x[3], x[4])


def test_characters_in_the_batch_go_before_the_tokenizers_and_distinct_words_are_computed_once():
    embedding, table, none = make()
    ids = torch.tensor([[1, 2, 2], [3, 0, 1]])
    chars = torch.from_numpy(table.astype(np.int64))[ids]
    at = embedding.places(Batch(ids=ids), 0)
    seen = []
    hook = embedding.project.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    by_word, by_place = embedding(Batch(ids=ids), none, at), embedding(Batch(ids=0 * ids, chars=chars), none, at)
    hook.remove()
    torch.testing.assert_close(by_word, by_place)
    assert seen == [4, 6]


def test_the_vector_of_no_character_stays_zero_under_training():
    embedding, _, none = make()
    ids = torch.tensor([[0, 1, 2]])
    optimizer = torch.optim.SGD(embedding.parameters(), lr=1.0)
    embedding(Batch(ids=ids), none, embedding.places(Batch(ids=ids), 0)).square().sum().backward()
    optimizer.step()
    assert (embedding.character.weight[0] == 0).all()


def test_without_a_tokenizer_that_knows_characters_the_error_says_so():
    embedding, _, none = make(tokenizer=False)
    with pytest.raises(RecipeError, match="tokenizer `chars`"):
        embedding(Batch(ids=torch.ones(1, 2).long()), none, torch.zeros(1, 2).long())
