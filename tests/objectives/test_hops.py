"""CogQA's losses: spans against Hugging Face's question answering, the decision by hand, who learns when."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForQuestionAnswering
from transformers.modeling_outputs import BaseModelOutput

from modeledge.core import Batch, Facts, Output, build, find
from modeledge.objectives._task import Task

B, N, T, V = 3, 4, 9, 40


def backbone():
    config = dict(kind="transformer", width=16, layers=5, heads=2, ffn=dict(kind="mlp", width=32))
    config |= dict(embedding=dict(kind="tokens", types=dict(sentence=30)), positions=dict(kind="learned", max=T))
    return build("backbones", find("backbones", "transformer").Config.model_validate(config), Facts(vocab=V))


@pytest.fixture
def hops():
    """hops(below=0.9) -> (objective, backbone)."""

    def make(**settings):
        config = find("objectives", "hops").Config.model_validate({"kind": "hops", **settings})
        trunk = backbone()
        return build("objectives", config, Facts(vocab=V), trunk), trunk

    return make


def batch(seed=0):
    rng = np.random.default_rng(seed)
    valid = np.arange(T) < rng.integers(5, T + 1, (B, N))[..., None]
    marks = np.zeros((B, N, T, 4), np.float32)
    at = rng.integers(0, 5, (B, N, 4))
    np.put_along_axis(marks, at[:, :, None], 1.0, axis=2)
    edges = rng.random((B, N, N)).astype(np.float32)
    nodes = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    fields = {"ids": rng.integers(0, V, (B, N, T)), "valid": valid, "sentence": rng.integers(0, 5, (B, N, T))}
    fields |= {"marks": marks, "edges": edges, "nodes": nodes, "paragraph": np.ones((B, N), bool)}
    fields |= {"asked": np.array([0, 0, 2]), "decided": np.array([3, 1, 1])}
    fields |= {"compared": np.array([[0, 0], [0, 0], [2, 1]])}
    return Batch(fields), at


def test_the_span_loss_is_that_of_question_answering(hops):
    objective, _ = hops()
    rows, at = batch()
    states = torch.randn(B * N, T, 16)
    theirs = BertForQuestionAnswering(
        BertConfig(hidden_size=16, num_hidden_layers=0, num_attention_heads=2, vocab_size=V)
    )
    valid = torch.from_numpy(rows.valid).flatten(0, 1)
    found = objective.span_losses(objective.spans(Output(states=states)), rows.tensors()).tolist()
    for half in (0, 1):
        with torch.no_grad():
            theirs.qa_outputs.weight.copy_(objective.head.out.weight[2 * half : 2 * half + 2])
            theirs.qa_outputs.bias.copy_(objective.head.out.bias[2 * half : 2 * half + 2])
        total = 0.0
        for row in range(B * N):  # their class takes padding for candidates: each row without it
            seen = BaseModelOutput(last_hidden_state=states[row : row + 1, valid[row]])
            theirs.bert.forward = lambda *a, seen=seen, **k: seen
            begin, end = torch.from_numpy(at).flatten(0, 1)[row, 2 * half : 2 * half + 2]
            total += theirs(start_positions=begin[None], end_positions=end[None]).loss.item()
        assert found[half] == pytest.approx(total, rel=1e-5)


def test_system_two_decides_among_real_nodes_and_comparisons_count_a_fifth(hops):
    objective, _ = hops()
    objective.eval()
    rows = batch()[0].tensors()
    x = torch.randn(B, N, 16)
    with torch.no_grad():
        found = float(objective.final_loss(x, rows))
        scores = objective.graph(x, rows.edges)
        wanted = -float(scores[0].log_softmax(0)[3]) - float(scores[1, :3].log_softmax(0)[1])
        wanted += 0.2 * math.log1p(math.exp(-float(objective.which(x[2, 2] - x[2, 1]))))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_meaning_is_the_first_state_three_layers_below_the_last(hops):
    objective, trunk = hops()
    objective.eval(), trunk.eval()
    rows = batch()[0].tensors()
    with torch.no_grad():
        out = objective.run(trunk, rows)
        short = build("backbones", trunk.config.model_copy(update={"layers": 2}), Facts(vocab=V)).eval()
        short.load_state_dict({k: v for k, v in trunk.state_dict().items() if k in short.state_dict()})
        two = Task.run(objective, short, rows)  # post-norm: the last states are the block's
    assert torch.allclose(objective.meanings(out), two.states[:, 0], atol=1e-6)


def gradients(objective, trunk, rows):
    objective.zero_grad(), trunk.zero_grad()
    losses = objective(trunk, rows)
    weights = objective.weights(0, 1)
    torch.stack([losses[k].total * weights[k] for k in losses]).sum().backward()
    first = [*trunk.parameters(), *objective.head.parameters()]
    second = [p for n, p in objective.named_parameters() if n.startswith(("graph.", "which."))]
    return tuple(any(p.grad is not None and bool(p.grad.any()) for p in some) for some in (first, second))


def test_system_one_stands_still_until_the_last_loss_has_fallen_once(hops):
    objective, trunk = hops()
    objective.train(), trunk.train()
    rows = batch()[0].tensors()
    assert gradients(objective, trunk, rows) == (False, True)
    for loss, warm in ((3.0, False), (0.5, False), (0.1, False), (0.1, False)):
        objective.waiting = [torch.tensor([loss * 2, 2.0])]
        objective.after_step(0)
        assert bool(objective.warm) is warm and objective.waiting == []
    objective.waiting = [torch.tensor([0.0, 2.0])]
    objective.after_step(0)  # the mean of 3, 0.5, 0.1, 0.1, 0
    assert bool(objective.warm) and gradients(objective, trunk, rows) == (True, True)
    objective.waiting = [torch.tensor([900.0, 1.0])]
    objective.after_step(0)
    assert bool(objective.warm), "once is enough"


def test_alone_system_one_learns_from_the_first_step_and_system_two_nothing(hops):
    objective, trunk = hops(below=None)
    objective.train(), trunk.train()
    assert gradients(objective, trunk, batch()[0].tensors()) == (True, False)


def test_padding_and_empty_nodes_change_nothing(hops):
    objective, trunk = hops()
    objective.eval(), trunk.eval()
    rows, _ = batch()
    more = [(0, 0), (0, 0), (0, 3), (0, 0)]
    wide = Batch({k: np.pad(v, more[: v.ndim]) if v.shape[:3] == (B, N, T) else v for k, v in rows.items()})
    places = F.pad(trunk.positions.table.weight.detach(), (0, 0, 0, 3))
    trunk.positions.table = torch.nn.Embedding.from_pretrained(places)
    with torch.no_grad():
        one, other = objective(trunk, rows.tensors()), objective(trunk, wide.tensors())
    for name in objective.losses:
        assert float(one[name].total) == pytest.approx(float(other[name].total), rel=1e-5)
