"""Two processes against one."""

from __future__ import annotations

import socket
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

from modeledge.losses.contrastive import symmetric_info_nce
from modeledge.objectives._gather import gather

ROWS = 6


def towers():
    torch.manual_seed(0)
    return nn.ModuleDict({"image": nn.Linear(5, 4), "text": nn.Linear(3, 4)}), nn.Parameter(torch.tensor(1.5))


def inputs():
    g = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, 5, generator=g), torch.randn(ROWS, 3, generator=g)


def step(image_in, text_in):
    """The summed loss of these rows and the gradient of every parameter."""
    model, log_scale = towers()
    image = F.normalize(model["image"](image_in), dim=1)
    text = F.normalize(model["text"](text_in), dim=1)
    (all_image, first), (all_text, _) = gather(image), gather(text)
    places = torch.arange(len(image)) + first
    loss = symmetric_info_nce(image, text, places, scale=log_scale.exp(), all_left=all_image, all_right=all_text)
    loss.total.backward()
    return loss, [p.grad for p in (*model.parameters(), log_scale)]


def one_of_two(rank, port, folder):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    half = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    loss, grads = step(*(x[half] for x in inputs()))
    for value in (loss.total.detach(), loss.count, *grads):
        dist.all_reduce(value)
    if rank == 0:
        torch.save([loss.total.detach(), loss.count, *grads], folder / "sums.pt")
    dist.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.multi
@pytest.mark.slow
def test_two_processes_give_the_loss_and_the_gradients_of_one(tmp_path: Path):
    mp.spawn(one_of_two, args=(free_port(), tmp_path), nprocs=2)
    total, count, *grads = torch.load(tmp_path / "sums.pt")
    alone, wanted = step(*inputs())
    assert count == alone.count == ROWS
    torch.testing.assert_close(total, alone.total.detach(), atol=1e-6, rtol=1e-6)
    for got, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_alone_the_rows_are_returned_as_they_are():
    rows = torch.randn(3, 2)
    assert gather(rows) == (rows, 0)
