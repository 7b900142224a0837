"""Next-sentence prediction beside masked language modelling, against BertForPreTraining."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForPreTraining

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=60)
SMALL |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2)


@pytest.fixture
def bert(lab, adopt):
    theirs = BertForPreTraining(BertConfig(**SMALL, max_position_embeddings=64)).eval()
    return theirs, *adopt(theirs)


def test_the_two_losses_add_up_to_that_of_bert(lab, bert):
    theirs, backbone, objectives = bert
    view = lab.view(objectives["mlm"], lab.rows(), 1)
    batch = objectives["mlm"].finish(view).tensors()
    out = objectives["mlm"].run(backbone, batch)
    mlm, nsp = (o.loss(out, batch) for o in (objectives["mlm"], objectives["nsp"]))
    labels = torch.from_numpy(view.labels)
    wanted = theirs(
        batch.ids, batch.valid.long(), batch.segments, labels=labels, next_sentence_label=batch.is_next
    ).loss
    found = mlm["mlm"].mean() + nsp["nsp"].mean()
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    found.backward()
    wanted.backward()
    grads = theirs.bert.embeddings.word_embeddings.weight.grad, backbone.embed.weight.grad
    torch.testing.assert_close(grads[1], grads[0], atol=1e-5, rtol=1e-4)


def test_the_pooler_serves_this_task_alone_and_the_decoder_is_the_embedding(lab, bert):
    _, backbone, objectives = bert
    batch = lab.ready(objectives["mlm"], lab.rows(), 1)
    objectives["mlm"](backbone, batch)["mlm"].total.backward()
    assert backbone.pool.dense.weight.grad is None
    assert objectives["mlm"].head.table().data_ptr() == backbone.embed.weight.data_ptr()
    objectives["nsp"](backbone, batch)["nsp"].total.backward()
    assert backbone.pool.dense.weight.grad.abs().sum() > 0


def test_the_first_token_sees_the_last(lab, bert):
    _, backbone, objectives = bert
    batch = lab.ready(objectives["mlm"], lab.rows(2, padded=False), 1)
    words = backbone.embed(batch.ids).detach().requires_grad_()
    backbone.embedding.word = torch.nn.Identity()
    pooled = objectives["nsp"].run(backbone, batch.but(ids=words)).pooled
    (grad,) = torch.autograd.grad(pooled.sum(), words)
    assert (grad[:, -1].abs().sum(-1) > 0).all()
