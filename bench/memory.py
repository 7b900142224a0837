"""G8: bytes of activations a token keeps for the backward pass, against the peer; and what recomputing saves.

    python bench/memory.py --text FILE.parquet [--size mini] [--length 512]

Counted through autograd's hooks for saved tensors: storages that are no parameters, each once, at the end of the
forward pass. Recomputing is measured in time as well."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, machine
from torch import Tensor, nn

from modeledge.engine.device import compute_in
from modeledge.engine.memory import Held

CPU = torch.device("cpu")


def saved_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that the graph of this forward pass holds, parameters aside."""
    with Held(model) as held:
        loss = forward()  # noqa: F841  the graph must live while it is counted
    return held.bytes


def main() -> None:
    """Count ours, ours recomputed, and the peer's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8)
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    from transformers import BertConfig, BertForMaskedLM

    with tempfile.TemporaryDirectory() as folder:
        store = make_store(paragraphs(given.text, 20000), Path(folder), vocab=30522)
        sets = [
            "objectives=[{kind: mlm}]", f"data.text={{kind: full_sentences, length: {given.length}}}",
            f"loop.batch={given.rows}", f"loop.micro={given.rows}", "loop.precision=bf16", "tokenizer.vocab=30522",
        ]  # fmt: skip
        plain = Ours(store, "bert", size=given.size, sets=sets)
        again = Ours(store, "bert", size=given.size, sets=[*sets, "loop.recompute=full"])
    b = plain.recipe.backbone
    peer = BertForMaskedLM(
        BertConfig(
            vocab_size=plain.facts.vocab, hidden_size=b.width, num_hidden_layers=b.layers,
            num_attention_heads=b.heads, intermediate_size=b.ffn.width,
        )
    ).train()  # fmt: skip
    micro = plain.feed.step(0).works[0].micros[0].tensors()
    tokens = micro.ids.numel()

    def ours(side: Ours) -> Tensor:
        with compute_in("bf16", CPU):
            return side.model(("mlm",), micro)["mlm"].total

    def theirs() -> Tensor:
        mask = micro.valid if "valid" in micro else torch.ones_like(micro.ids)
        with compute_in("bf16", CPU):
            return peer(input_ids=micro.ids, attention_mask=mask, labels=micro.labels).loss

    counts = {"ours": saved_bytes(lambda: ours(plain), plain.model), "peer": saved_bytes(theirs, peer)}
    counts["recomputed"] = saved_bytes(lambda: ours(again), again.model)
    per_token = {name: round(count / tokens) for name, count in counts.items()}
    first, second = counts["peer"] / counts["ours"], counts["ours"] / counts["recomputed"]

    def window(side: Ours) -> float:
        start = time.perf_counter()
        for _ in range(3):
            ours(side).backward()
        return 3 / (time.perf_counter() - start)

    one, two = interleave(lambda: window(plain), lambda: window(again), windows=5)
    slower = float(torch.tensor(one).median() / torch.tensor(two).median())
    print(f"RATIO activations_peer_over_ours={first:.2f} floor=1.6 goal=2.0 {'PASS' if first >= 1.6 else 'FAIL'}")
    verdict = "PASS" if second >= 4 and slower <= 1.35 else "FAIL"
    print(f"RATIO recompute_memory={second:.2f} time={slower:.2f} floor=4 goal=6 at 1.3 {verdict}")
    print(json.dumps({"name": "memory", "bytes_per_token": per_token, "length": given.length} | machine()))


if __name__ == "__main__":
    main()
