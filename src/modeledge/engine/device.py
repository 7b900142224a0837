"""Which device, and which precision pays on it: decided by a short measurement, once, and then written into the run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import cache

import torch

from modeledge.core import InputError


def choose_device(wanted: str = "auto", *, local: int = 0) -> torch.device:
    """cpu, cuda or the best there is. Raises InputError for a device this machine does not have."""
    there = torch.cuda.is_available()
    if wanted == "auto":
        return torch.device("cuda", local) if there else torch.device("cpu")
    if wanted not in ("cpu", "cuda"):
        raise InputError(f"--device: no device named {wanted!r}\n  known: auto, cpu, cuda")
    if wanted == "cuda" and not there:
        raise InputError(
            "--device cuda: this machine has no CUDA device that torch can use\n"
            "  next: run with --device cpu, or install a CUDA build of torch; `modeledge doctor` shows what is there"
        )
    return torch.device("cuda", local) if wanted == "cuda" else torch.device("cpu")


def set_seed(seed: int, device: torch.device) -> None:
    """Start torch's own generators of this device from `seed` (63 bits). Every step does it, and `torch.manual_seed`
    would look at every other kind of device too, which takes longer than a small layer."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The best of four times."""
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


NARROW = 64
"""Width of a model from which on bf16 is tried on a CPU."""


def choose_precision(wanted: str, device: torch.device, *, width: int) -> tuple[str, float]:
    """The precision to compute in, and how many times faster bf16 matrix products were here (0: not measured).

    auto: bf16 where a product of the model's width is at least 1.2 times faster than in fp32. Of a model narrower than
    64 the casts cost what the products save, and a measurement says now this, now that: fp32."""
    if wanted != "auto":
        return wanted, 0.0
    if device.type == "cuda":
        return ("bf16" if torch.cuda.is_bf16_supported() else "fp32"), 0.0
    if width < NARROW:
        return "fp32", 0.0
    gain = bf16_gain(width)
    return ("bf16" if gain >= 1.2 else "fp32"), gain


@cache
def bf16_gain(width: int) -> float:
    """How many times faster than fp32 bf16 products of this width are on this CPU; found out once, so that the seeds of
    one fine-tuning and the arms of one comparison are computed alike."""
    device, a, b = torch.device("cpu"), torch.randn(1024, width), torch.randn(width, 4 * width)
    half_a, half_b = a.bfloat16(), b.bfloat16()
    with torch.no_grad():
        return seconds(lambda: a @ b, device) / seconds(lambda: half_a @ half_b, device)


def product_rate(precision: str, device: torch.device, *, width: int) -> float:
    """Operations a second (multiply-add = 2) of matrix products of a model's width here, to hold a step against."""
    rows = 1024 if device.type == "cpu" else 16384
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a, b = (torch.randn(*shape, device=device).to(dtype) for shape in ((rows, width), (width, 4 * width)))
    with torch.no_grad():
        return 2 * rows * width * 4 * width / seconds(lambda: a @ b, device)


def compute_in(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context of a forward pass: matrix products in the precision, sums and losses in fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype)


def scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:  # type: ignore[name-defined]
    """Dynamic loss scaling for fp16; does nothing in any other precision."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")  # type: ignore[attr-defined]
