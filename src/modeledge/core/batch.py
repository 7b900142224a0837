"""A batch: named arrays whose first dimension is the row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

IGNORE = -100
"""A label that is not a target; torch's own default for `ignore_index`."""


class Batch(dict[str, Any]):
    """Named arrays, numpy in the loader and tensors in the model; fields read as attributes.

    Every field's first dimension is the row, so a batch can be cut into micro-batches and shares of ranks.
    Field names in use: docs/architecture.md."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this batch has no field {name!r}; it has {', '.join(self)}") from None

    @property
    def size(self) -> int:
        """How many rows."""
        return len(next(iter(self.values())))

    def but(self, **fields: Any) -> Batch:
        """A copy with some fields replaced or added; a field given as None is dropped."""
        merged = {**self, **fields}
        return Batch({k: v for k, v in merged.items() if v is not None})

    def rows(self, index: slice | np.ndarray) -> Batch:
        """The chosen rows of every field."""
        return Batch({k: v[index] for k, v in self.items()})

    def tensors(self, device: torch.device | str = "cpu") -> Batch:
        """The same batch as tensors; integers become int64 on the device, booleans and floats stay as they are."""
        import torch

        out = Batch()
        for name, value in self.items():
            tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(value))
            tensor = tensor.to(device, non_blocking=True)
            narrow = tensor.dtype in (torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32)
            out[name] = tensor.long() if narrow else tensor
        return out
