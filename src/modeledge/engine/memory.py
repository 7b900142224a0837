"""Memory: what a pass holds for its backward, the most a process has had, and what the C library does with freed
blocks: a training step asks for the same large ones again and again."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings: man mallopt."""


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next step instead of handing them back; whether it could be asked.

    Otherwise activations and gradients are new pages in every step, each filled with zeros by the kernel: 7 % of the
    time of a BERT-mini step (`bench/allocator.py`)."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    most = {TRIM_THRESHOLD: 2**31 - 1, MMAP_THRESHOLD: 2**25}  # bytes, the largest glibc takes
    return all([mallopt(name, size) for name, size in most.items()])


class Held:
    """Counts the bytes that the forward passes inside it hold for their backward: storages kept by autograd, each once,
    the model's own weights aside.

    with Held(model) as held:
        loss = model(batch)
    held.bytes"""

    def __init__(self, model: nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
        self.own = {x.untyped_storage().data_ptr() for x in tensors}
        self.found: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda x: x)

    def _note(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in self.own:
            self.found[storage.data_ptr()] = storage.nbytes()
        return x.detach()  # a result that its own node holds would be a circle nobody can break

    @property
    def bytes(self) -> int:
        """Bytes held so far."""
        return sum(self.found.values())

    def __enter__(self) -> Held:
        self.hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hooks.__exit__(kind, error, trace)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has had: of the GPU, or resident on the host; 0 where it cannot be asked."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside it and still there: `most` is the peak. Not counted: what a
    kernel needs for itself, and what an allocator wastes."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most = 0, 0
        self.there: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._note(x.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self.there:
            self.there.add(id(storage))
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, id(storage), storage.nbytes())

    def _gone(self, name: int, size: int) -> None:
        self.there.discard(name)
        self.now -= size


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device: of the GPU, or what the host could give a new program."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
