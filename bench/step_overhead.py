"""G13: what the loop costs besides the model: a step of the whole loop less a bare one, in milliseconds.

    python bench/step_overhead.py --text FILE.parquet

A BERT of two layers of width 32 on rows of 16 tokens, two rows a step, against the Trainer in its tuned form. A bare
step is the side's own model and optimizer on one batch that is ready: forward, backward, fused AdamW, gradients
dropped. Times are lower quartiles over the steps of a window: what disturbs a step only adds to it. The whole steps
are compared as well (`steps=`)."""

from __future__ import annotations

import argparse
import logging
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio

from modeledge.data.store import Store
from modeledge.run.feed import Step
from modeledge.run.loop import Position
from modeledge.run.signals import Stop

LENGTH, BATCH, WIDTH = 16, 2, 32


def usual(at: list[float]) -> float:
    """Seconds of an undisturbed step that ended at these times."""
    return float(np.quantile(np.diff(at), 0.25))


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
        self.batch = self.collator(self.rows[:BATCH])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)

    def loop(self, steps: int) -> float:
        """Seconds of a step of Trainer.train()."""
        from transformers import Trainer, TrainerCallback, TrainingArguments

        class Clock(TrainerCallback):
            def __init__(self):
                self.at: list[float] = []

            def on_step_end(self, *_: object, **__: object) -> None:
                self.at.append(time.perf_counter())

        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, use_cpu=True,
                report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
                optim="adamw_torch_fused", logging_nan_inf_filter=False,
            )  # fmt: skip
            Trainer(
                model=self.model, args=arguments, train_dataset=self.rows, data_collator=self.collator,
                callbacks=[clock],
            ).train()  # fmt: skip
        return usual(clock.at)

    def bare(self) -> None:
        """One step of the model alone."""
        self.model(**self.batch).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Mine:
    """The whole loop of a stage, and its model alone."""

    def __init__(self, store: Store, sets: list[str]):
        self.ours = Ours(store, "bert", size="tiny", sets=sets)
        self.step = next(self.ours.steps)
        self.micro = self.step.works[0].micros[0].tensors(torch.device("cpu"))

    def loop(self, steps: int) -> float:
        """Seconds of a step of Trainer.fit()."""
        trainer, at = self.ours.trainer, []
        take = trainer.take
        trainer.position, trainer.total, trainer.stop = Position(), 10**6, Stop()

        def watched(step: Step) -> tuple[dict[str, float], float, bool] | None:
            at.append(time.perf_counter())
            trainer.stop.asked = signal.SIGINT if len(at) > steps else 0
            return take(step)

        trainer.take = watched  # type: ignore[method-assign]
        trainer.fit()
        trainer.take = take  # type: ignore[method-assign]
        return usual(at)

    def bare(self) -> None:
        """One step of the model alone."""
        trainer = self.ours.trainer
        sums = trainer.net(self.step.works[0].names, self.micro)
        trainer.combine(self.step.works[0].names, sums, self.step).backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)


def alone(bare: Callable[[], None], steps: int) -> float:
    """Seconds of a bare step."""
    at = [time.perf_counter()]
    for _ in range(steps):
        bare()
        at.append(time.perf_counter())
    return usual(at)


def main() -> None:
    """Both sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=11)
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
        sides = {"ours": Mine(store, sets), "peer": Peer(texts, store.path)}
        whole: dict[str, list[float]] = {name: [] for name in sides}
        cost: dict[str, list[float]] = {name: [] for name in sides}

        def overheads(name: str) -> float:
            side = sides[name]
            whole[name].append(side.loop(given.steps))
            cost[name].append(whole[name][-1] - alone(side.bare, given.steps))
            return 1 / cost[name][-1]

        one, two = interleave(lambda: overheads("ours"), lambda: overheads("peer"), windows=given.windows)
    median = {name: float(np.median(values[-given.windows :])) for name, values in cost.items()}
    steps = np.median(np.divide(whole["peer"][-given.windows :], whole["ours"][-given.windows :]))
    mine, theirs = (1e3 * median[name] for name in ("ours", "peer"))
    print(f"overhead of a step: {mine:.2f} ms, of the Trainer's {theirs:.2f} ms; steps={steps:.2f}")
    ratio("step_overhead", one, two, floor=3, goal=6, unit="1/s", steps=round(float(steps), 2))


if __name__ == "__main__":
    main()
