"""modeledge's own side of a bench: a store of some text, and the loop taken one window of steps at a time."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modeledge.core import find
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.engine.processes import ALONE
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.model import make_model
from modeledge.run.progress import Silent
from modeledge.run.stage import Job, Stage


def paragraphs(file: Path, limit: int) -> list[str]:
    """The first `limit` paragraphs of a parquet file's column `text`."""
    import pyarrow.parquet as pq

    texts = (p for t in pq.read_table(file, columns=["text"])["text"].to_pylist() for p in t.split("\n"))
    return list(itertools.islice((p.strip() for p in texts if len(p) > 20), limit))


def make_store(texts: list[str], folder: Path, *, kind: str = "wordpiece", vocab: int = 8192) -> Store:
    """A store of these texts, one document each, with a tokenizer trained on them."""
    file, out = folder / "text.jsonl", folder / "store"
    file.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    prepare([str(file)], out=out, tokenizer=find("tokenizers", kind).Config(kind=kind, vocab=vocab), valid_fraction=0.0)
    return Store.open(out)


class Ours:
    """A recipe on a store; calling it takes so many steps and returns real tokens (or rows) a second."""

    def __init__(
        self, store: Store, recipe: str, *, size: str | None = None, sets: Sequence[str] = (), device: str = "cpu"
    ):
        tree = resolve(recipe, size=size, sets=list(sets))
        checked = check(tree)
        job = Job(tree, dict.fromkeys(checked.data, store), None, progress=Silent())
        stage = Stage(job, checked, 0, device=torch.device(device), ranks=ALONE)
        self.known: dict[str, Any] = stage.decide() | {"steps": 10**6}
        self.recipe, self.facts = checked, stage.facts
        self.model = make_model(checked, stage.facts, seed=0)
        self.feed, _ = stage.feeds(self.model, self.known)
        self.trainer = stage.trainer(self.model, self.feed, None, self.known, None)
        self.model.train()
        self.steps = self.feed.steps(0, 10**6)

    def __call__(self, steps: int) -> float:
        start, tokens = time.perf_counter(), 0
        for step in itertools.islice(self.steps, steps):
            self.trainer.take(step)
            tokens += step.tokens
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return tokens / (time.perf_counter() - start)
