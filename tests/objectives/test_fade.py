"""Weights that fade, and the language model that goes on beside a task."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, find


def make(kind, backbone=None, facts=None, **settings):
    facts = facts or Facts(vocab=20, special={"pad": 0}, words=(1, 20), labels={"label": ["no", "yes"]})
    if backbone is None:
        torch.manual_seed(0)
        lstm = find("backbones", "lstm")
        shape = {"width": 12, "input": 6, "directions": "forward", "skip": "none", "embedding": {"kind": "tokens"}}
        backbone = lstm(lstm.Config(kind="lstm", **shape), facts)
    part = find("objectives", kind)
    return backbone, part(part.Config.model_validate({"kind": kind, **settings}), facts, backbone)


def test_the_weight_falls_by_the_same_factor_from_the_first_step_to_the_last():
    _, objective = make("rnn_lm", head={"kind": "token", "transform": "linear"}, weight={"start": 0.2, "end": 0.1})
    found = [objective.weights(step, 11)["rnn_lm"] for step in range(11)]
    assert found[0] == pytest.approx(0.2) and found[-1] == pytest.approx(0.1)
    assert found == pytest.approx([0.2 * math.exp(-step / 10 * math.log(2)) for step in range(11)])


def test_a_plain_weight_stays_and_a_run_of_one_step_has_the_first():
    _, plain = make("rnn_lm", head={"kind": "token", "transform": "linear"}, weight=0.5)
    assert [plain.weights(step, 11)["rnn_lm"] for step in (0, 5, 10)] == [0.5] * 3
    _, fading = make("rnn_lm", head={"kind": "token", "transform": "linear"}, weight={"start": 0.2, "end": 0.1})
    assert fading.weights(0, 1)["rnn_lm"] == 0.2


def test_the_language_model_reads_the_lower_layers_and_the_task_those_above_them():
    """One pass of the backbone for both: the task's own layers get no gradient of the language model, nor its head one
    of the task."""
    backbone, task = make("classify", pool={"kind": "lstm_attention", "width": 5})
    _, lm = make("rnn_lm", backbone, head={"kind": "token", "transform": "linear"})
    rng = np.random.default_rng(0)
    ids, valid = rng.integers(1, 20, (4, 9)), np.arange(9) < np.array([9, 5, 7, 2])[:, None]
    batch = lm.view(Batch(ids=ids, valid=valid, label=rng.integers(0, 2, 4)), rng)
    out = lm.run(backbone, batch.tensors())
    for objective, name, other in ((lm, "rnn_lm", task), (task, "classify", lm)):
        found = torch.autograd.grad(
            objective.loss(out, batch.tensors())[name].total,
            [*objective.parameters(), *other.parameters(), *backbone.parameters()],
            allow_unused=True,
            retain_graph=True,
        )
        own, others = len(list(objective.parameters())), len(list(other.parameters()))
        assert all(g is not None for g in found[:own]) and all(g is None for g in found[own : own + others])
        assert all(g is not None for g in found[own + others :])


def test_the_language_model_beside_a_task_ignores_padding():
    backbone, lm = make("rnn_lm", head={"kind": "token", "transform": "linear"})
    rng = np.random.default_rng(0)
    ids, valid = rng.integers(1, 20, (3, 9)), np.arange(9) < np.array([4, 5, 3])[:, None]
    wide = lm(backbone, lm.view(Batch(ids=ids, valid=valid), rng).tensors())["rnn_lm"]
    narrow = lm(backbone, lm.view(Batch(ids=ids[:, :5], valid=valid[:, :5]), rng).tensors())["rnn_lm"]
    torch.testing.assert_close(wide.total, narrow.total)
    assert wide.count == narrow.count == 3 + 4 + 2


def test_a_linear_layer_before_the_tied_table_narrows_the_states():
    backbone, lm = make("rnn_lm", head={"kind": "token", "transform": "linear"})
    states = torch.randn(5, 12)
    expected = (states @ lm.head.dense.weight.T + lm.head.dense.bias) @ backbone.embed.weight.T + lm.head.bias
    torch.testing.assert_close(lm.head(states), expected)
