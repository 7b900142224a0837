"""Entity denoising: shares of what is exchanged and hidden, candidates of the batch, the loss by a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, RecipeError

OWN = {"kind": "two_channel", "knowledge": 1, "entity_width": 8, "entity_heads": 2, "layers": 2, "width": 16,
       "heads": 2, "ffn": {"kind": "mlp", "width": 24}, "vectors": "learnt"}  # fmt: skip
ENTITIES = 500


@pytest.fixture
def setting(lab):
    from modeledge.core import build, find

    lab.facts.entities = ENTITIES
    backbone = build("backbones", find("backbones", "two_channel").Config.model_validate(OWN), lab.facts).eval()

    def rows(b=4, t=24, seed=0):
        batch, rng = lab.rows(b, t, seed=seed), np.random.default_rng(seed)
        inside = ~batch.special & (rng.random((b, t)) < 0.6)
        entities = np.where(inside, rng.integers(0, ENTITIES, (b, t)), -1).astype(np.int32)
        return batch.but(entities=entities, entity_starts=(rng.random((b, t)) < 0.7) & ~batch.special)

    return backbone, lab.objective("entity_denoising", backbone), rows


def test_shares_of_mentions_are_exchanged_hidden_and_kept(lab, setting):
    _, objective, rows = setting
    exchanged = hidden = n = 0
    for step in range(20):
        batch = rows(32, 128, seed=step)
        view = lab.view(objective, batch, step)
        aligned = batch.entity_starts & (batch.entities >= 0)
        n += int(aligned.sum())
        hidden += int((view.entities[aligned] == -1).sum())
        exchanged += int(((view.entities != batch.entities) & (view.entities >= 0))[aligned].sum())
        assert (view.entities[~aligned] == -1).all()
    for count, rate in ((hidden, 0.15), (exchanged, 0.05 * (1 - 1 / ENTITIES))):
        assert abs(count / n - rate) < 3 * math.sqrt(rate * (1 - rate) / n)


def test_labels_name_the_true_entity_among_those_of_the_whole_batch(lab, setting):
    _, objective, rows = setting
    batch = rows()
    view = lab.view(objective, batch, 1)
    aligned = batch.entity_starts & (batch.entities >= 0)
    candidates = view.candidates[0]
    assert np.array_equal(candidates[candidates >= 0], np.unique(batch.entities[aligned]))
    assert np.array_equal(candidates[view.entity_labels[aligned]], batch.entities[aligned])
    assert (view.entity_labels[~aligned] == IGNORE).all()


def test_the_loss_of_entities_is_that_of_a_loop_over_mentions_and_no_cut_changes_it(lab, setting):
    backbone, objective, rows = setting
    view = lab.view(objective, rows(6), 1)
    ready = objective.finish(view).tensors()
    with torch.no_grad():
        out = objective.run(backbone, ready)
        found = objective.loss(out, ready)
        total, n = 0.0, 0
        for i, j in np.argwhere(view.entity_labels != IGNORE):
            h = torch.nn.functional.gelu(objective.head.dense(out.states[i, j]))
            h = torch.nn.functional.layer_norm(h, (8,), objective.head.norm.weight, objective.head.norm.bias)
            own = [c for c in view.candidates[0].tolist() if c >= 0]
            scores = torch.stack([h @ backbone.entity.weight[c] for c in own])
            total -= float(scores.log_softmax(0)[view.entity_labels[i, j]])
            n += 1
        parts = [objective(backbone, objective.finish(view.rows(slice(k, k + 2))).tensors()) for k in (0, 2, 4)]
    assert float(found["entity_denoising"].total) == pytest.approx(total, rel=1e-4)
    assert int(found["entity_denoising"].count) == n and objective.counts(view)["entity_denoising"] == n
    for name, value in found.items():
        torch.testing.assert_close(sum(p[name].total for p in parts), value.total, rtol=1e-5, atol=1e-4)


def test_the_hidden_entity_of_a_mention_changes_nothing_at_its_own_prediction(lab, setting):
    backbone, objective, rows = setting
    batch = rows()
    other = batch.but(entities=np.where(batch.entities >= 0, (batch.entities + 1) % ENTITIES, -1).astype(np.int32))
    one, two = (lab.view(objective, b, 3) for b in (batch, other))
    hidden = (one.entity_labels != IGNORE) & (one.entities == -1)
    rest = np.where(hidden, -1, one.entities)
    with torch.no_grad():
        a = objective.run(backbone, objective.finish(one.but(entities=rest)).tensors()).states
        b = objective.run(
            backbone, objective.finish(two.but(entities=np.where(hidden, two.entities, rest))).tensors()
        ).states
    assert hidden.any() and torch.equal(a, b)


def test_a_backbone_without_entities_is_refused(lab):
    with pytest.raises(RecipeError, match="no vectors of entities"):
        lab.objective("entity_denoising", lab.backbone())


def test_its_weight_is_that_of_both_losses_and_the_inner_one_of_its_own(lab, setting):
    _, objective, _ = setting
    objective.config = objective.config.model_copy(update={"weight": 2.0})
    objective.mask.config = objective.mask.config.model_copy(update={"weight": 0.25})
    assert objective.weights(0, 10) == {"mlm": 0.5, "entity_denoising": 2.0}
