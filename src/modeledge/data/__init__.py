"""Data: raw files to a store (prepare), a store opened by mmap (store), a store cut into rows (sources).

It knows nothing of objectives and models, and draws no order: rows are numbered, whoever reads shuffles the numbers."""

from modeledge.data.facts import facts_of
from modeledge.data.store import Store, StoreWriter

__all__ = ["Store", "StoreWriter", "facts_of"]
