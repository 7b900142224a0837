"""Labels of pictures: closed forms on a tiny residual network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import top_k_accuracy_score

from modeledge.backbones.resnet import ResNet
from modeledge.core import IGNORE, Batch, Facts, InputError
from modeledge.objectives.image_label import ImageLabel

FACTS = Facts(labels={"label": [f"class {i}" for i in range(7)]})


def make(**settings):
    torch.manual_seed(0)
    backbone = ResNet(
        ResNet.Config(blocks=(1,), widths=(8,), stem_width=8, block="basic", stem="small", zero_gain=False), FACTS
    )
    return ImageLabel(ImageLabel.Config(kind="image_label", **settings), FACTS, backbone), backbone


def rows(b=12, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(image=rng.integers(0, 256, (b, 8, 8, 3), dtype=np.uint8), label=rng.integers(0, 7, b))


def test_at_first_every_class_is_equally_likely():
    objective, backbone = make()
    loss = objective(backbone, rows().tensors())["image_label"]
    assert loss.count == 12
    assert abs(loss.mean() - math.log(7)) < 1e-6 and objective.baselines(FACTS) == {"uniform": math.log(7)}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_labelled_rows(smoothing):
    objective, backbone = make(smoothing=smoothing)
    torch.nn.init.normal_(objective.head.out.weight)
    batch = rows()
    batch["label"][3] = IGNORE
    tensors = batch.tensors()
    got = objective(backbone, tensors)["image_label"]
    keep = tensors.label != IGNORE
    logp = objective.head(backbone(tensors).pooled)[keep].log_softmax(-1)
    own = -logp.gather(1, tensors.label[keep][:, None]).sum()
    wanted = (1 - smoothing) * own - smoothing * logp.mean(1).sum()
    torch.testing.assert_close(got.total, wanted)
    assert got.count == 11 == objective.counts(batch)["image_label"]


def test_figures_agree_with_scikit_learn():
    objective, backbone = make()
    torch.nn.init.normal_(objective.head.out.weight, std=5.0)
    batch = rows(60).tensors()
    out = objective.run(backbone, batch)
    figures = {k: v.mean().item() for k, v in objective.metrics(out, batch).items()}
    chances = objective.predict(out, batch).detach().numpy()
    assert abs(figures["accuracy"] - (chances.argmax(1) == batch.label.numpy()).mean()) < 1e-6
    assert abs(figures["top5"] - top_k_accuracy_score(batch.label, chances, k=5, labels=range(7))) < 1e-6
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-6)


def test_pictures_are_cut_in_training_only_and_labels_stay():
    objective, _ = make(show={"cut": "shift", "mirror": 0.5})
    batch = rows()
    shown = objective.view(batch, np.random.default_rng(0))
    assert (shown.image != batch.image).any() and (shown.label == batch.label).all() and shown.image.dtype == np.uint8
    assert (objective.eval().view(batch, np.random.default_rng(0)).image == batch.image).all()


def test_parameter_transfer_replaces_only_the_head():
    objective, backbone = make()
    torch.nn.init.normal_(objective.head.out.weight)
    saved = {k: v.clone() for k, v in backbone.state_dict().items()}
    other = Facts(labels={"label": ["a", "b"]})
    fresh = ResNet(backbone.config, other)
    fresh.load_state_dict(saved)
    target = ImageLabel(ImageLabel.Config(kind="image_label"), other, fresh)
    batch = rows().tensors()
    assert torch.equal(target.run(fresh, batch).pooled, objective.run(backbone, batch).pooled)
    assert target.head.out.out_features == 2 and not target.head.out.weight.any()
    loss = F.cross_entropy(target.scores(target.run(fresh, batch)), batch.label % 2)
    loss.backward()
    assert target.head.out.weight.grad.any()


def test_feature_transfer_trains_the_head_and_leaves_the_backbone_bytes_alone():
    objective, backbone = make(train="head")
    objective.train(), backbone.train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    trained = [p for p in (*objective.parameters(), *backbone.parameters()) if p.requires_grad]
    assert len(trained) == 2
    optim = torch.optim.AdamW(trained, lr=0.01)
    batch, losses = rows().tensors(), []
    for _ in range(5):
        loss = objective(backbone, batch)["image_label"].mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_data_without_classes_is_refused_with_the_next_step():
    _, backbone = make()
    with pytest.raises(InputError, match="no classes\n  next: prepare pictures with labels"):
        ImageLabel(ImageLabel.Config(kind="image_label"), Facts(), backbone)
