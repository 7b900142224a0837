"""The target stands right behind its prompt, whatever the padding, and is all that is learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from modeledge.core import IGNORE, Batch, Facts, build, find
from modeledge.objectives.complete import follow

PAD = 0


def padded(rows):
    width = max(map(len, rows))
    ids = np.array([r + [PAD] * (width - len(r)) for r in rows])
    return ids, np.arange(width) < np.array([len(r) for r in rows])[:, None]


PROMPTS, TARGETS = [[5, 6, 7], [8], [9, 5]], [[4, 3], [4, 6, 7, 3], [3]]


def batch():
    ids, valid = padded(PROMPTS)
    target, target_valid = padded(TARGETS)
    return Batch(ids=ids, valid=valid, target_ids=target, target_valid=target_valid)


def test_a_target_follows_its_prompt_without_a_gap():
    ids, valid, asked = follow(batch(), pad=PAD)
    for row, (prompt, target) in enumerate(zip(PROMPTS, TARGETS, strict=True)):
        assert ids[row][valid[row]].tolist() == prompt + target
        assert ids[row][asked[row]].tolist() == target
    assert not ids[~valid].any() and ids.shape[1] == 5


def test_rows_without_padding_need_no_mask_of_the_prompt():
    ids, target = np.array([[5, 6]]), np.array([[7, 3]])
    made = Batch(ids=ids, target_ids=target, target_valid=np.ones((1, 2), bool))
    assert follow(made, pad=PAD)[0].tolist() == [[5, 6, 7, 3]]


def test_the_loss_is_that_of_the_target_tokens_one_by_one():
    facts = Facts(vocab=12, special={"pad": PAD, "eos": 3})
    stack = dict(kind="transformer", width=16, layers=1, heads=2, ffn=dict(kind="mlp", width=16))
    stack |= dict(positions=dict(kind="learned", max=16))
    backbone = build("backbones", find("backbones", "transformer").Config.model_validate(stack), facts).eval()
    objective = build("objectives", find("objectives", "complete").Config(kind="complete"), facts, backbone).eval()
    made = objective.view(batch(), np.random.default_rng(0))
    assert "target_ids" not in made
    assert [[x for x in row if x != IGNORE] for row in made.labels.tolist()] == TARGETS
    with torch.no_grad():
        found = objective(backbone, objective.finish(made).tensors())["complete"]
        expected = 0.0
        for prompt, target in zip(PROMPTS, TARGETS, strict=True):
            for n, wanted in enumerate(target):
                seen = Batch(ids=torch.tensor([prompt + target[:n]]))
                scores = objective.head(objective.run(backbone, seen).states[0, -1])
                expected += nn.functional.cross_entropy(scores, torch.tensor(wanted)).item()
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == objective.counts(made)["complete"] == sum(map(len, TARGETS))
