"""What is remembered of the rows before: in one process and in two."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.distributed as dist

from modeledge.objectives._memory import Memory


def noted(rows: slice, *, micro: int) -> Memory:
    """A memory of 4 rows after three steps, of which this process sees `rows`."""
    memory = Memory(4, 2, 5, 3, saved=True)
    for step in range(3):
        new = (
            torch.arange(4.0)[:, None, None, None]
            + 10 * step
            + torch.arange(2.0)[:, None] / 10
            + torch.zeros(4, 2, 2, 3)
        )
        for begin in range(rows.start, rows.stop, micro):
            place = torch.arange(begin, begin + micro)
            before = memory.read(place, torch.full((micro,), step == 0))
            memory.note(place, before, new[begin : begin + micro], torch.full((micro,), 2))
        memory.settle()
    return memory


def test_the_newest_places_stand_last_and_the_oldest_fall_out():
    memory = noted(slice(0, 4), micro=4)
    assert memory.filled.tolist() == [5] * 4
    assert memory.states[3, 0, :, 0].tolist() == pytest.approx([3.1, 13.0, 13.1, 23.0, 23.1])  # place 1 of step 0, ...


def test_nothing_is_remembered_before_the_step_is_applied():
    memory = Memory(2, 1, 4, 1, saved=True)
    before = memory.read(torch.arange(2), None)
    memory.note(torch.arange(2), before, torch.ones(2, 1, 2, 1), torch.full((2,), 2))
    assert memory.filled.tolist() == [0, 0] and memory.states.sum() == 0
    memory.settle()
    assert memory.filled.tolist() == [2, 2] and memory.states.sum() == 4


def half(rank, port, folder):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(noted(slice(2 * rank, 2 * rank + 2), micro=1).state_dict(), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.multi
@pytest.mark.slow
def test_every_process_remembers_all_rows(tmp_path, spawn_two):
    spawn_two(half)
    whole = noted(slice(0, 4), micro=2).state_dict()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert all(torch.equal(whole[n], found[n]) for n in whole)
