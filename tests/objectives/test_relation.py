"""Classes of a row by name of the field, beside masked tokens, against ErnieForNextSentencePrediction."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import ErnieConfig, ErnieForPreTraining

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=60)
SMALL |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2)


def test_two_classes_cost_what_ernie_pays_for_the_next_sentence_of_the_same_task(lab, adopt):
    config = ErnieConfig(**SMALL, max_position_embeddings=64, use_task_id=True, task_type_vocab_size=4)
    theirs = ErnieForPreTraining(config).eval()
    backbone, objectives = adopt(theirs)
    relation = lab.objective("relation", backbone, field="fake")
    relation.head = objectives["nsp"].head
    rows = lab.rows()
    for task in (0, 3):
        view = lab.view(objectives["mlm"], rows.but(fake=rows.is_next, task=torch.full((4,), task).numpy()), 1)
        batch = objectives["mlm"].finish(view).tensors()
        out = relation.run(backbone, batch)
        found = objectives["mlm"].loss(out, batch)["mlm"].mean() + relation.loss(out, batch)["relation"].mean()
        wanted = theirs(
            batch.ids,
            batch.valid.long(),
            batch.segments,
            task_type_ids=torch.full(batch.ids.shape, task),
            labels=torch.from_numpy(view.labels),
            next_sentence_label=batch.fake,
        ).loss
        assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    told, untold = (relation.run(backbone, batch.but(task=t)).pooled for t in (torch.zeros(4).long(), None))
    assert torch.equal(told, untold)  # rows of no task are of the first
    assert not torch.allclose(told, out.pooled)


def test_any_number_of_classes(lab):
    backbone = lab.backbone(pool="first", positions="sinusoidal")
    relation = lab.objective("relation", backbone, field="arrangement", classes=9)
    batch = lab.rows().but(arrangement=torch.tensor([0, 8, 3, 3]).numpy(), segments=None).tensors()
    out = relation.run(backbone, batch)
    wanted = -(out.pooled @ relation.head.out.weight.T + relation.head.out.bias).log_softmax(-1)
    torch.testing.assert_close(relation.loss(out, batch)["relation"].total, wanted[range(4), [0, 8, 3, 3]].sum())
    assert relation.baselines(lab.facts) == {"uniform": math.log(9)}
