"""Records from columnar files: parquet, and a folder written by `datasets.Dataset.save_to_disk` (Arrow)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeledge.core import DataError
from modeledge.data.readers._record import Bad, Record, Wanted, check, require_columns

_ROWS = 512


def _arrow(file: Path) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DataError(f"{file}: reading this needs pyarrow\n  next: pip install 'modeledge[data]'") from None
    return pyarrow


def read_parquet(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """The rows of a parquet file, a few hundred at a time."""
    arrow = _arrow(file)
    import pyarrow.parquet as parquet

    size, row, seen = file.stat().st_size, 0, 0
    if not size:
        raise DataError(f"{file}: the file is empty")
    try:
        with parquet.ParquetFile(file, page_checksum_verification=True) as source:
            names = source.schema_arrow.names
            require_columns(str(file), names, wanted)
            total = max(source.metadata.num_rows, 1)
            for batch in source.iter_batches(_ROWS, columns=[n for n in wanted.columns if n in names]):
                yield from _rows(batch, wanted, str(file), row)
                row += batch.num_rows
                tally["read"] += size * row // total - seen
                seen = size * row // total
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{file}: damaged parquet, after row {row}: {_first(error)}") from None


def read_arrow(file: Path, wanted: Wanted, tally: Counter[str]) -> Iterator[Record | Bad]:
    """The rows of a `datasets` folder, part by part in the order its state.json gives."""
    arrow = _arrow(file)
    try:
        state = json.loads((file / "state.json").read_text(encoding="utf-8"))
        parts = [file / Path(part["filename"]).name for part in state["_data_files"]]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{file}/state.json: damaged: {error}") from None
    if state.get("_indices_data_files"):
        raise DataError(f"{file}: a datasets folder with an indices mapping; call flatten_indices() before saving it")
    row = 0
    for part in parts:
        try:
            with arrow.memory_map(str(part)) as source, arrow.ipc.open_stream(source) as stream:
                require_columns(str(file), stream.schema.names, wanted)
                columns = [n for n in wanted.columns if n in stream.schema.names]
                for batch in stream:
                    for begin in range(0, batch.num_rows, _ROWS):
                        yield from _rows(batch.select(columns).slice(begin, _ROWS), wanted, str(file), row + begin)
                    row += batch.num_rows
            tally["read"] += part.stat().st_size
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{part}: damaged Arrow file, after row {row}: {_first(error)}") from None


def _rows(batch: Any, wanted: Wanted, file: str, before: int) -> Iterator[Record | Bad]:
    for nth, value in enumerate(batch.to_pylist(), start=before + 1):
        yield check(value, wanted, file, nth, -1)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
