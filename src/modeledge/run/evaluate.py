"""Losses and metrics on held-out rows, the same rows and masks every time."""

from __future__ import annotations

import math

import torch

from modeledge.core import seed_of
from modeledge.data.facts import bytes_a_token
from modeledge.engine.device import compute_in, set_seed
from modeledge.run.feed import Feed
from modeledge.run.model import Model
from modeledge.run.signals import Stop


@torch.no_grad()
def evaluate(
    model: Model, feed: Feed, *, batches: int, device: torch.device, precision: str, stop: Stop | None = None
) -> dict[str, float]:
    """Mean of every loss (nats per target) and metric over up to `batches` held-out batches; {} if asked to stop.
    Language models have `bits_per_byte` too, which compares those of different tokenizers on the same text.

    Leaves the model in evaluation mode."""
    model.eval()
    sums: dict[str, list[float]] = {}
    source_rows = max(len(s) for s in feed.sources.values())
    for number in range(min(batches, -(-source_rows // feed.batch))):
        if stop is not None and stop.asked:
            return {}
        set_seed(seed_of(feed.seed, "valid", number), device)
        for work in feed.step(number).works:
            for micro in work.micros:
                batch = micro.tensors(device)
                with compute_in(precision, device):
                    found = model.judge(work.names, batch)
                told = torch.stack([torch.stack([v.total.float(), v.count.float()]) for v in found.values()])
                for name, (total, count) in zip(found, told.tolist(), strict=True):  # the device is waited for once
                    before = sums.get(name, [0.0, 0.0])
                    sums[name] = [before[0] + total, before[1] + count]
    means = {name: total / max(count, 1) for name, (total, count) in sums.items()}
    for name, objective in feed.objectives.items():
        source = feed.sources[feed.source_of(name)]
        size = bytes_a_token(source.store) if objective.all_tokens and source.languages is None else None
        if size and (loss := means.get(objective.losses[0])) is not None:
            means[f"{name}.bits_per_byte"] = loss / math.log(2) / size
    return means
