"""G4: from rows to what the model is given, tokens a second on one core, against the collators of transformers.

    python bench/data_view.py --text FILE.parquet [--view mlm words plm] [--lengths 128 512]

Both sides start from token ids in memory-mapped storage (our store; an Arrow data set) and end with tensors. The gate
compares the shares of predicted, hidden, exchanged and kept tokens."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio

from modeledge.data.store import Store

BATCH = 64
# recipe, settings (LENGTH stands for the tokens a row), floor, goal
VIEWS: dict[str, tuple[str, list[str], float, float]] = {
    "mlm": ("bert", ["objectives=[{kind: mlm}]"], 8, 20),
    "words": ("bert", ["objectives=[{kind: mlm, select: words, replace: [1.0, 0.0]}]"], 20, 50),
    "plm": (
        "xlnet",
        ["data.text.length=LENGTH", f"loop.batch={BATCH}", f"data.text.streams={BATCH}", "tokenizer.kind=wordpiece"],
        50,
        100,
    ),
}


class Theirs:
    """An Arrow data set of rows of equal length and a collator; a window is so many batches."""

    def __init__(self, texts: list[str], tokenizer_folder: Path, view: str, length: int):
        from datasets import Dataset
        from transformers import (
            AutoTokenizer,
            DataCollatorForLanguageModeling,
            DataCollatorForPermutationLanguageModeling,
        )

        self.length = length
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
        encoded = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=view == "words")
        columns: dict[str, Any] = {"input_ids": cut([np.array(e) for e in encoded["input_ids"]], length)}
        if view == "words":  # its whole-word mask needs the offsets
            columns["offset_mapping"] = cut([np.array(e).reshape(-1, 2) for e in encoded["offset_mapping"]], length)
        columns["special_tokens_mask"] = [[0] * length] * len(columns["input_ids"])
        self.rows = Dataset.from_dict(columns).shuffle(seed=0)
        self.place = 0
        if view == "plm":
            self.collate: Callable[..., Any] = DataCollatorForPermutationLanguageModeling(self.tokenizer)
            self.rows = self.rows.select_columns(["input_ids"])
        elif view == "words":
            self.collate = DataCollatorForLanguageModeling(
                self.tokenizer, whole_word_mask=True, mask_replace_prob=1.0, random_replace_prob=0.0
            )
        else:
            self.collate = DataCollatorForLanguageModeling(self.tokenizer)

    def batch(self) -> Any:
        """The next batch of the shuffled rows."""
        at = [(self.place + i) % len(self.rows) for i in range(BATCH)]
        self.place += BATCH
        return self.collate(self.rows.__getitems__(at))

    def __call__(self, batches: int) -> float:
        start = time.perf_counter()
        for _ in range(batches):
            self.batch()
        return batches * BATCH * self.length / (time.perf_counter() - start)


class Views:
    """Our side: rows of the store, the objective's view, tensors."""

    def __init__(self, ours: Ours):
        self.feed, self.number = ours.feed, 0

    def __call__(self, batches: int) -> float:
        start, tokens = time.perf_counter(), 0
        for _ in range(batches):
            step = self.feed.step(self.number)
            for micro in step.works[0].micros:
                micro.tensors()
            self.number += 1
            tokens += step.tokens
        return tokens / (time.perf_counter() - start)


def cut(pieces: list[np.ndarray], length: int) -> list[list[Any]]:
    """Everything end to end, in rows of `length`."""
    flat = np.concatenate(pieces)
    return flat[: len(flat) // length * length].reshape(-1, length, *flat.shape[1:]).tolist()


def shares(ids: torch.Tensor, labels: torch.Tensor, mask: int) -> np.ndarray:
    """Of all tokens, the predicted; of those, the hidden and the ones shown as they are."""
    chosen = labels >= 0
    hidden, same = (ids == mask)[chosen].float().mean(), (ids == labels)[chosen].float().mean()
    return np.array([float(chosen.float().mean()), float(hidden), float(same)])


def main() -> None:
    """Every view in turn, at every length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--view", nargs="*", choices=list(VIEWS), default=list(VIEWS))
    parser.add_argument("--lengths", nargs="*", type=int, default=[512])
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--batches", type=int, default=20)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    texts = paragraphs(given.text, 20000)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(texts, Path(folder), vocab=30522)
        for view, length in itertools.product(given.view, given.lengths):
            compare(texts, store, view, length, windows=given.windows, batches=given.batches)


def compare(texts: list[str], store: Store, view: str, length: int, *, windows: int, batches: int) -> None:
    """One view of rows of one length: the gate, then both sides in turns."""
    recipe, sets, floor, goal = VIEWS[view]
    sets = [s.replace("LENGTH", str(length)) for s in sets]
    rows = [f"data.text={{kind: full_sentences, length: {length}}}"] if view != "plm" else []
    ours = Ours(store, recipe, size="tiny", sets=[*sets, *rows, f"loop.batch={BATCH}", "loop.precision=fp32"])
    peer = Theirs(texts, store.path, view, length)
    facts: dict[str, object] = {"length": length}
    if view != "plm":
        step = ours.feed.step(0)
        whole = [torch.cat([torch.as_tensor(m[k]).flatten() for m in step.works[0].micros]) for k in ("ids", "labels")]
        mine = shares(*whole, ours.facts.special["mask"])  # type: ignore[arg-type]
        got = [peer.batch() for _ in range(8)]
        his = np.mean([shares(b["input_ids"], b["labels"], peer.tokenizer.mask_token_id) for b in got], axis=0)
        facts["gate"] = [mine.round(3).tolist(), his.round(3).tolist()]
        assert np.abs(mine - his).max() < 0.03, f"the two sides do not hide the same: {facts['gate']}"
    views = Views(ours)
    one, two = interleave(lambda: views(batches), lambda: peer(max(2, batches // 10)), windows=windows)
    ratio(f"data_view_{view}_{length}", one, two, floor=floor, goal=goal, unit="tokens/s on one core", **facts)


if __name__ == "__main__":
    main()
