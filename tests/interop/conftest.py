"""Small models of any backbone and objectives, for what is written from them and read back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modeledge.core import build, find


class Model(nn.Module):
    """A backbone and objectives, named as everywhere."""

    def __init__(self, backbone, objectives, f):
        super().__init__()
        self.tree = {"backbone": backbone, "objectives": objectives}
        made = find("backbones", backbone["kind"]).Config.model_validate(backbone)
        self.backbone = build("backbones", made, f)
        self.objectives = nn.ModuleDict()
        for o in objectives:
            config = find("objectives", o["kind"]).Config.model_validate(o)
            self.objectives[o.get("name") or o["kind"]] = build("objectives", config, f, self.backbone)
        with torch.no_grad():
            for p in self.parameters():
                p.add_(0.1 * torch.randn_like(p))

    def tensors(self):
        return {n: p.detach() for n, p in self.named_parameters()} | dict(self.named_buffers())


@pytest.fixture
def model_of():
    """model_of(backbone, objectives, facts) -> the model, every tensor of it random."""
    return Model
