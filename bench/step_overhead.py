"""G13: what the loop costs besides the model: the time of each step that is spent outside of it, in milliseconds.

    python bench/step_overhead.py --text FILE.parquet

A BERT of two layers of width 32 on rows of 16 tokens, two rows a step, against the Trainer in its tuned form. What is
the model's own is timed where it happens, on both sides alike: the forward pass, the backward pass, the step of fused
AdamW and the dropping of gradients. The rest of the step is the loop's: data, seeds, schedules, norms, clipping, logs.
Both come from the same step, so a machine that is slower for a while is so for both (a loop less a bare step measured
after it is a small difference of two large times, and was between -3 and 13 times on a noisy machine). A window's
figure is the lower quartile over its steps: what disturbs a step only adds to it. The whole steps are compared as well
(`steps=`)."""

from __future__ import annotations

import argparse
import functools
import logging
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio
from torch import nn

from modeledge.data.store import Store
from modeledge.run.ahead import Taken
from modeledge.run.feed import Step
from modeledge.run.loop import Position
from modeledge.run.signals import Stop

LENGTH, BATCH, WIDTH = 16, 2, 32
OWN = (
    (torch.Tensor, "backward"),
    (torch.optim.AdamW, "step"),
    (torch.optim.Optimizer, "zero_grad"),
    (nn.Module, "zero_grad"),
)
"""What belongs to a model and its optimizer, besides the forward pass."""


class Watch:
    """What the steps of a loop took, and how much of each was spent in the model and its optimizer."""

    def __init__(self):
        self.own, self.open, self.at = 0.0, False, time.perf_counter()
        self.whole: list[float] = []
        self.rest: list[float] = []

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, its time counted as the model's; a call from within another one is counted once."""

        @functools.wraps(call)
        def watched(*given: Any, **named: Any) -> Any:
            if self.open:
                return call(*given, **named)
            self.open, begun = True, time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.own += time.perf_counter() - begun
                self.open = False

        return watched

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Time what belongs to the model as long as this is open."""
        with ExitStack() as stack:
            for owner, name in OWN:
                stack.enter_context(mock.patch.object(owner, name, self.timed(getattr(owner, name))))
            yield self

    def tick(self) -> None:
        """A step has ended; the first one, which begins somewhere, does not count."""
        now = time.perf_counter()
        self.whole.append(now - self.at)
        self.rest.append(now - self.at - self.own)
        self.own, self.at = 0.0, now

    def usual(self) -> tuple[float, float]:
        """Seconds of an undisturbed step, and of what its loop takes of it."""
        return float(np.quantile(self.whole[1:], 0.25)), float(np.quantile(self.rest[1:], 0.25))


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

    def loop(self, steps: int) -> tuple[float, float]:
        """Seconds of a step of Trainer.train(), and of its loop's part."""
        from transformers import Trainer, TrainerCallback, TrainingArguments

        class Clock(TrainerCallback):
            def on_step_end(self, *_: object, **__: object) -> None:
                watch.tick()

        with tempfile.TemporaryDirectory() as folder, Watch().watching() as watch:
            arguments = TrainingArguments(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, use_cpu=True,
                report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
                optim="adamw_torch_fused", logging_nan_inf_filter=False,
            )  # fmt: skip
            with mock.patch.object(self.model, "forward", watch.timed(self.model.forward)):
                Trainer(
                    model=self.model, args=arguments, train_dataset=self.rows, data_collator=self.collator,
                    callbacks=[Clock()],
                ).train()  # fmt: skip
        return watch.usual()


class Mine:
    """The whole loop of a stage."""

    def __init__(self, store: Store, sets: list[str]):
        self.ours = Ours(store, "bert", size="tiny", sets=sets)

    def loop(self, steps: int) -> tuple[float, float]:
        """Seconds of a step of Trainer.fit(), and of its loop's part."""
        trainer, left = self.ours.trainer, iter(range(steps))
        take = trainer.take
        trainer.position, trainer.total, trainer.stop = Position(), 10**6, Stop()

        def watched(step: Step) -> Taken | None:
            watch.tick()
            trainer.stop.asked = 0 if next(left, None) is not None else signal.SIGINT
            return take(step)

        with Watch().watching() as watch, mock.patch.object(trainer, "take", watched):
            with mock.patch.object(trainer, "net", watch.timed(trainer.net)):
                trainer.fit()
        return watch.usual()


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
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}

        def loops(name: str) -> float:
            times[name].append(sides[name].loop(given.steps))
            return 1 / times[name][-1][1]

        one, two = interleave(lambda: loops("ours"), lambda: loops("peer"), windows=given.windows)
    (whole, rest), (theirs, besides) = (np.median(times[name][-given.windows :], axis=0) * 1e3 for name in sides)
    print(f"overhead of a step: {rest:.2f} of {whole:.2f} ms, of the Trainer's {besides:.2f} of {theirs:.2f} ms")
    ratio("step_overhead", one, two, floor=3, goal=6, unit="1/s", steps=round(float(theirs / whole), 2))


if __name__ == "__main__":
    main()
