"""Residual convolutional networks: a stem, then stages of blocks that each halve the picture and widen it.

Sources: ResNet, arXiv:1512.03385; the gain of each branch's last norm started at zero, arXiv:1706.02677 §5.1; the
stride on the 3x3 convolution of a bottleneck ("v1.5") is what released weights use, the paper has it on the first 1x1.
Not here: pre-activation blocks with group norm and standardised weights (BiT)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from modeledge.backbones._levels import Levels
from modeledge.core import Batch, Facts, Output, Part, PartConfig
from modeledge.layers.attention import Keep
from modeledge.layers.pixels import Pixels, normalise
from modeledge.visibility import Seen


class BatchNorm(nn.Module):
    """Batch normalisation whose statistics rest when its gain is frozen: arXiv:1502.03167, as in torch.nn.

    Freezing only the weights of a network in training mode would still move its running statistics, and with them its
    features. Statistics are of the rows of one forward pass, on this process."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Float[Tensor, "b d H W"]) -> Float[Tensor, "b d H W"]:
        moving = self.training and self.weight.requires_grad
        mean, variance = self.running_mean, self.running_var
        return F.batch_norm(x, mean, variance, self.weight, self.bias, moving, self.momentum, self.eps)


def convolve(fan_in: int, fan_out: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution without bias that keeps the size (over `stride`), and its norm."""
    return nn.Sequential(
        nn.Conv2d(fan_in, fan_out, kernel, stride=stride, padding=kernel // 2, bias=False), BatchNorm(fan_out)
    )


class Block(nn.Module):
    """relu(shortcut(x) + branch(x)); without a shortcut relu(branch(x)), the "plain" network of the paper."""

    def __init__(self, fan_in: int, fan_out: int, *, config: Any, stride: int):
        super().__init__()
        if config.block == "basic":
            shapes = [(fan_in, fan_out, 3, stride), (fan_out, fan_out, 3, 1)]
        else:
            inner, early = fan_out // 4, config.stride_on == "1x1"
            first, second = (stride, 1) if early else (1, stride)
            shapes = [(fan_in, inner, 1, first), (inner, inner, 3, second), (inner, fan_out, 1, 1)]
        parts: list[nn.Module] = []
        for a, b, kernel, step in shapes:
            parts += [convolve(a, b, kernel, stride=step), nn.ReLU()]
        self.branch = nn.Sequential(*parts[:-1])
        same = fan_in == fan_out and stride == 1
        self.shortcut: nn.Module | None = None
        if config.shortcut == "residual":
            self.shortcut = nn.Identity() if same else convolve(fan_in, fan_out, 1, stride=stride)

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d H2 W2"]:
        y = self.branch(x)
        return F.relu(y if self.shortcut is None else y + self.shortcut(x))


class ResNet(nn.Module, Part):
    """Pictures to a map of features. `states` are the last map's places row by row, `pooled` is their mean.

    Named intermediates, each a map b c H W: `stem`, `stages.0`, ... and `stages.0.blocks.0`, ..."""

    class Config(PartConfig):
        """blocks: how many in each stage; widths: of each stage's output; stem: 7x7 stride 2 and a max-pool (large
        pictures) or one 3x3 (32 pixels and fewer); stride_on: which convolution of a bottleneck halves the picture;
        zero_gain: every branch starts at zero."""

        blocks: tuple[int, ...] = Field((3, 4, 6, 3), min_length=1)
        widths: tuple[int, ...] = Field((256, 512, 1024, 2048), min_length=1)
        block: Literal["basic", "bottleneck"] = "bottleneck"
        stem: Literal["large", "small"] = "large"
        stem_width: int = Field(64, ge=1)
        stride_on: Literal["3x3", "1x1"] = "3x3"
        shortcut: Literal["residual", "none"] = "residual"
        zero_gain: bool = True
        pixels: Pixels = "imagenet"

        @model_validator(mode="after")
        def _match(self) -> ResNet.Config:
            if len(self.blocks) != len(self.widths):
                raise ValueError(
                    f"{len(self.blocks)} stages in blocks, {len(self.widths)} in widths: give one width a stage"
                )
            if self.block == "bottleneck" and any(w % 4 for w in self.widths):
                raise ValueError(
                    f"a bottleneck works at a quarter of its width: {self.widths} are not all divisible by 4"
                )
            return self

    embed = None

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config = config
        self.width = config.widths[-1]
        if config.stem == "large":
            first, pool = convolve(3, config.stem_width, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)
        else:
            first, pool = convolve(3, config.stem_width, 3), nn.Identity()
        self.stem = nn.Sequential(first, nn.ReLU(), pool)
        self.stages = nn.ModuleList()
        before = config.stem_width
        for i, (many, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
            sizes = [before] + [width] * many
            stage = [
                Block(a, width, config=config, stride=2 if i > 0 and j == 0 else 1) for j, a in enumerate(sizes[:-1])
            ]
            self.stages.append(nn.ModuleList(stage))
            before = width
        self.reset()

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return [("stem",), *((f"stages.{i}",) for i in range(len(self.stages)))]

    def reset(self) -> None:
        """Draw the weights anew: convolutions by fan-out for ReLU, gains 1, shifts 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.config.zero_gain and self.config.shortcut == "residual":
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.branch[-1][1].weight)  # type: ignore[index]

    def forward(
        self, batch: Batch, seen: Seen | None = None, *, keep: Collection[str] = (), cache: object | None = None
    ) -> Output:
        """Features of `batch.image` (uint8 b H W 3, or floats that are normalised already)."""
        note = Keep(keep)
        dtype = next(self.parameters()).dtype
        x = note("stem", self.stem(normalise(batch["image"], self.config.pixels).to(dtype)))
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage):  # type: ignore[arg-type]
                x = note(f"stages.{i}.blocks.{j}", block(x))
            note(f"stages.{i}", x)
        states = x.flatten(2).transpose(1, 2)  # b d h w -> b p d
        return Output(states=states, pooled=states.mean(1), kept=note.found)
