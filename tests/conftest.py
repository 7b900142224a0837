"""What all tests share: seeds, threads, where the real data lies, and what a marker needs of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # an oracle must come from the machine, never from the net
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    """Every test starts from the same seed, alone or among others."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> None:
    """Workers of xdist share the cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """data("en/trec.train.parquet"): a file of the folder that $MODELEDGE_DATA names; skips where it is absent."""

    def find(name: str) -> Path:
        folder = os.environ.get("MODELEDGE_DATA")
        if not folder:
            pytest.skip("needs real data: set MODELEDGE_DATA to the data folder")
        file = Path(folder) / name
        if not file.exists():
            pytest.skip(f"needs {name} in {folder}")
        return file

    return find


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked gpu skip where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """command("pretrain", ...) -> (exit code, what was printed, what was complained about); no traceback ever."""
    from modeledge import cli

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modeledge", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        return code, said.out, said.err

    return call
