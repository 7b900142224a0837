"""Run a model over batches without touching it, and keep what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from modeledge.core import Batch


@contextmanager
def still(*modules: nn.Module) -> Iterator[None]:
    """No gradient, no dropout, no moving statistics; each module's own mode is put back afterwards."""
    modes = [[(part, part.training) for part in m.modules()] for m in modules]
    for m in modules:
        m.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for parts in modes:
            for part, mode in parts:
                part.training = mode


def collect(
    model: nn.Module, embed: Callable[[Batch], Tensor], batches: Iterable[Batch], *, label: str = "label"
) -> tuple[Tensor, np.ndarray]:
    """One vector a row (n d, fp32, in main memory) and the rows' labels; `model` is held still while `embed` runs.

    The batches are numpy or tensors; they go to the model's device here."""
    device = next(model.parameters()).device
    vectors: list[Tensor] = []
    labels: list[np.ndarray] = []
    with still(model):
        for batch in batches:
            batch = batch.tensors(device)
            vectors.append(embed(batch).float().cpu())
            labels.append(batch[label].cpu().numpy())
    return torch.cat(vectors), np.concatenate(labels)
