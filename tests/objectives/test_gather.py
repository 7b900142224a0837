"""Two processes against one."""

from __future__ import annotations

import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from modeledge.backbones.dual import Dual
from modeledge.core import Batch, Facts
from modeledge.objectives._gather import gather
from modeledge.objectives.contrast import Contrast, keys

ROWS = 6
FACTS = Facts(vocab=20, special={"pad": 0, "bos": 1, "eos": 2}, words=(3, 20), image=(4, 4, 3))
COMMON = {"kind": "transformer", "width": 8, "layers": 1, "heads": 2, "join": "pre"}
TOWERS = {
    "text": {**COMMON, "pool": "last", "positions": {"kind": "learned", "max": 5}},
    "image": {**COMMON, "pool": "cls", "positions": "grid", "embedding": {"kind": "patches", "patch": 2, "size": 4}},
}


def inputs():
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 20, (ROWS, 5))
    ids[:, -1] = 2
    ids[4] = ids[1]  # the same text in both processes
    image = rng.integers(0, 256, (ROWS, 4, 4, 3), dtype=np.uint8)
    return Batch(image=image, ids=ids, text_key=keys(ids), image_key=keys(image))


def step(batch, positives):
    """The summed loss of these rows and the gradient of every parameter."""
    torch.manual_seed(0)
    model = Dual(Dual.Config(kind="dual", width=8, towers=TOWERS), FACTS)
    objective = Contrast(Contrast.Config(kind="contrast", positives=positives), FACTS, model)
    loss = objective(model, batch.tensors())["contrast"]
    loss.total.backward()
    return loss, [p.grad for p in (*model.parameters(), *objective.parameters())]


def one_of_two(rank, port, folder):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    half = inputs().rows(slice(rank * ROWS // 2, (rank + 1) * ROWS // 2))
    for positives in ("own", "same"):
        loss, grads = step(half, positives)
        sums = [loss.total.detach(), loss.count, *grads]
        for value in sums:
            dist.all_reduce(value)
        if rank == 0:
            torch.save(sums, folder / f"{positives}.pt")
    dist.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.multi
@pytest.mark.slow
def test_two_processes_give_the_loss_and_the_gradients_of_one(tmp_path: Path):
    mp.spawn(one_of_two, args=(free_port(), tmp_path), nprocs=2)
    for positives in ("own", "same"):
        total, count, *grads = torch.load(tmp_path / f"{positives}.pt")
        alone, wanted = step(inputs(), positives)
        assert count == alone.count == ROWS
        torch.testing.assert_close(total, alone.total.detach(), atol=1e-5, rtol=1e-6)
        for got, want in zip(grads, wanted, strict=True):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_alone_the_rows_are_returned_as_they_are():
    rows = torch.randn(3, 2)
    assert gather(rows) == (rows, 0)
