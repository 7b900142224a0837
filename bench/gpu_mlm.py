"""G2: masked language modelling on a GPU, real tokens a second, against the Hugging Face Trainer with compile.

    python bench/gpu_mlm.py --text FILE.parquet [--model base|small|mini] [--lengths natural|full] [--peer tuned]

The same two sides, gate and windows as cpu_mlm.py, with rows of up to 512 tokens. Printed besides the ratio: tokens a
second, share of the dense bf16 peak (MFU; six operations a parameter and token, attention's products added), seconds
before the first window (compilation included) and peak memory."""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path

import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio
from cpu_mlm import Peer, gate

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bf16 operations a second, as the makers state them."""
GOALS = {"natural": (1.8, 2.5), "full": (1.25, 1.6)}


def flop_per_token(ours: Ours, length: int, masked: float) -> float:
    """Operations of a forward and a backward pass, multiply-add as two; the head runs on the masked tokens alone."""
    sizes = ours.trainer.recipe.backbone
    body = sizes.layers * (4 * sizes.width**2 + 2 * sizes.width * sizes.ffn.width)
    head = masked * (sizes.width**2 + sizes.width * ours.facts.vocab)
    return 6 * (body + head) + 12 * sizes.layers * sizes.width * length


def peak() -> float | None:
    """Of this GPU, where it is known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((v for k, v in PEAK.items() if k in name), None)


def main() -> None:
    """Parse, build both sides, check the gate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="a parquet file with a column `text`")
    parser.add_argument("--model", default="base", choices=["base", "small", "mini", "tiny"])
    parser.add_argument("--lengths", choices=["natural", "full"], default="natural")
    parser.add_argument("--peer", choices=["default", "tuned"], default="tuned")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--paragraphs", type=int, default=40000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="overrides of our recipe")
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = paragraphs(given.text, given.paragraphs)
    full = given.lengths == "full"
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(texts, Path(folder), vocab=30522)
        sets = ["objectives=[{kind: mlm}]", f"loop.batch={given.batch}", "tokenizer.vocab=30522", "loop.precision=bf16"]
        sets += [f"data.text={{kind: full_sentences, length: {given.length}}}", *given.sets]
        ours = Ours(store, "bert", size=None if given.model == "base" else given.model, sets=sets, device=given.device)
        sizes = ours.trainer.recipe.backbone
        config = {
            "vocab_size": ours.facts.vocab, "hidden_size": sizes.width, "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads, "intermediate_size": sizes.ffn.width,
        }  # fmt: skip
        tuned = given.peer == "tuned"
        peer = Peer(
            texts, store.path, config, batch=given.batch, full=full, tuned=tuned, length=given.length,
            device=given.device, compiled=tuned and given.device != "cpu",
        )  # fmt: skip
        difference = gate(ours, peer)
        print(f"gate: same weights, same batch: losses differ by {difference:.1e}")
        assert difference < 1e-3, "the two sides do not compute the same loss"
        begun = time.perf_counter()
        ours(given.steps)
        first = time.perf_counter() - begun
        one, two = interleave(lambda: ours(given.steps), lambda: peer(given.steps), windows=given.windows)
    rate, most = sorted(one)[len(one) // 2], peak()
    used = rate * flop_per_token(ours, given.length, 0.15)
    floor, goal = GOALS[given.lengths]
    facts = {"gate": difference, "batch": given.batch, "first_window_s": round(first, 1)}
    facts["tflops"] = round(used / 1e12, 1)
    if most:
        facts["mfu"] = round(used / most, 3)
    if given.device == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(), "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1)}
    name = f"gpu_mlm_{given.lengths}_{given.peer}_{given.model}"
    ratio(name, one, two, floor=floor, goal=goal, unit="real tokens/s", **facts)
    print(json.dumps({"tokens_per_second": round(rate)} | facts))


if __name__ == "__main__":
    main()
