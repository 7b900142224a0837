"""G1: masked language modelling on a CPU, real tokens a second, against the Hugging Face Trainer on the same text.

    python bench/cpu_mlm.py --text FILE.parquet [--peer default|tuned] [--lengths natural|full] [--size mini]

Both sides train a BERT of the same size with the same tokenizer and batch; windows are interleaved in one process. An
equality gate comes first: the same weights on the same masked batch give the same loss within 1e-3.

natural  one paragraph an example, at most 128 tokens: the peer pads, we pack whole sentences into full rows
full     both sides get rows of exactly 128 tokens"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio

from modeledge.interop import to_hf
from modeledge.run.checkpoint import own_tensors
from modeledge.run.keep import facts_to_json

LENGTH = 128


class Peer:
    """transformers.Trainer; a window is a `train` call of so many steps on a slice of the data.

    length: tokens a row at most; compiled: whether the peer compiles its model too."""

    def __init__(
        self, texts: list[str], folder: Path, config: dict, *, batch: int, full: bool, tuned: bool,
        length: int = LENGTH, device: str = "cpu", compiled: bool = False,
    ):  # fmt: skip
        from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        drop = 0.0 if tuned else 0.1
        self.config = BertConfig(**config, hidden_dropout_prob=drop, attention_probs_dropout_prob=drop)
        self.model = BertForMaskedLM(self.config)
        encode = self.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        if full:
            flat = np.concatenate([np.array(e) for e in encode])
            encode = [r.tolist() for r in flat[: len(flat) // length * length].reshape(-1, length)]
        self.rows, self.batch, self.tuned, self.place = encode, batch, tuned, 0
        self.cpu, self.compiled = device == "cpu", compiled
        self.collator = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=0.15)

    def __call__(self, steps: int) -> float:
        from transformers import Trainer, TrainingArguments

        size = steps * self.batch
        at = [(self.place + i) % len(self.rows) for i in range(size)]
        self.place += size
        rows = [{"input_ids": self.rows[i]} for i in at]
        tokens = sum(len(r["input_ids"]) for r in rows)
        extra = (
            {
                "optim": "adamw_torch_fused",
                "logging_nan_inf_filter": False,
                "dataloader_num_workers": 1 if self.cpu else 8,
            }
            if self.tuned
            else {}
        )
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=self.batch, bf16=True, use_cpu=self.cpu,
                learning_rate=1e-3, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
                torch_compile=self.compiled, **extra,
            )  # fmt: skip
            trainer = Trainer(model=self.model, args=arguments, train_dataset=rows, data_collator=self.collator)
            begun = time.perf_counter()
            trainer.train()
            return tokens / (time.perf_counter() - begun)


def gate(ours: Ours, peer: Peer) -> float:
    """The difference of the losses of both models with the same weights on the same masked batch, in fp32."""
    tree = {"backbone": ours.trainer.recipe.backbone.model_dump(), "objectives": [{"kind": "mlm"}]}
    _, weights = to_hf(tree, own_tensors(ours.model), facts_to_json(ours.facts), model_type="bert")
    left = peer.model.load_state_dict(weights, strict=False)
    assert all("pooler" in k for k in left.unexpected_keys), left  # ours has one, which no masked token uses
    assert all("decoder" in k for k in left.missing_keys), left  # tied
    batch = ours.feed.step(0).works[0].micros[0]
    device = next(ours.model.parameters()).device
    tensors = batch.tensors(device)
    ours.model.eval()
    peer.model.to(device).eval()
    with torch.no_grad():
        sums = ours.model(("mlm",), tensors)["mlm"]
        mask = tensors.valid if "valid" in tensors else torch.ones_like(tensors.ids)
        theirs = peer.model(input_ids=tensors.ids, attention_mask=mask, labels=tensors.labels).loss
    ours.model.train()
    peer.model.train()
    return abs(float(sums.total / sums.count) - float(theirs))


def main() -> None:
    """Parse, build both sides, check the gate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="a parquet file with a column `text`")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--peer", choices=["default", "tuned"], default="default")
    parser.add_argument("--lengths", choices=["natural", "full"], default="natural")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps in a window")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--paragraphs", type=int, default=20000)
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = paragraphs(given.text, given.paragraphs)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(texts, Path(folder), vocab=30522)
        sets = ["objectives=[{kind: mlm}]", f"loop.batch={given.batch}", "tokenizer.vocab=30522", "loop.precision=bf16"]
        sets.append(f"data.text={{kind: full_sentences, length: {LENGTH}}}")
        ours = Ours(store, "bert", size=given.size, sets=sets)
        sizes = ours.trainer.recipe.backbone
        config = {
            "vocab_size": ours.facts.vocab, "hidden_size": sizes.width, "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads, "intermediate_size": sizes.ffn.width,
        }  # fmt: skip
        full = given.lengths == "full"
        peer = Peer(texts, store.path, config, batch=given.batch, full=full, tuned=given.peer == "tuned")
        difference = gate(ours, peer)
        print(f"gate: same weights, same batch: losses differ by {difference:.1e}")
        assert difference < 1e-3, "the two sides do not compute the same loss"
        one, two = interleave(lambda: ours(given.steps), lambda: peer(given.steps), windows=given.windows)
    floor, goal = (4.5, 7.0) if given.lengths == "natural" else (2.5, 4.0)
    name = f"cpu_mlm_{given.lengths}_{given.peer}_{given.size}"
    ratio(name, one, two, floor=floor, goal=goal, unit="real tokens/s", gate=difference, batch=given.batch)


if __name__ == "__main__":
    main()
