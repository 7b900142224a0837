"""A masked model taught to write: what is hidden, who sees whom, and that it learns a task which needs every token."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from modeledge.core import IGNORE, Batch

END = 3


def pairs(lab, b=6, seed=0):
    """Sources [cls] ... [sep] and targets ... [sep], both padded."""
    rng = np.random.default_rng(seed)
    sources = [[2, *rng.integers(7, 50, rng.integers(2, 7)).tolist(), END] for _ in range(b)]
    targets = [[*rng.integers(7, 50, rng.integers(1, 6)).tolist(), END] for _ in range(b)]
    fields = {}
    for name, mask, texts in (("ids", "valid", sources), ("target_ids", "target_valid", targets)):
        width = max(map(len, texts))
        fields[name] = np.array([t + [0] * (width - len(t)) for t in texts])
        fields[mask] = np.arange(width) < np.array([len(t) for t in texts])[:, None]
    return Batch(fields), sources, targets


def test_the_source_stays_and_the_target_with_its_end_is_hidden_at_the_rate(lab):
    backbone = lab.backbone(embedding={"kind": "tokens", "types": {"segments": 6}})
    objective = lab.objective("mask_target", backbone, visible={"rule": "prefix", "segments": [4, 5]})
    batch, sources, targets = pairs(lab, 3000)
    view = lab.view(objective, batch, 0)
    asked, ends = view.labels != IGNORE, 0
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        n, m = len(source), len(target)
        assert view.ids[row, :n].tolist() == source and not asked[row, :n].any() and view.prefix[row] == n
        assert view.segments[row, : n + m].tolist() == [4] * n + [5] * m
        behind = slice(n, n + m)
        whole = np.where(asked[row, behind], view.labels[row, behind], view.ids[row, behind])
        assert whole.tolist() == target and not asked[row, n + m :].any()
        ends += asked[row, n + m - 1]
    tokens = sum(map(len, targets))
    assert abs(asked.sum() - 0.7 * tokens) < 3 * np.sqrt(0.21 * tokens)
    share = asked.sum() / tokens  # a count a row is rounded, so that the rate itself is met on average only
    assert abs(ends - share * 3000) < 4 * np.sqrt(0.21 * 3000)


def test_the_target_is_seen_from_left_to_right_and_never_by_its_source(lab):
    objective = lab.objective("mask_target", lab.backbone())
    batch, sources, targets = pairs(lab, 4)
    view = lab.view(objective, batch, 0).tensors()
    rule, width = objective.visible(view), view.ids.shape[1]
    at = torch.arange(width)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        seen = rule(torch.tensor(row), torch.tensor(0), at[:, None], at)
        n, m = len(source), len(target)
        for q in range(n + m):
            assert seen[q].nonzero()[:, 0].tolist() == list(range(max(n, q + 1)))


def test_a_model_learns_to_write_the_first_word_and_to_stop(lab):
    backbone = lab.backbone(width=32, layers=1, embedding={"kind": "tokens", "types": {"segments": 2}})
    objective = lab.objective("mask_target", backbone)
    optimizer = torch.optim.Adam(nn.ModuleList([backbone, objective]).parameters(), lr=1e-2)
    rng, losses = np.random.default_rng(0), []
    for step in range(120):
        ids = np.concatenate([np.full((32, 1), 2), rng.integers(7, 17, (32, 3)), np.full((32, 1), END)], 1)
        target = np.stack([ids[:, 1], np.full(32, END)], 1)
        batch = Batch(ids=ids, target_ids=target, target_valid=np.ones_like(target, bool))
        loss = objective(backbone, lab.ready(objective, batch, step))["mask_target"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])
