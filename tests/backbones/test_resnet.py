"""Residual networks against Hugging Face's, forward hooks and the identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch import nn

from modeledge.analysis._collect import collect
from modeledge.backbones.resnet import BatchNorm, ResNet
from modeledge.core import Batch, Facts

TINY = {"blocks": (2, 1), "widths": (8, 16), "stem_width": 8, "block": "basic", "stem": "small"}


def make(**settings):
    torch.manual_seed(0)
    return ResNet(ResNet.Config(**{**TINY, **settings}), Facts())


def pictures(b=4, size=16):
    rng = np.random.default_rng(0)
    return Batch(image=rng.integers(0, 256, (b, size, size, 3), dtype=np.uint8), label=np.arange(b) % 2)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    "settings, wanted",
    [
        ({}, 25_557_032),
        ({"block": "basic", "blocks": (2, 2, 2, 2), "widths": (64, 128, 256, 512)}, 11_689_512),
        ({"block": "basic", "blocks": (3, 4, 6, 3), "widths": (64, 128, 256, 512)}, 21_797_672),
    ],
)
def test_the_parameters_of_the_published_networks_with_a_thousand_classes(settings, wanted):
    with torch.device("meta"):
        backbone = ResNet(ResNet.Config(**settings), Facts())
        head = nn.Linear(backbone.width, 1000)
    assert count(backbone) + count(head) == wanted


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("training", [True, False])
def test_a_zero_gain_makes_every_block_without_projection_the_identity(block, training):
    model = make(block=block, blocks=(3, 2)).train(training)
    names = ["stem", *(f"stages.0.blocks.{j}" for j in range(3)), *(f"stages.1.blocks.{j}" for j in range(2))]
    out = model(pictures().tensors(), keep=names)
    stage = [out.kept[n] for n in names]
    assert torch.equal(stage[1], stage[2]) and torch.equal(stage[2], stage[3]) and torch.equal(stage[4], stage[5])
    assert stage[4].shape[2] == stage[3].shape[2] // 2 and stage[4].abs().sum() > 0  # a projection is no identity


def test_without_zero_gain_no_block_is_the_identity():
    out = make(zero_gain=False)(pictures().tensors(), keep={"stem", "stages.0.blocks.0"})
    assert not torch.equal(out.kept["stages.0.blocks.0"], out.kept["stem"])


def test_taps_are_what_forward_hooks_see():
    model = make(zero_gain=False).eval()
    caught = {}
    for name in ("stem", "stages.0.blocks.1", "stages.1.blocks.0"):
        model.get_submodule(name.replace(".blocks", "")).register_forward_hook(
            lambda _, __, out, name=name: caught.update({name: out})
        )
    out = model(pictures().tensors(), keep={*caught, "stem", "stages.0.blocks.1", "stages.0", "stages.1.blocks.0"})
    assert {k: v for k, v in out.kept.items() if k != "stages.0"}.keys() == caught.keys()
    assert all(out.kept[k] is caught[k] for k in caught)
    assert out.kept["stages.0"] is caught["stages.0.blocks.1"]
    torch.testing.assert_close(out.pooled, caught["stages.1.blocks.0"].mean((2, 3)))
    assert out.states.shape == (4, 8 * 8, 16)


def test_the_plain_network_has_no_shortcuts():
    plain, residual = make(shortcut="none"), make()
    assert count(residual) - count(plain) == 8 * 16 + 2 * 16  # the one projection and its norm
    x = pictures().tensors()
    assert not torch.equal(plain(x).pooled, residual(x).pooled)


def test_features_of_a_frozen_network_leave_its_weights_and_statistics_alone():
    model = make(zero_gain=False).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batch = pictures()
    together, _ = collect(model, lambda b: model(b).pooled, [batch])
    apart, _ = collect(model, lambda b: model(b).pooled, [batch.rows(slice(i, i + 1)) for i in range(4)])
    torch.testing.assert_close(together, apart)  # a picture's features do not depend on its neighbours
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_statistics_rest_under_a_frozen_gain_even_in_training_mode():
    model = make(zero_gain=False).requires_grad_(False).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = pictures().tensors()
    trained = model(x).pooled
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(trained, model.eval()(x).pooled)
    model.requires_grad_(True).train()(x)
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    norms = sum(isinstance(m, BatchNorm) for m in model.modules())
    assert len([k for k in moved if "running_mean" in k]) == norms


def test_batch_normalisation_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = BatchNorm(5), nn.BatchNorm2d(5)
    for _ in range(3):
        x = torch.randn(4, 5, 3, 3) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys() - {"num_batches_tracked"}


def test_the_stride_stands_where_it_is_asked_for():
    early, late = (make(block="bottleneck", stride_on=s).stages[1][0].branch for s in ("1x1", "3x3"))
    assert [early[0][0].stride, early[2][0].stride] == [(2, 2), (1, 1)]
    assert [late[0][0].stride, late[2][0].stride] == [(1, 1), (2, 2)]


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="2 stages in blocks, 1 in widths"):
        ResNet.Config(blocks=(1, 1), widths=(8,))
    with pytest.raises(ValidationError, match="not all divisible by 4"):
        ResNet.Config(blocks=(1,), widths=(10,))


@pytest.mark.slow
def test_shortcuts_cure_the_training_loss_of_a_deep_plain_network():
    plain, residual = deep("none"), deep("residual")
    assert plain["loss"] > 2 * residual["loss"] and plain["accuracy"] + 0.03 < residual["accuracy"]


def deep(shortcut):
    """26 layers on 1,400 digits for 200 steps: the mean training loss of the last 20, the accuracy on the rest."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = (data.images[order, :, :, None] * 15.9).astype(np.uint8).repeat(3, -1)
    images, labels = torch.from_numpy(x), torch.from_numpy(data.target[order])
    model = make(blocks=(12,), widths=(16,), stem_width=16, shortcut=shortcut)
    head = nn.Linear(16, 10)
    optim = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=3e-3)
    rng, losses = np.random.default_rng(0), []
    for _ in range(200):
        rows = torch.from_numpy(rng.integers(0, 1400, 64))
        loss = F.cross_entropy(head(model(Batch(image=images[rows])).pooled), labels[rows])
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        right = head(model(Batch(image=images[1400:])).pooled).argmax(1) == labels[1400:]
    return {"loss": float(np.mean(losses[-20:])), "accuracy": float(right.float().mean())}
