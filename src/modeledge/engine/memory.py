"""What the C library does with freed memory: a training step asks for the same large blocks again and again."""

from __future__ import annotations

import ctypes
import platform

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
