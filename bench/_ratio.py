"""Two sides measured in turns in one process, and the ratio with its interval.

Every bench prints `RATIO name=x [lo,hi] floor= goal= PASS|FAIL` and one JSON line with versions and machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np

Side = Callable[[], float]
"""Runs one window and returns its rate (units a second)."""


def interleave(ours: Side, peer: Side, *, windows: int = 7, discard: int = 2) -> tuple[list[float], list[float]]:
    """Rates of both sides, A B A B ...; the first `discard` windows of each are warm-up."""
    a, b = [], []
    for i in range(windows + discard):
        for side, into in ((ours, a), (peer, b)):
            rate = side()
            if i >= discard:
                into.append(rate)
    return a, b


def ratio(
    name: str, ours: list[float], peer: list[float], *, floor: float, goal: float, unit: str, **facts: object
) -> dict:
    """Print and return the median of the paired ratios with a 95 % bootstrap interval."""
    each = np.array(ours) / np.array(peer)
    draws = np.random.default_rng(0).choice(each, size=(2000, len(each)))
    lo, hi = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    x = float(np.median(each))
    verdict = "PASS" if lo >= floor else "FAIL"
    print(f"RATIO {name}={x:.2f} [{lo:.2f},{hi:.2f}] floor={floor} goal={goal} {verdict}")
    record = {
        "name": name,
        "ratio": round(x, 3),
        "interval": [round(float(lo), 3), round(float(hi), 3)],
        "floor": floor,
        "goal": goal,
        "ours": round(statistics.median(ours), 1),
        "peer": round(statistics.median(peer), 1),
        "unit": unit,
        **facts,
        **machine(),
    }
    print(json.dumps(record))
    return record


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    flags = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    known = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags.split()]
    versions = {}
    for package in ("torch", "transformers", "numpy", "tokenizers", "datasets"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    import torch

    return {
        "versions": versions,
        "python": platform.python_version(),
        "cpu_flags": known,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
    }
