"""Which of the row's texts the answer network reads, and which it begins with."""

from __future__ import annotations

import torch

SLOTS = {"embedding": {"kind": "tokens", "types": {"segments": 2}}, "positions": {"kind": "learned", "max": 64}}


def test_the_first_text_is_read_and_the_second_begins(lab):
    lab.facts.labels = {"label": ["no", "maybe", "yes"]}
    backbone = lab.backbone(**SLOTS)
    task = lab.objective("classify_pair", backbone)
    batch = lab.rows().but(label=torch.tensor([0, 2, 1, 1]).numpy()).tensors()
    out = task.run(backbone, batch)
    states, real = out.states, batch.valid
    first, second = real & (batch.segments == 0), real & (batch.segments == 1)
    assert (first ^ second == real).all() and first[:, 0].all()
    scores = task.scores(out, batch)
    torch.testing.assert_close(scores, task.head(states, first, second))
    assert not torch.allclose(scores, task.head(states, second, first))
    loss = task.loss(out, batch)["classify_pair"]
    torch.testing.assert_close(loss.total, -scores[torch.arange(4), batch.label].sum())
    torch.testing.assert_close(task.predict(out, batch).sum(1), torch.ones(4))
