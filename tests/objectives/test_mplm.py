"""Masked and permuted language modelling: the released table of who sees whom, leaks, and MPNet itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MPNetConfig, MPNetForMaskedLM

from modeledge.core import IGNORE, Batch, Facts, build, find
from modeledge.visibility import draw
from modeledge.visibility.compensated import compensated

BIASED = {"positions": {"kind": "biased", "max": 64, "offset": 2}, "embedding": {"kind": "tokens", "norm": "layer"}}


@pytest.fixture
def made(lab):
    backbone = lab.backbone(**BIASED)
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return backbone, lab.objective("mplm", backbone)


def told(view, row):
    """For each query of the row, the (stream, place) pairs it may see, by the paper's table."""
    rank, stream, at, valid = (view[k][row].tolist() for k in ("rank", "stream", "positions", "valid"))
    out = []
    for q in range(len(rank)):
        may = set()
        for k in range(len(rank)):
            u, t = rank[k], rank[q]
            context, token, mask = stream[k] == 0 and u < 0, stream[k] == 0 and u >= 0, stream[k] == 1
            if stream[q] == 2:
                allowed = context or (token and u < t) or (mask and u >= t)
            elif stream[q] == 0 and t >= 0:
                allowed = context or (token and u <= t) or (mask and u > t)
            else:
                allowed = context or mask
            if allowed and valid[k]:
                may.add((stream[k], at[k]))
        out.append(may)
    return out


def test_the_picture_is_that_of_the_released_code():
    rank = torch.tensor([[-1, -1, 0, 1, 0, 1, 0, 1]])  # two of context, two predicted, their masks, their queries
    rule = compensated(rank, torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2]]))
    assert draw(rule, 8) == [
        "##..##..", "##..##..", "###..#..", "####....", "##..##..", "##..##..", "##..##..", "###..#..",
    ]  # fmt: skip


def test_every_query_sees_every_place_of_its_row_exactly_once(lab, made):
    _, objective = made
    rows = lab.rows(5, 24)
    view = lab.view(objective, rows, 1)
    t, width = 24, view.ids.shape[1]
    rule = objective.visible(view.tensors())
    index = torch.arange(width)
    table = rule(torch.arange(5)[:, None, None], torch.tensor(0), index[:, None], index)
    for row in range(5):
        places = set(np.flatnonzero(rows.valid[row]).tolist())
        for q, may in enumerate(told(view, row)):
            if not view.valid[row, q]:
                continue
            found = table[row, q].nonzero()[:, 0].tolist()
            assert {(int(view.stream[row, k]), int(view.positions[row, k])) for k in found} == may
            assert sorted(view.positions[row, found].tolist()) == sorted(places)
    chosen = view.labels != IGNORE
    assert not chosen[:, :t].any() and (view.stream[chosen] == 2).all()
    for row, q in zip(*np.nonzero(chosen), strict=True):
        assert view.labels[row, q] == rows.ids[row, view.positions[row, q]]
    assert np.array_equal(view.ids[:, :t], rows.ids)  # the content is shown as it is


def test_a_query_learns_nothing_from_tokens_whose_turn_has_not_come(lab, made):
    backbone, objective = made
    batch = lab.ready(objective, lab.rows(2, 24), 4)
    words = backbone.embed(batch.ids).detach().requires_grad_()
    backbone.embedding.word = torch.nn.Identity()
    states = objective.run(backbone, batch.but(ids=words)).states
    for row, q in (batch.labels != IGNORE).nonzero().tolist():
        (grad,) = torch.autograd.grad(states[row, q] @ torch.randn(16), words, retain_graph=True)
        moved = grad[row].abs().sum(-1) > 0
        late = (batch.stream[row] == 0) & (batch.rank[row] >= batch.rank[row, q])
        early = (batch.stream[row] == 0) & (batch.rank[row] < batch.rank[row, q]) & batch.valid[row]
        others = (batch.stream[row] == 2) & (torch.arange(len(moved)) != q)
        assert not moved[late].any() and not moved[others].any() and moved[early].all() and moved[q]


def test_whole_words_are_predicted_in_a_random_order_at_the_rate(lab, made):
    _, objective = made
    rows = lab.rows(3000, 64)
    view = lab.view(objective, rows, 1)
    count = (view.labels != IGNORE).sum(1)
    error = count - 0.15 * (~rows.special).sum(1)
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(len(error)) + 0.03
    first = np.take_along_axis(view.positions, (view.rank[:, :64] == 0).argmax(1)[:, None], 1)
    middle = [np.mean(np.flatnonzero(line >= 0)) for line in view.rank[:, :64]]
    drift = first[:, 0] - middle  # the first of the order stands before the middle as often as behind it
    assert abs(drift.mean()) < 3 * drift.std() / np.sqrt(3000)


