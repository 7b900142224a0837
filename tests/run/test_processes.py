"""Two gloo processes against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.multi, pytest.mark.slow]


def launch(out, store, toy, size, *, sets=()):
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={size}", "--master-port=0"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"] if size > 1 else []
    command += ["-m", "modeledge", "pretrain", "bert", "--data", str(store), "--out", str(out), "-q"]
    for text in [*toy, "loop.steps=6", "backbone.dropout=0.0", "backbone.attention.dropout=0.0", "loop.micro=2", *sets]:
        command += ["--set", text]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]
    return [(r["loss"], r["norm"]) for r in records if "loss" in r]


@pytest.mark.parametrize(
    "sets", [(), ("data.text={kind: segment_pair, length: 32}", "objectives=[{kind: mlm}, {kind: nsp}]")]
)
def test_two_processes_give_the_loss_curve_of_one(text_store, toy, tmp_path, sets):
    one = launch(tmp_path / "one", text_store, toy, 1, sets=sets)
    two = launch(tmp_path / "two", text_store, toy, 2, sets=sets)
    assert len(one) == len(two) == 6
    for (a, norm_a), (b, norm_b) in zip(one, two, strict=True):
        assert b == pytest.approx(a, abs=1e-5) and norm_b == pytest.approx(norm_a, rel=1e-4)
