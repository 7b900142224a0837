"""G4c: what share of a training step goes into making the batch, without workers.

    python bench/loader_share.py --text FILE.parquet [--size mini] [--device cpu|cuda]

Two loops take turns: one makes every batch, the other takes the same one again and again."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, machine


def main() -> None:
    """Both loops in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(paragraphs(given.text, 20000), Path(folder))
        rows = ["objectives=[{kind: mlm}]", "data.text={kind: full_sentences, length: 128}", "loop.precision=bf16"]
        ours = Ours(store, "bert", size=given.size, sets=rows, device=given.device)
        cached = ours.feed.step(0)

        def again() -> float:
            start = time.perf_counter()
            for _ in range(given.steps):
                ours.trainer.take(cached)
            if given.device == "cuda":
                torch.cuda.synchronize()
            return given.steps * cached.tokens / (time.perf_counter() - start)

        real, same = interleave(lambda: ours(given.steps), again, windows=given.windows)
        begun = time.perf_counter()
        for number in range(50):
            ours.feed.step(number)
        alone = 50 * cached.tokens / (time.perf_counter() - begun)
    share = 1 - np.array(real) / np.array(same)
    draws = np.random.default_rng(0).choice(share, size=(2000, len(share)))
    lo, hi = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    direct = float(np.median(same)) / alone
    verdict = "PASS" if direct <= 0.05 else "FAIL"
    print(f"RATIO loader_share_{given.size}={direct:.4f} paired={np.median(share):.3f} [{lo:.3f},{hi:.3f}] "
          f"floor=0.05 goal=0.02 {verdict}")  # fmt: skip
    record = {"name": f"loader_share_{given.size}", "share": direct, "tokens_per_second_alone": round(alone)}
    print(json.dumps(record | machine()))


if __name__ == "__main__":
    main()
