"""What is CBOW's alone; what it shares with skip-gram is tested there (test_skipgram.py)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, RecipeError, find, keyed


def make(head="negative_sampling"):
    facts = Facts(vocab=30, special={"pad": 0}, words=(1, 30), counts=np.ones(30))
    table = find("backbones", "table")
    backbone = table(table.Config(kind="table", width=8), facts)
    part = find("objectives", "cbow")
    return backbone, part(part.Config(kind="cbow", head=head), facts, backbone)


def test_a_word_alone_is_no_target_and_gives_no_nan():
    backbone, objective = make()
    batch = objective.view(Batch(ids=np.array([[7], [8]]), reach=np.array([[3], [2]])), keyed(0))
    found = objective(backbone, batch.tensors())["cbow"]
    found.total.backward()
    assert found.total == 0 and found.count == 0 and objective.counts(batch) == {"cbow": 0}
    assert (backbone.embed.weight.grad == 0).all()


def test_the_words_of_a_context_share_its_gradient_evenly_wherever_they_stand():
    backbone, objective = make()
    torch.nn.init.normal_(objective.head.weight)
    reach = np.array([[0, 0, 2, 0, 0]])  # only the word in the middle is predicted
    batch = objective.view(Batch(ids=np.array([[1, 2, 3, 4, 5]]), reach=reach), keyed(0))
    objective(backbone, batch.tensors())["cbow"].total.backward()
    grad = backbone.embed.weight.grad
    for word in (2, 4, 5):
        torch.testing.assert_close(grad[word], grad[1])
    assert grad[1].abs().sum() > 0 and (grad[3] == 0).all() and (grad[6:] == 0).all()


def test_another_head_is_refused():
    with pytest.raises(RecipeError, match="'token' is none of negative_sampling, hierarchical_softmax"):
        make(head="token")
