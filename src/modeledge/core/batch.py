"""A batch: named arrays whose first dimension is the row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

IGNORE = -100
"""A label that is not a target; torch's own default for `ignore_index`."""


PER_TOKEN = frozenset(
    "ids valid doc segments positions inner word_starts sentence_starts special labels words chars passage_spans reach "
    "rank predicted entities entity_starts phrase_starts entity_labels branch anchor types order lang whole stream "
    "invented block relevant sentence marks capitals recurs chance shown copied readable marked behind_ids".split()
)
"""Fields that may have one entry a token, in the shape of `ids`."""


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

    def lengths(self) -> np.ndarray:
        """Tokens of each row up to the last that is not padding (of its longest text, where a row holds several)."""
        valid = np.asarray(self.valid)
        last = valid.shape[-1] - valid[..., ::-1].argmax(-1)
        return np.where(valid.any(-1), last, 0).reshape(len(valid), -1).max(1)

    def trim(self, multiple: int = 8) -> Batch:
        """Without the columns that are padding in every row, but for a multiple; without `valid` if none is left.

        The batch itself where nothing can be left out, or a field it does not know is as wide as the tokens."""
        if "valid" not in self:
            return self
        shape = self.valid.shape
        width = min(max(multiple, -(-int(self.lengths().max()) // multiple) * multiple), shape[-1])
        aligned = [k for k, v in self.items() if v.shape[: len(shape)] == shape]
        if width == shape[-1] or not PER_TOKEN.issuperset(aligned):
            return self
        cut = (slice(None),) * (len(shape) - 1) + (slice(width),)
        out = self.but(**{k: self[k][cut] for k in aligned})
        return out.but(valid=None) if out.valid.all() else out

    def tensors(self, device: torch.device | str = "cpu") -> Batch:
        """The same batch as tensors; integers become int64 on the device, booleans and floats stay as they are."""
        import torch

        out, device = Batch(), torch.device(device)
        narrow = (torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32)
        for name, value in self.items():
            tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(value))
            if tensor.device != device:
                if device.type == "cuda" and not tensor.is_cuda:
                    tensor = tensor.pin_memory()  # else the copy waits for the device
                tensor = tensor.to(device, non_blocking=True)
            out[name] = tensor.long() if tensor.dtype in narrow else tensor
        return out
