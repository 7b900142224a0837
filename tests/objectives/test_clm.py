"""Causal language modelling against GPT-2 of transformers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from modeledge.core import IGNORE, Batch

SMALL = dict(n_embd=16, n_layer=2, n_head=2, n_inner=24, vocab_size=60, n_positions=32)
SMALL |= dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.3)


@pytest.fixture
def gpt2(lab, adopt):
    theirs = GPT2LMHeadModel(GPT2Config(**SMALL)).eval()
    backbone, objectives = adopt(theirs)
    return theirs, backbone, objectives["clm"]


def test_the_loss_and_its_gradient_are_those_of_gpt2(lab, gpt2):
    theirs, backbone, objective = gpt2
    rows = lab.rows(framed=False).but(doc=None)
    batch = lab.ready(objective, rows, 1)
    found = objective(backbone, batch)["clm"].mean()
    wanted = theirs(batch.ids, labels=batch.ids).loss
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(backbone.embed.weight.grad, theirs.transformer.wte.weight.grad, atol=1e-5, rtol=1e-4)


def test_no_prediction_knows_what_it_predicts_or_what_follows(lab, gpt2):
    _, backbone, objective = gpt2
    batch = lab.ready(objective, lab.rows(2, 9, framed=False).but(doc=None), 1)
    words = backbone.embed(batch.ids).detach().requires_grad_()
    backbone.embedding.word = torch.nn.Identity()
    states = objective.run(backbone, batch.but(ids=words)).states
    for q in range(9):
        (grad,) = torch.autograd.grad(states[0, q] @ torch.randn(16), words, retain_graph=True)
        assert (grad[0].abs().sum(-1) > 0).tolist() == [k <= q for k in range(9)]


def test_a_document_may_be_seen_from_the_next_one_unless_they_are_kept_apart(lab, gpt2):
    """With `doc` a packed row equals its documents one by one; without it the second one reads the first."""
    _, backbone, objective = gpt2
    rows = lab.rows(3, 16, framed=False)
    packed = objective(backbone, lab.ready(objective, rows.but(positions=np.tile([*range(9), *range(7)], (3, 1))), 1))
    parts = [rows.but(ids=rows.ids[:, cut], special=rows.special[:, cut], doc=None) for cut in (slice(9), slice(9, 16))]
    alone = [objective(backbone, lab.ready(objective, part, 1))["clm"] for part in parts]
    torch.testing.assert_close(packed["clm"].total, sum(a.total for a in alone), atol=1e-4, rtol=1e-5)
    assert packed["clm"].count == sum(a.count for a in alone) == 3 * (8 + 6)
    joined = objective(backbone, lab.ready(objective, rows.but(doc=None), 1))
    assert joined["clm"].count == 3 * 15
    first = rows.ids[:, :8].copy()
    rows.ids[:, :8] = 7 + (first - 6) % 40
    again = objective(backbone, lab.ready(objective, rows.but(doc=None), 1))
    assert joined["clm"].total != again["clm"].total


@torch.no_grad()
def test_the_score_of_a_text_is_the_product_of_its_conditionals(lab, gpt2):
    theirs, backbone, objective = gpt2
    rows = lab.rows(3, 10)
    batch = lab.ready(objective, rows, 1)
    found = objective.score(backbone, batch)
    for b in range(3):
        ids = batch.ids[b, : int(batch.valid[b].sum())]
        for i in range(1, len(ids)):  # a growing prefix, one pass each
            wanted = theirs(ids[None, :i]).logits[0, -1].log_softmax(-1)[ids[i]]
            assert found[b, i].item() == pytest.approx(wanted.item(), abs=1e-5)
        assert found[b, len(ids) :].abs().sum() == 0 and found[b, 0] == 0


@torch.no_grad()
def test_a_continuation_is_scored_by_itself(lab, gpt2):
    """Zero-shot choice: the sum over the continuation is log p(prompt and continuation) - log p(prompt)."""
    _, backbone, objective = gpt2
    ids = np.array([[10, 11, 12, 20, 21]])
    whole = objective.score(backbone, lab.ready(objective, Batch(ids=ids), 1))
    prompt = objective.score(backbone, lab.ready(objective, Batch(ids=ids[:, :3]), 1))
    assert whole[:, 3:].sum().item() == pytest.approx((whole.sum() - prompt.sum()).item(), abs=1e-5)


def test_the_last_place_and_padding_have_no_label(lab):
    view = lab.view(lab.objective("clm", lab.backbone()), lab.rows(), 1)
    last = view.valid.sum(1) - 1
    assert (view.labels[np.arange(4), last] == IGNORE).all()
    assert ((view.labels != IGNORE).sum(1) == last).all()


def test_baselines_are_in_nats_and_ordered(lab):
    found = lab.objective("clm", lab.backbone()).baselines(lab.facts)
    p = 1 / np.arange(1, 44)
    p /= p.sum()
    assert found["unigram"] == pytest.approx(-(p * np.log(p)).sum())
    assert found["uniform"] == math.log(60) > found["unigram"]