@torch.no_grad()
def test_the_plain_model_is_mpnet_of_transformers(lab):
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=60)
    config = MPNetConfig(**sizes, max_position_embeddings=66, initializer_range=0.3, layer_norm_eps=1e-5)
    theirs = MPNetForMaskedLM(config).eval()
    facts = Facts(vocab=60, special=dict(lab.facts.special), words=(7, 60))
    norm = {"kind": "layer", "eps": 1e-5}
    settings = {**BIASED, "embedding": {"kind": "tokens", "norm": norm}, "norm": norm, "width": 16, "layers": 2}
    settings |= {"heads": 2, "ffn": {"kind": "mlp", "width": 24}, "positions": {**BIASED["positions"], "max": 66}}
    backbone = build(
        "backbones", find("backbones", "transformer").Config.model_validate({"kind": "transformer", **settings}), facts
    )
    head = build("heads", find("heads", "token").Config(kind="token"), facts, backbone)
    names = {
        "mpnet.embeddings.word_embeddings": "embedding.word",
        "mpnet.embeddings.position_embeddings": "positions.table",
        "mpnet.embeddings.LayerNorm": "embedding.norm",
        "mpnet.encoder.relative_attention_bias": "positions.distances.table",
    }
    for i in range(2):
        for a, b in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out")):
            names[f"mpnet.encoder.layer.{i}.attention.attn.{a}"] = f"blocks.{i}.attention.{b}"
        names[f"mpnet.encoder.layer.{i}.attention.LayerNorm"] = f"blocks.{i}.join_attention.norm"
        names[f"mpnet.encoder.layer.{i}.intermediate.dense"] = f"blocks.{i}.ffn.up"
        names[f"mpnet.encoder.layer.{i}.output.dense"] = f"blocks.{i}.ffn.down"
        names[f"mpnet.encoder.layer.{i}.output.LayerNorm"] = f"blocks.{i}.join_ffn.norm"
    state = {f"{names[n.rsplit('.', 1)[0]]}.{n.rsplit('.', 1)[1]}": p for n, p in theirs.named_parameters()
             if n.startswith("mpnet.")}  # fmt: skip
    backbone.eval().load_state_dict(state)
    lm = theirs.lm_head
    head.load_state_dict(
        {"bias": lm.bias, "dense.weight": lm.dense.weight, "dense.bias": lm.dense.bias,
         "norm.weight": lm.layer_norm.weight, "norm.bias": lm.layer_norm.bias}
    )  # fmt: skip
    ids = torch.randint(7, 60, (2, 60))
    wanted = theirs(ids).logits
    torch.testing.assert_close(head(backbone(Batch(ids=ids)).states), wanted, atol=1e-4, rtol=1e-4)
    moved = torch.stack([torch.randperm(60) for _ in range(2)])  # told places decide, not the order in the row
    shuffled = backbone(Batch(ids=ids.gather(1, moved), positions=moved)).states
    torch.testing.assert_close(
        head(shuffled), wanted.gather(1, moved[..., None].expand(-1, -1, 60)), atol=1e-4, rtol=1e-4
    )


def plain_row(view, row, t):
    """The row as `mlm` shows it: what the copies show at the predicted places, and the labels."""
    ids, labels = view.ids[row, :t].copy(), np.full(t, IGNORE)
    at = view.positions[row]
    for k in np.flatnonzero((view.stream[row] == 1) & view.get("valid", np.ones_like(view.ids, bool))[row]):
        ids[at[k]] = view.ids[row, k]
    for k in np.flatnonzero(view.labels[row] != IGNORE):
        labels[at[k]] = view.labels[row, k]
    return ids, labels


@torch.no_grad()
@pytest.mark.parametrize(("mode", "rate"), [("mlm", 0.4), ("mpnet", 0.04)])
def test_masks_alone_and_a_single_prediction_are_masked_language_modelling(lab, made, mode, rate):
    """With one predicted token of a row there is nothing that was predicted before it."""
    backbone, _ = made
    objective, mlm = lab.objective("mplm", backbone, mode=mode, rate=rate), lab.objective("mlm", backbone)
    mlm.head.load_state_dict(objective.head.state_dict())
    t, rows = 24, lab.rows(6, 24, padded=False)
    rows["word_starts"] = np.ones_like(rows.ids, bool)
    view = lab.view(objective, rows, 1)
    counts = (view.labels != IGNORE).sum(1)
    assert counts.max() == 1 if mode == "mpnet" else counts.min() > 3
    hidden, labels = (np.stack(column) for column in zip(*(plain_row(view, r, t) for r in range(6)), strict=True))
    plain = mlm.finish(Batch(ids=hidden, labels=labels)).tensors()
    one = objective(backbone, objective.finish(view).tensors())["mplm"]
    other = mlm(backbone, plain)["mlm"]
    assert float(one.count) == float(other.count) > 3
    assert float(one.total) == pytest.approx(float(other.total), rel=1e-5)


@torch.no_grad()
def test_without_masks_a_prediction_knows_only_the_context_and_those_before_it(lab, made):
    backbone, _ = made
    modes = {mode: lab.objective("mplm", backbone, mode=mode) for mode in ("mpnet", "plm", "mlm")}
    rows = lab.rows(3, 24, padded=False)
    view = lab.view(modes["plm"], rows, 2)
    assert all(np.array_equal(lab.view(m, rows, 2).labels, view.labels) for m in modes.values())
    rule, at = modes["plm"].visible(view.tensors()), torch.arange(view.ids.shape[1])
    for row in range(3):
        rank, stream = view.rank[row], view.stream[row]
        seen = rule(torch.tensor(row), torch.tensor(0), at[:, None], at)
        for q in np.flatnonzero(view.labels[row] != IGNORE):
            known = (stream == 0) & (rank < rank[q]) & (view.valid[row] if "valid" in view else True)
            assert seen[q].nonzero()[:, 0].tolist() == np.flatnonzero(known).tolist()
