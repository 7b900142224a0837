"""What the machine can do at a recipe's own shapes, and what share of it a training step reaches (G1c, G2c).

    python bench/roofline.py --text FILE.parquet [--recipe bert] [--size mini] [--device cpu|cuda]

The bound is the time of every matrix product of one step (forward, both of backward), each measured alone at its exact
shape in the precision of the run. Both the products and the step take turns; freed memory is kept, as in any run."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, machine
from torch.utils._python_dispatch import TorchDispatchMode

from modeledge.engine.memory import keep_freed_memory

PRODUCTS = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2)}


class Shapes(TorchDispatchMode):
    """Counts the shapes of the matrix products that run below it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            a, b = (args[i] for i in PRODUCTS[name])
            self.found[tuple(a.shape), a.stride()[-1] == 1, tuple(b.shape), b.stride()[-1] == 1, a.dtype] += 1
        return func(*args, **(kwargs or {}))


def operands(shape: tuple[int, ...], plain: bool, dtype: torch.dtype, device: str) -> torch.Tensor:
    """A random matrix, stored by rows or by columns as the step has it."""
    x = torch.randn(shape if plain else (*shape[:-2], shape[-1], shape[-2]), device=device).to(dtype)
    return x if plain else x.transpose(-1, -2)


def main() -> None:
    """Record one step's products, then time them against the steps themselves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--recipe", default="bert")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--windows", type=int, default=7)
    given = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(paragraphs(given.text, 20000), Path(folder))
        rows = ["objectives=[{kind: mlm}]", "data.text={kind: full_sentences, length: 128}", "loop.precision=bf16"]
        size = None if given.size == "base" else given.size  # a recipe as it is
        ours = Ours(store, given.recipe, size=size, sets=[*rows, *given.sets], device=given.device)
        step = ours.feed.step(0)
        with Shapes() as shapes:
            ours.trainer.backward(step)
        ours.trainer.optimizer.zero_grad(set_to_none=True)
        pairs = [
            (operands(a, plain_a, dtype, given.device), operands(b, plain_b, dtype, given.device), count)
            for (a, plain_a, b, plain_b, dtype), count in shapes.found.items()
        ]
        flop = sum(2 * a.numel() * b.shape[-1] * count for a, b, count in pairs)

        def wait() -> None:
            if given.device == "cuda":
                torch.cuda.synchronize()

        def products() -> float:
            start = time.perf_counter()
            for a, b, count in pairs:
                for _ in range(count):
                    a @ b
            wait()
            return 1 / (time.perf_counter() - start)

        def steps() -> float:
            start = time.perf_counter()
            for _ in range(3):
                ours.trainer.take(step)
            wait()
            return 3 / (time.perf_counter() - start)

        with torch.no_grad():
            products()
        real, bound = interleave(steps, products, windows=given.windows)
    share = np.array(real) / np.array(bound)
    draws = np.random.default_rng(0).choice(share, size=(2000, len(share)))
    lo, hi = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    floor, goal = (0.65, 0.80) if given.size == "base" else (0.55, 0.70)
    name = f"share_of_products_{given.recipe}_{given.size}"
    print(f"RATIO {name}={np.median(share):.3f} [{lo:.3f},{hi:.3f}] floor={floor} goal={goal} "
          f"{'PASS' if lo >= floor else 'FAIL'}")  # fmt: skip
    facts = {"flop_of_a_step": flop, "tflops_of_products": round(flop * float(np.median(bound)) / 1e12, 3)}
    facts["tokens_per_second"] = round(step.tokens * float(np.median(real)))
    print(json.dumps({"name": name, "share": round(float(np.median(share)), 3), **facts} | machine()))


if __name__ == "__main__":
    main()
