"""What objectives keep of a step is the same on every process, and evaluation asks no other process anything."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist

from modeledge.core import Batch, Facts, build, find, keyed

FACTS = Facts(vocab=40, special={"pad": 0, "cls": 1, "sep": 2, "mask": 3}, words=(4, 40))
BACKBONE = {"kind": "transformer", "width": 8, "layers": 1, "heads": 2, "ffn": {"kind": "mlp", "width": 16}}
KINDS = {"hictl": {"negatives": 20}, "guided_mlm": {"rate": 0.3}}


def rows(kind: str) -> Batch:
    """Six rows of one text, or of a pair of texts."""
    ids = keyed(kind).integers(4, 40, (6, 2, 9) if kind == "hictl" else (6, 9)).astype(np.int32)
    ids[..., 0], ids[..., -1] = 1, 2
    return Batch(ids=ids, valid=ids >= 0, special=ids < 4)


def told(kind: str, share: slice) -> dict[str, torch.Tensor]:
    """What three steps on this share of the rows leave behind; and the losses of all rows, held out."""
    torch.manual_seed(0)
    backbone = build("backbones", find("backbones", "transformer").Config.model_validate(BACKBONE), FACTS)
    config = find("objectives", kind).Config.model_validate({"kind": kind, **KINDS[kind]})
    objective = build("objectives", config, FACTS, backbone)
    for step in range(3):
        batch = objective.view(rows(kind), keyed(step)).rows(share)
        objective(backbone, objective.finish(batch).tensors())
        objective.after_step(step)
    batch = objective.eval().finish(objective.view(rows(kind), keyed("valid"))).tensors()
    found = objective(backbone, batch)
    return {n: x for n, x in objective.named_buffers()} | {n: x.total.detach() for n, x in found.items()}


def one_of_two(rank, port, folder):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for kind in KINDS:
        torch.save(told(kind, slice(3 * rank, 3 * rank + 3)), folder / f"{kind}{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.multi
@pytest.mark.slow
def test_two_processes_keep_and_judge_what_one_does(tmp_path, spawn_two):
    spawn_two(one_of_two)
    for kind in KINDS:
        whole, *halves = told(kind, slice(0, 6)), *(torch.load(tmp_path / f"{kind}{rank}.pt") for rank in (0, 1))
        for name, wanted in whole.items():
            assert torch.equal(halves[0][name], halves[1][name]), name
            torch.testing.assert_close(halves[0][name], wanted, rtol=1e-4, atol=1e-5)


def test_held_out_rows_ask_no_other_process(monkeypatch, lab):
    """One that has left, or not yet come, would be waited for."""

    def alone(rows):
        raise AssertionError("a process that evaluates waits for another")

    for module in ("hictl", "_memory"):
        monkeypatch.setattr(f"modeledge.objectives.{module}.gather", alone)
    told_none = lab.objective("hictl", lab.backbone(), negatives=20)
    pairs = keyed(0).integers(7, 50, (4, 2, 9))
    pairs = Batch(ids=pairs, valid=pairs > 0, special=pairs < 7)
    told_none(lab.backbone(), lab.ready(told_none, pairs, 0))
    backbone = lab.backbone("two_stream")
    objective = lab.objective("plm", backbone, memory=6)
    objective.prepare(4)
    for fresh in (True, False):
        batch = lab.rows(padded=False).but(fresh=np.full(4, fresh))
        objective(backbone, lab.ready(objective, batch, 0))
    assert (objective.held_out.filled == 6).all()
