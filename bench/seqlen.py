"""G10: how the time of a token grows with the length of a row, dense and in a window, against what the FLOPs say.

    python bench/seqlen.py [--lengths 128 512 2048 4096] [--device cpu|cuda] [--window 128]

Forward and backward of a stack of four layers of width 256 on 8,192 tokens a pass, in bf16. The fitted exponent of time
over length stands beside the ratios. Freed memory is kept, as in any run."""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from _ratio import interleave, machine

from modeledge.core import Batch, Facts, build, find
from modeledge.engine.device import compute_in
from modeledge.engine.memory import keep_freed_memory
from modeledge.visibility import see
from modeledge.visibility.full import full
from modeledge.visibility.window import window

TOKENS, WIDTH, LAYERS = 8192, 256, 4


class Pass:
    """Forward and backward on rows of one length; tokens a second."""

    def __init__(self, length: int, rule: object, device: str):
        self.device = torch.device(device)
        settings = {"width": WIDTH, "layers": LAYERS, "heads": 4, "positions": {"kind": "rotary"}, "join": "pre"}
        config = find("backbones", "transformer").Config.model_validate({"kind": "transformer", **settings})
        self.stack = build("backbones", config, Facts(vocab=8192)).to(self.device)
        rows = max(1, TOKENS // length)
        self.batch = Batch(ids=torch.randint(8192, (rows, length), device=self.device))
        self.seen = see(rule, rows, length, device=self.device)

    def __call__(self) -> float:
        start = time.perf_counter()
        with compute_in("bf16", self.device):
            loss = self.stack(self.batch, self.seen).states.float().square().mean()
        loss.backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.batch.ids.numel() / (time.perf_counter() - start)


def flop(length: int) -> float:
    """Multiplications of a token's forward pass, times two: matrices of the layers, and attention."""
    return LAYERS * (24 * WIDTH**2 + 4 * length * WIDTH)


def main() -> None:
    """Every length against the shortest, then the window against dense at the longest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="*", default=[128, 512, 2048, 4096])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--windows", type=int, default=5)
    given = parser.parse_args()
    keep_freed_memory()
    shortest, *longer = given.lengths
    base = Pass(shortest, full, given.device)
    seconds = {}
    for length in longer:
        here, there = interleave(base, Pass(length, full, given.device), windows=given.windows, discard=1)
        growth = float(np.median(np.array(here) / np.array(there)))
        seconds[length] = growth
        x = growth / (flop(length) / flop(shortest))
        verdict = "PASS" if x <= 1.5 else "FAIL"
        print(f"RATIO growth_over_flop_{shortest}_{length}={x:.2f} (time of a token x {growth:.2f}) "
              f"floor=1.5 goal=1.15 {verdict}")  # fmt: skip
    longest = given.lengths[-1]
    local, dense = interleave(
        Pass(longest, window(given.window // 2, given.window // 2), given.device), Pass(longest, full, given.device),
        windows=given.windows, discard=1,
    )  # fmt: skip
    x = float(np.median(np.array(local) / np.array(dense)))
    print(f"RATIO window{given.window}_over_dense_{longest}={x:.2f} floor=3 goal=5 {'PASS' if x >= 3 else 'FAIL'}")
    at = np.log([shortest, *seconds])
    exponent = float(np.polyfit(at, np.log([1.0, *seconds.values()]), 1)[0])
    print(json.dumps({"name": "seqlen", "time_of_a_token": seconds, "exponent": round(exponent, 3)} | machine()))


if __name__ == "__main__":
    main()
