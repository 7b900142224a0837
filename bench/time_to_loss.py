"""G3: in what share of its time one recipe reaches the held-out loss another ends at, on the same machine and data.

    python bench/time_to_loss.py modern bert --text FILES... [--size mini] [--budget 600] [--seeds 3] [--set KEY=VALUE]

The second recipe is trained for the budget (seconds). The first is trained for shares of it, its schedule fitted to
each, smallest first, until it ends at or below. Both are judged by the same masked loss: 15 % of the tokens of the same
held-out rows of 128, the same masks. `--set` goes to the first recipe (`--other` to the second), so one part can be
taken away. `trainer` as the second is BERT in the Trainer of transformers (G3b): the sizes, rate, warm-up, batch and
first weights of our `bert`, one loss (masked words), the same rows of whole sentences, masks of its own collator; its
time is that of `train` alone. Finished runs are kept in --out and not repeated; run it on a quiet machine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _ratio import machine

from modeledge.core import build, find
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import Mix, check
from modeledge.run.budget import parse_budget
from modeledge.run.contest import digest
from modeledge.run.evaluate import evaluate
from modeledge.run.feed import Feed
from modeledge.run.job import run_job
from modeledge.run.keep import load_model
from modeledge.run.known import facts_from
from modeledge.run.ledger import Ledger
from modeledge.run.port import import_model
from modeledge.run.progress import Silent
from modeledge.run.stage import Job

SHARES = (0.05, 0.067, 0.1, 0.125, 0.16, 0.2, 0.25, 0.33, 0.4, 0.5, 0.67, 0.8, 1.0)
LENGTH = 128


class Course:
    """One recipe with its overrides on one store."""

    def __init__(self, name: str, store: Store, out: Path, *, size: str, sets: list[str]):
        self.name, self.store, self.out, self.size, self.sets = name, store, out, size, sets
        self.ledger = Ledger(out / "cells.jsonl")

    def loss(self, seconds: float, seed: int) -> float:
        """The held-out loss at the end of a run of so many seconds."""
        key = {"recipe": self.name, "sets": self.sets, "size": self.size, "seconds": round(seconds), "seed": seed}
        known = self.ledger.find(**key)
        if known is None:
            run = self.out / "runs" / digest(*key.values())
            found = self.train(run, seconds, seed)
            known = self.ledger.add({"loss": judged(run, self.store)} | found, **key)
            print(f"{self.name} {' '.join(self.sets)} {seconds:.0f} s, seed {seed}: {known}", flush=True)
        return float(known["loss"])

    def train(self, run: Path, seconds: float, seed: int) -> dict[str, Any]:
        """Leave a model in `run`; what it took."""
        tree = resolve(self.name, size=self.size, sets=[*self.sets, f"loop.seed={seed}"])
        done = run_job(Job(tree, {"text": self.store}, run, parse_budget(f"{seconds:.0f}s"), progress=Silent()))
        position = done.result.position
        return {"steps": position.step, "tokens": position.tokens, "seconds": round(position.seconds, 1)}


def whole_rows(store: Store) -> list[dict[str, list[int]]]:
    """Whole sentences in rows of at most LENGTH tokens, as the Trainer likes its examples."""
    config = find("data.sources", "full_sentences").Config(kind="full_sentences", length=LENGTH)
    source = build("data.sources", config, store, facts_from({"text": store}), "train")
    batch = source.cut(np.arange(len(source)), np.random.default_rng(0))
    valid = batch.valid if "valid" in batch else np.ones_like(batch.ids, bool)
    return [{"input_ids": ids[real].tolist()} for ids, real in zip(batch.ids, valid, strict=True)]


class Trainer(Course):
    """BERT in the Trainer of transformers, for as many steps as the seconds buy."""

    def train(self, run: Path, seconds: float, seed: int) -> dict[str, Any]:
        from transformers import (
            AutoTokenizer,
            BertConfig,
            BertForMaskedLM,
            DataCollatorForLanguageModeling,
            TrainingArguments,
        )
        from transformers import Trainer as Theirs

        recipe, tokenizer = check(resolve("bert", size=self.size)), AutoTokenizer.from_pretrained(self.store.path)
        sizes, optim = recipe.backbone, recipe.optim
        torch.manual_seed(seed)
        model = BertForMaskedLM(BertConfig(
            vocab_size=facts_from({"text": self.store}).vocab, hidden_size=sizes.width, num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads, intermediate_size=sizes.ffn.width, hidden_dropout_prob=sizes.dropout,
            attention_probs_dropout_prob=sizes.attention.dropout, initializer_range=sizes.init.std,
            pad_token_id=tokenizer.pad_token_id,
        ))  # fmt: skip
        rows, collator = whole_rows(self.store), DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

        def take(steps: int) -> float:
            with tempfile.TemporaryDirectory() as folder:
                arguments = TrainingArguments(
                    output_dir=folder, max_steps=steps, per_device_train_batch_size=recipe.loop.batch, bf16=True,
                    use_cpu=True, learning_rate=optim.lr, warmup_steps=int(recipe.schedule.warmup * steps),
                    weight_decay=optim.weight_decay, adam_epsilon=optim.eps, max_grad_norm=recipe.loop.clip, seed=seed,
                    report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
                )  # fmt: skip
                trainer = Theirs(model=model, args=arguments, train_dataset=rows, data_collator=collator)
                begun = time.perf_counter()
                trainer.train()
                return time.perf_counter() - begun

        fresh = {name: value.clone() for name, value in model.state_dict().items()}
        take(3)
        steps = max(1, round(seconds / (take(15) / 15)))
        model.load_state_dict(fresh)
        spent = take(steps)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            import_model(folder, run)
        return {"steps": steps, "tokens": steps * recipe.loop.batch * LENGTH, "seconds": round(spent, 1)}


def judged(run: Path, store: Store) -> float:
    """The masked loss of a trained model on the common held-out rows, nats a token."""
    loaded = load_model(run)
    loaded.model.objectives["mlm"].config.__dict__.update(static=0, rate=0.15)  # the same masks for all
    config = find("data.sources", "full_sentences").Config(kind="full_sentences", length=LENGTH)
    rows = build("data.sources", config, store, loaded.facts, "valid")
    objectives = {"mlm": loaded.model.objectives["mlm"]}
    feed = Feed({"text": rows}, objectives, Mix(), batch=64, micro=32, seed=0, total=1, split="valid")  # type: ignore
    found = evaluate(loaded.model, feed, batches=32, device=torch.device("cpu"), precision="fp32")
    return found["mlm"]


def main() -> None:
    """The slow side first, then shares of its time for the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs=2, metavar="RECIPE")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--budget", type=float, default=600, help="seconds of the second recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--other", action="append", default=[])
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--out", type=Path, default=Path("results/time_to_loss"))
    given = parser.parse_args()
    home = given.out / "store"
    if not home.exists():
        tokenizer = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=8192)
        prepare([str(f) for f in given.text], out=home, tokenizer=tokenizer)
    store = Store.open(home)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    fast, slow = (
        (Trainer if name == "trainer" else Course)(name, store, given.out, size=given.size, sets=sets)
        for name, sets in zip(given.recipes, (given.sets, given.other), strict=True)
    )
    speedups, rows = [], []
    for seed in range(given.seeds):
        target = slow.loss(given.budget, seed)
        share = next((s for s in given.shares if fast.loss(s * given.budget, seed) <= target), float("inf"))
        speedups.append(1 / share)
        rows.append({"seed": seed, "target": round(target, 4), "share": share})
        print(f"seed {seed}: {given.recipes[0]} reaches {target:.4f} in {share} of the time", flush=True)
    names = "_over_".join(given.recipes)
    spread = f"[{min(speedups):.2f},{max(speedups):.2f}]"
    floor, goal = (4.0, 8.0) if isinstance(slow, Trainer) else (1.15, 1.4) if given.other else (1.8, 3.0)
    verdict = "PASS" if min(speedups) >= floor else "FAIL"
    print(f"RATIO time_to_loss_{names}={statistics.median(speedups):.2f} {spread} floor={floor} goal={goal} {verdict}")
    record = {
        "name": f"time_to_loss_{names}",
        "seconds": given.budget,
        "seeds": rows,
        "sets": given.sets,
        "other": given.other,
    }
    print(json.dumps(record | {"speedups": np.round(speedups, 2).tolist()} | machine()))


if __name__ == "__main__":
    main()
