"""Words' vectors beside the states of a frozen encoder: the features of CoVe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, RecipeError, build, find

V = 30


def make(**settings):
    torch.manual_seed(0)
    facts = Facts(vocab=V, special={"pad": 0}, labels={"label": ["no", "yes"]})
    part = find("backbones", "lstm_seq2seq")
    backbone = part(part.Config(kind="lstm_seq2seq", width=8, input=5, directions="joined", dropout=0.3), facts)
    task = find("objectives", "classify").Config.model_validate(
        {"kind": "classify", "train": "head", "pool": "mean", "mix": {"kind": "concat", **settings}}
    )
    return backbone, build("objectives", task, facts, backbone)


def some():
    rng = np.random.default_rng(0)
    valid = np.arange(6) < np.array([6, 3])[:, None]
    return Batch(ids=rng.integers(1, V, (2, 6)), valid=valid, label=np.array([0, 1])).tensors()


@pytest.mark.parametrize("layers, width", [(None, 13), ([0], 13), ([0, 1], 21)])
def test_features_are_the_table_and_the_chosen_layers_side_by_side(layers, width):
    backbone, task = make(layers=layers)
    batch = some()
    found = task.states(task.run(backbone, batch), batch)
    backbone.eval()
    kept = backbone(batch, keep={"embedding", "blocks.0", "blocks.1"}).kept
    names = [f"blocks.{i}" for i in ([1] if layers is None else layers)]
    words = backbone.encoder.embed(batch.ids) * batch.valid[..., None]  # nothing at padding
    torch.testing.assert_close(found, torch.cat([words, *(kept[n] for n in names)], -1))
    assert found.shape[-1] == width == task.head.out.weight.shape[1]


def test_the_encoder_stays_as_it_is():
    backbone, task = make()
    task(backbone, some())["classify"].total.backward()
    assert all(p.grad is None for p in backbone.parameters()) and not backbone.training
    assert all(p.grad is not None for p in task.parameters())


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match="0..1"):
        make(layers=[2])
