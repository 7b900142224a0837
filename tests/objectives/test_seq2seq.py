"""Sequence to sequence against T5 of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from modeledge.core import IGNORE, Batch, RecipeError, keyed

SMALL = dict(vocab_size=60, d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=24, dropout_rate=0.0)
SMALL |= dict(decoder_start_token_id=0, pad_token_id=0, eos_token_id=6, initializer_factor=0.3)


@pytest.fixture
def t5(lab, adopt):
    theirs = T5ForConditionalGeneration(T5Config(**SMALL)).eval()
    backbone, objectives = adopt(theirs)
    objective = lab.objective("seq2seq", backbone)
    objective.head = objectives["denoise"].head
    return theirs, backbone, objective


def pairs(lab):
    rows = lab.rows(3, 12)
    target = lab.rows(3, 10, seed=1)
    kept = {"target_ids": target.ids, "target_valid": target.valid}
    return Batch(ids=rows.ids, valid=rows.valid, **kept)


def test_the_loss_and_its_gradient_are_those_of_t5(lab, t5):
    theirs, backbone, objective = t5
    batch = lab.ready(objective, pairs(lab), 1)
    found = objective(backbone, batch)["seq2seq"].mean()
    wanted = theirs(batch.ids, attention_mask=batch.valid.long(), labels=batch.decoder_labels).loss
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(backbone.embed.weight.grad, theirs.shared.weight.grad, atol=1e-5, rtol=1e-4)
    mine, his = backbone.encoder.positions.table.weight.grad, theirs.encoder.block[0].layer[0].SelfAttention
    torch.testing.assert_close(mine, his.relative_attention_bias.weight.grad, atol=1e-5, rtol=1e-4)


def test_the_decoder_reads_the_target_one_step_late_from_its_start_token(lab, t5):
    _, _, objective = t5
    rows = pairs(lab)
    view = lab.view(objective, rows, 1)
    assert (view.decoder_ids[:, 0] == 0).all()
    real = rows.target_valid[:, 1:]
    assert np.array_equal(view.decoder_ids[:, 1:][real], rows.target_ids[:, :-1][real])
    assert np.array_equal(view.decoder_labels == IGNORE, ~rows.target_valid)


def test_no_prediction_knows_what_it_predicts(lab, t5):
    _, backbone, objective = t5
    batch = lab.ready(objective, pairs(lab), 1)
    states = objective.run(backbone, batch).states
    for place in range(1, 10):
        changed = batch.but(decoder_ids=batch.decoder_ids.clone().index_fill_(1, torch.tensor([place]), 9))
        moved = (objective.run(backbone, changed).states != states).any(-1)
        assert not moved[:, :place].any() and moved[:, place].any()


def test_smoothing_counts_in_training_and_not_in_evaluation(lab, t5):
    _, backbone, _ = t5
    objective = lab.objective("seq2seq", backbone, smoothing=0.3)
    batch = lab.ready(objective, pairs(lab), 1)
    plain = objective(backbone, batch)["seq2seq"].total
    assert objective.train()(backbone, batch)["seq2seq"].total != plain
    assert torch.equal(plain, lab.objective("seq2seq", backbone)(backbone, batch)["seq2seq"].total)


def test_a_start_token_that_does_not_exist_is_named(lab):
    with pytest.raises(RecipeError, match="no 'begin' token"):
        lab.objective("seq2seq", lab.backbone("encoder_decoder"), start="begin")


def test_smoothing_ends_at_the_entropy_of_the_smoothed_target(lab):
    from modeledge.losses.cross_entropy import cross_entropy

    labels, v, s = torch.tensor([3, 1, 2, IGNORE]), 8, 0.1
    target = torch.full((4, v), s / v) + (1 - s) * torch.nn.functional.one_hot(labels.clamp(min=0), v)
    best = cross_entropy(target.log(), labels, smoothing=s)
    entropy = -(target[0] * target[0].log()).sum()
    assert best.mean().item() == pytest.approx(entropy.item(), abs=1e-6) and int(best.count) == 3
    assert cross_entropy(target.log() + 0.1 * torch.randn(4, v), labels, smoothing=s).mean() > entropy


@pytest.mark.slow
def test_a_cipher_read_backwards_is_learnt(lab):
    """Each token is exchanged for another and the order turned round: nothing but attention across can do it."""
    rng = np.random.default_rng(0)
    code = np.arange(7, 50)
    secret = dict(zip(code, rng.permutation(code), strict=True))

    def rows(seed, b=64, t=10):
        ids = keyed("cipher", seed).integers(7, 50, (b, t)).astype(np.int32)
        target = np.concatenate([np.vectorize(secret.get)(ids)[:, ::-1], np.full((b, 1), 6)], 1)
        return Batch(ids=ids, target_ids=target, target_valid=np.ones(target.shape, bool))

    torch.manual_seed(0)
    slots = {"ffn": {"kind": "mlp", "width": 128}, "embedding": {"kind": "tokens", "scale": "root"}}
    backbone = lab.backbone("encoder_decoder", width=64, heads=4, positions="sinusoidal", **slots)
    objective = lab.objective("seq2seq", backbone, head={"kind": "token", "transform": "none"}, smoothing=0.1).train()
    both = torch.nn.ModuleList([backbone, objective])
    optimizer = torch.optim.Adam(both.parameters(), lr=3e-3, betas=(0.9, 0.98))
    for step in range(1200):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min((step + 1) / 100, (100 / (step + 1)) ** 0.5)
        optimizer.zero_grad()
        objective(backbone, lab.ready(objective, rows(step), step))["seq2seq"].mean().backward()
        optimizer.step()
    objective.eval()
    found = objective.measure(backbone, lab.ready(objective, rows("test", 256), "test"))["accuracy"].mean()
    assert found > 0.99
