"""Write one text after another, with a causal model: the loss is on the second text alone.

Source: text-to-text form for decoders without an encoder, as GPT-2's zero-shot prompts continued in training. Not here:
encoder-decoders (seq2seq.py)."""

from __future__ import annotations

import numpy as np

from modeledge.core import IGNORE, Batch
from modeledge.objectives.clm import CausalLM
from modeledge.views.arrange.shift import next_tokens


class Complete(CausalLM):
    """Reads `ids` with `target_ids` and `target_valid`, which are put behind them; the prompt is no target."""

    all_tokens = False

    class Config(CausalLM.Config):
        """As clm."""

    needs = ("ids", "target_ids")

    def view(self, batch: Batch, rng: np.random.Generator) -> Batch:
        ids, valid, asked = follow(batch, pad=self.facts.pad)
        labels = next_tokens(ids, valid=valid)
        labels[:, :-1][~asked[:, 1:]] = IGNORE
        dropped = dict.fromkeys(("target_ids", "target_valid", "segments", "special", "word_starts"))
        return batch.but(**dropped, ids=ids, valid=valid, labels=labels)


def follow(batch: Batch, *, pad: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row's target right behind its last token: (ids, what is not padding, what is target), each b t."""
    first = batch.valid if "valid" in batch else np.ones(batch.ids.shape, bool)
    both = np.concatenate([batch.ids, batch.target_ids], axis=1)
    kept = np.concatenate([first, batch.target_valid], axis=1)
    order = np.argsort(~kept, axis=1, kind="stable")[:, : int(kept.sum(1).max())]
    target = np.arange(both.shape[1]) >= batch.ids.shape[1]
    valid = np.take_along_axis(kept, order, 1)
    asked = target[order] & valid
    return np.where(valid, np.take_along_axis(both, order, 1), pad), valid, asked
