"""Attention in bf16 on a CPU, forward and backward: plain matrix products against torch's fused kernel, for long rows
the products of the backward pass only, in blocks of queries.

    python bench/attention.py [--precision bf16|fp32]

One RATIO line a shape (rows, heads, tokens, width of a head), padding masked as in a batch of short rows. Above 1 the
products are faster; `layers/attention` chooses by these figures. Blocks are taken on CPUs with matrix units only."""

from __future__ import annotations

import argparse
import time

import torch
from _ratio import interleave, ratio

from modeledge.engine.memory import keep_freed_memory
from modeledge.layers import attention

PLAIN = [(64, 4, 32, 64), (16, 4, 128, 64), (16, 12, 128, 64), (4, 12, 512, 64)]
BLOCKS = [(1, 12, 2048, 64), (1, 4, 4096, 64)]


class Side:
    """Passes a second over one batch, one way of computing attention."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, way: str):
        self.way, (b, h, t, d) = way, shape
        self.inputs = [torch.randn(b, t, h, d, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
        valid = torch.arange(t) < torch.randint(t // 2, t + 1, (b, 1))
        self.context = attention.Context(mask=valid[:, None, None, :].expand(b, 1, t, t))
        self.direction = torch.randn(b, h, t, d, dtype=dtype)

    def __call__(self) -> float:
        chosen = attention.plain_is_faster, attention.blocks_are_faster
        attention.plain_is_faster = lambda *_: self.way == "plain"
        attention.blocks_are_faster = lambda *_: self.way == "blocks"
        try:
            start = time.perf_counter()
            for _ in range(5):
                out = attention.attend(*self.inputs, self.context, scale=0.125)  # type: ignore[arg-type]
                out.backward(self.direction)
            return 5 / (time.perf_counter() - start)
        finally:
            attention.plain_is_faster, attention.blocks_are_faster = chosen


def main() -> None:
    """Every shape in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--windows", type=int, default=9)
    given = parser.parse_args()
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    keep_freed_memory()
    for way, shapes in (("plain", PLAIN), ("blocks", BLOCKS)):
        for shape in shapes:
            ours, fused = interleave(Side(shape, dtype, way), Side(shape, dtype, "fused"), windows=given.windows)
            name = f"attention_{way}_over_fused_{given.precision}_{'x'.join(map(str, shape))}"
            ratio(name, ours, fused, floor=1.0, goal=2.0, unit="passes/s")


if __name__ == "__main__":
    main()
