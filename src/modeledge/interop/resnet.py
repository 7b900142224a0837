"""ResNet. Source of the names: transformers' ResNetForImageClassification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch
from modeledge.interop._encoder import both
from modeledge.interop._names import Move, expand
from modeledge.interop._port import Port
from modeledge.interop._settings import Key

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def unit(theirs: str, ours: str) -> dict[str, str]:
    """A convolution and its norm."""
    names = {f"{theirs}.normalization.{x}": f"{ours}.1.{x}" for x in BATCH_NORM}
    return {f"{theirs}.convolution.weight": f"{ours}.0.weight", **names}


class ResNet(Port):
    """ResNetForImageClassification, or ResNetModel without the head."""

    keys = (
        Key("embedding_size", "stem_width", 64),
        Key("hidden_sizes", "widths", (256, 512, 1024, 2048)),
        Key("depths", "blocks", (3, 4, 6, 3)),
        Key("layer_type", "block", "bottleneck"),
        Key("downsample_in_bottleneck", "stride_on", False, {"1x1": True, "3x3": False}),
    )
    same = {"kind": "resnet", "stem": "large", "shortcut": "residual"}
    prefix = "resnet."
    body = {}
    parts = {"image_label": both("classifier.1", "objectives.image_label.head.out")}
    classes = (({"image_label"}, "ResNetForImageClassification"), (set(), "ResNetModel"))

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, hidden_act=("relu",), num_channels=(3,), downsample_in_first_stage=(False,))
        if backbone["block"] == "basic":
            backbone["stride_on"] = "3x3"

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        names = unit("resnet.embedder.embedder", "backbone.stem.0")
        before = backbone["stem_width"]
        convolutions = 2 if backbone["block"] == "basic" else 3
        for s, (many, width) in enumerate(zip(backbone["blocks"], backbone["widths"], strict=True)):
            for j in range(many):
                at, ours = f"resnet.encoder.stages.{s}.layers.{j}.", f"backbone.stages.{s}.{j}."
                for c in range(convolutions):
                    names |= unit(f"{at}layer.{c}", f"{ours}branch.{2 * c}")
                if before != width or (s > 0 and j == 0):
                    names |= unit(f"{at}shortcut", f"{ours}shortcut")
                before = width
        if "image_label" in parts:
            names |= both("classifier.1", "objectives.image_label.head.out")
        return expand(names, 0)

    def tensors(self, backbone: Mapping[str, Any], parts: set[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().tensors(backbone, parts, ours)
        counts = [n.replace("running_mean", "num_batches_tracked") for n in out if n.endswith("running_mean")]
        return out | {n: torch.zeros((), dtype=torch.long) for n in counts}  # their norms count, and never read it

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": part, "head": {"kind": "classifier", "start": "zero"}}

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        return Batch(image=torch.randn(2, 64, 64, 3))

    def ours(self, backbone: nn.Module, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        out = backbone(batch)
        return {part: head(out, batch, pooled=True) for part, head in heads.items()} or {"pooled": out.pooled}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        out = model(pixel_values=batch.image.permute(0, 3, 1, 2))
        return {"image_label": out.logits} if parts else {"pooled": out.pooler_output.flatten(1)}
