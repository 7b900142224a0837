"""The head of a large vocabulary and its loss, forward and backward: in one against one after the other.

    python bench/head_loss.py [--device cpu|cuda]

One RATIO line a shape (targets, width, vocabulary), in bf16; above 1 `losses/linear_cross_entropy.py` is faster. The
gate is that both losses agree within 1e-3."""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from _ratio import interleave, ratio
from torch import Tensor

from modeledge.losses.cross_entropy import cross_entropy
from modeledge.losses.linear_cross_entropy import linear_cross_entropy

SHAPES = [(640, 256, 8192), (640, 256, 30522), (640, 768, 30522), (4096, 256, 8192), (4096, 256, 50257)]


class Side:
    """Passes a second, one way of computing the loss."""

    def __init__(self, shape: tuple[int, int, int], device: str, *, together: bool):
        m, d, v = shape
        g = torch.Generator().manual_seed(0)
        made = [torch.randn(m, d, generator=g), 0.05 * torch.randn(v, d, generator=g), torch.zeros(v)]
        self.inputs = [t.to(device).requires_grad_() for t in made]
        self.labels = torch.randint(0, v, (m,), generator=g).to(device)
        self.together, self.device = together, device

    def loss(self) -> Tensor:
        """The mean loss of the batch."""
        states, matrix, bias = self.inputs
        with torch.autocast(self.device, torch.bfloat16):
            if self.together:
                return linear_cross_entropy(states, matrix, bias, self.labels).mean()
            return cross_entropy(F.linear(states, matrix, bias), self.labels).mean()

    def __call__(self) -> float:
        start = time.perf_counter()
        for _ in range(3):
            self.loss().backward()
            for one in self.inputs:
                one.grad = None
        if self.device == "cuda":
            torch.cuda.synchronize()
        return 3 / (time.perf_counter() - start)


def main() -> None:
    """Every shape in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--windows", type=int, default=7)
    given = parser.parse_args()
    for shape in SHAPES:
        one, other = (Side(shape, given.device, together=together) for together in (True, False))
        gate = abs(float(one.loss()) - float(other.loss()))
        if gate > 1e-3:
            raise SystemExit(f"{shape}: the losses differ by {gate:.2e}: nothing is compared")
        rates = interleave(one, other, windows=given.windows, discard=1)
        ratio(f"head_loss_{'x'.join(map(str, shape))}", *rates, floor=1.0, goal=1.5, unit="passes/s", gate=gate)


if __name__ == "__main__":
    main()
