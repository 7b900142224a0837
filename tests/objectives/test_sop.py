"""Sentence order beside masked language modelling, against AlbertForPreTraining."""

from __future__ import annotations

import pytest
import torch
from transformers import AlbertConfig, AlbertForPreTraining

SMALL = dict(hidden_size=16, embedding_size=8, num_attention_heads=2, intermediate_size=24, vocab_size=60)
SMALL |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_two_losses_add_up_to_that_of_albert_for_any_number_of_groups(lab, adopt, groups):
    config = AlbertConfig(**SMALL, num_hidden_layers=4, num_hidden_groups=groups, max_position_embeddings=64)
    theirs = AlbertForPreTraining(config).eval()
    backbone, objectives = adopt(theirs)
    view = lab.view(objectives["mlm"], lab.rows(), 1)
    batch = objectives["mlm"].finish(view).tensors()
    out = objectives["mlm"].run(backbone, batch)
    found = objectives["mlm"].loss(out, batch)["mlm"].mean() + objectives["sop"].loss(out, batch)["sop"].mean()
    labels = torch.from_numpy(view.labels)
    wanted = theirs(
        batch.ids, batch.valid.long(), batch.segments, labels=labels, sentence_order_label=batch.swapped
    ).loss
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    found.backward()
    wanted.backward()
    mine, his = backbone.blocks[0].ffn.up.weight.grad, theirs.albert.encoder.albert_layer_groups[0]
    torch.testing.assert_close(mine, his.albert_layers[0].ffn.weight.grad, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_a_shared_layer_is_the_sum_over_depths(lab):
    """The same weights in four layers that share nothing: their gradients add up to the shared one."""
    shared, apart = (lab.backbone(layers=4, share=s, pool="first") for s in ("all", "none"))
    state = shared.state_dict()
    apart.load_state_dict({n: state[n] for n in apart.state_dict()})
    batch = lab.ready(lab.objective("sop", shared), lab.rows(), 1)
    for backbone in (shared, apart):
        lab.objective("sop", backbone).run(backbone, batch).pooled.square().sum().backward()
    total = sum(block.attention.to_v.weight.grad for block in apart.blocks)
    torch.testing.assert_close(shared.blocks[0].attention.to_v.weight.grad, total)
    assert shared.blocks[0].attention is shared.blocks[3].attention
