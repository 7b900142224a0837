"""Residual networks against transformers' ResNetForImageClassification."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from modeledge.core import Batch, Facts, InputError, build, find
from modeledge.interop import from_hf, to_hf

SHAPES = {
    "bottleneck": {"layer_type": "bottleneck", "hidden_sizes": [16, 32], "depths": [2, 1], "embedding_size": 8},
    "early": {
        "layer_type": "bottleneck", "hidden_sizes": [16, 32], "depths": [1, 2], "embedding_size": 16,
        "downsample_in_bottleneck": True,
    },
    "basic": {"layer_type": "basic", "hidden_sizes": [8, 16, 24], "depths": [2, 2, 1], "embedding_size": 8},
}  # fmt: skip


def theirs(**shape):
    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig(num_labels=5, **shape))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, mean=1, std=0.2)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def ours(found):
    facts = Facts(labels=found.facts["labels"])
    backbone = build("backbones", find("backbones", "resnet").Config.model_validate(found.backbone), facts)
    config = find("objectives", "image_label").Config.model_validate(found.objectives[0])
    objective = build("objectives", config, facts, backbone)
    both = nn.ModuleDict({"backbone": backbone, "objectives": nn.ModuleDict({"image_label": objective})})
    both.load_state_dict(found.state)
    return objective, backbone


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_scores_loss_and_moving_statistics_are_those_of_hugging_face(shape, training):
    model = theirs(**SHAPES[shape]).train(training)
    objective, backbone = ours(from_hf(model.config.to_dict(), model.state_dict()))
    objective.train(training), backbone.train(training)
    batch = Batch(image=torch.randn(3, 64, 64, 3), label=torch.tensor([0, 4, 2]))
    wanted = model(pixel_values=batch.image.permute(0, 3, 1, 2), labels=batch.label)
    out = objective.run(backbone, batch)
    torch.testing.assert_close(objective.scores(out), wanted.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(objective.loss(out, batch)["image_label"].mean(), wanted.loss, atol=1e-6, rtol=1e-6)
    state = backbone.state_dict()
    first = model.resnet.embedder.embedder.normalization
    torch.testing.assert_close(state["stem.0.1.running_var"], first.running_var)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_way_back_gives_the_same_tensors(shape):
    model = theirs(**SHAPES[shape])
    found = from_hf(model.config.to_dict(), model.state_dict())
    config, tensors = to_hf({"backbone": found.backbone, "objectives": found.objectives}, found.state, found.facts)
    state = model.state_dict()
    assert tensors.keys() == state.keys() and all(torch.equal(tensors[k], state[k]) for k in state)
    again = ResNetForImageClassification(ResNetConfig(**config)).eval()
    again.load_state_dict(tensors)
    image = torch.randn(2, 3, 64, 64)
    assert torch.equal(again(image).logits, model.eval()(image).logits)


def test_what_has_no_counterpart_is_refused():
    model = theirs(**SHAPES["basic"], downsample_in_first_stage=True)
    with pytest.raises(InputError, match="downsample_in_first_stage"):
        from_hf(model.config.to_dict(), model.state_dict())
    found = from_hf((plain := theirs(**SHAPES["basic"])).config.to_dict(), plain.state_dict())
    small = {**found.backbone, "stem": "small"}
    with pytest.raises(InputError, match="stem: 'small', there only 'large'"):
        to_hf({"backbone": small, "objectives": found.objectives}, found.state, found.facts, model_type="resnet")
