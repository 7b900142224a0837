"""Attention in bf16 on a CPU, forward and backward: plain matrix products against the fused kernel.

    python bench/attention.py [--precision bf16|fp32]

One RATIO line a shape (rows, heads, tokens, width of a head), padding masked as in a batch of short rows. Above 1 the
plain products are faster; `layers/attention` chooses by these figures."""

from __future__ import annotations

import argparse
import time

import torch
from _ratio import interleave, ratio

from modeledge.layers import attention

SHAPES = [(64, 4, 32, 64), (16, 4, 128, 64), (16, 12, 128, 64), (4, 12, 512, 64), (2, 12, 1024, 64), (1, 12, 2048, 64)]


class Side:
    """Passes a second over one batch, one way of computing attention."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, *, plain: bool):
        self.plain, (b, h, t, d) = plain, shape
        self.inputs = [torch.randn(b, t, h, d, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
        valid = torch.arange(t) < torch.randint(t // 2, t + 1, (b, 1))
        self.context = attention.Context(mask=valid[:, None, None, :].expand(b, 1, t, t))
        self.direction = torch.randn(b, h, t, d, dtype=dtype)

    def __call__(self) -> float:
        chosen, attention.plain_is_faster = attention.plain_is_faster, lambda *_: self.plain
        try:
            start = time.perf_counter()
            for _ in range(5):
                out = attention.attend(*self.inputs, self.context, scale=0.125)  # type: ignore[arg-type]
                out.backward(self.direction)
            return 5 / (time.perf_counter() - start)
        finally:
            attention.plain_is_faster = chosen


def main() -> None:
    """Every shape in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--windows", type=int, default=9)
    given = parser.parse_args()
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    for shape in SHAPES:
        plain, fused = interleave(
            Side(shape, dtype, plain=True), Side(shape, dtype, plain=False), windows=given.windows
        )
        name = f"attention_plain_over_fused_{given.precision}_{'x'.join(map(str, shape))}"
        ratio(name, plain, fused, floor=1.0, goal=2.0, unit="passes/s")


if __name__ == "__main__":
    main()
