"""G13: what the loop costs besides the arithmetic: steps a second of a model too small to compute anything.

    python bench/step_overhead.py --text FILE.parquet

A BERT of two layers of width 32 on rows of 16 tokens, two rows a step, against the Trainer in its tuned form."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio

LENGTH, BATCH, WIDTH = 16, 2, 32


class Peer:
    """transformers.Trainer on rows of token ids."""

    def __init__(self, texts: list[str], folder: Path):
        from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        flat = np.concatenate([np.array(e) for e in self.tokenizer(texts, add_special_tokens=False)["input_ids"]])
        rows = flat[: len(flat) // LENGTH * LENGTH].reshape(-1, LENGTH).tolist()
        self.rows = [{"input_ids": row} for row in rows]
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": WIDTH}
        drop = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        self.model = BertForMaskedLM(BertConfig(vocab_size=len(self.tokenizer), **sizes, **drop))
        self.collator = DataCollatorForLanguageModeling(self.tokenizer)

    def __call__(self, steps: int) -> float:
        from transformers import Trainer, TrainingArguments

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, use_cpu=True,
                report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
                optim="adamw_torch_fused", logging_nan_inf_filter=False,
            )  # fmt: skip
            trainer = Trainer(model=self.model, args=arguments, train_dataset=self.rows, data_collator=self.collator)
            begun = time.perf_counter()
            trainer.train()
            return steps / (time.perf_counter() - begun)


def main() -> None:
    """Both sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    texts = paragraphs(given.text, 2000)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(texts, Path(folder), vocab=1024)
        sets = [
            "objectives=[{kind: mlm}]", f"data.text={{kind: full_sentences, length: {LENGTH}}}", "loop.precision=fp32",
            f"backbone.width={WIDTH}", f"backbone.ffn.width={WIDTH}", f"loop.batch={BATCH}", "tokenizer.vocab=1024",
        ]  # fmt: skip
        ours = Ours(store, "bert", size="tiny", sets=sets)
        peer = Peer(texts, store.path)
        one, two = interleave(
            lambda: ours(given.steps) / (BATCH * LENGTH), lambda: peer(given.steps), windows=given.windows
        )
    ratio(
        "step_overhead", one, two, floor=3, goal=6, unit="steps/s", milliseconds=round(1e3 / float(np.median(one)), 3)
    )


if __name__ == "__main__":
    main()
