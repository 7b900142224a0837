"""G5: text to a store on disk, megabytes a second, against `datasets.map` and saving; and against the tokenizer alone.

    python bench/tokenizing.py --text FILE.parquet [--processes 1]

The same tokenizer and as many processes on every side, and no threads of the tokenizer's own, which would take all
cores whatever the number of processes; a window is the whole text once."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from _ours import make_store, paragraphs
from _ratio import interleave, ratio

from modeledge.data.prepare import prepare
from modeledge.tokenizers import load_tokenizer


def main() -> None:
    """Three sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--paragraphs", type=int, default=20000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--windows", type=int, default=5)
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import datasets
    from datasets import load_dataset
    from tokenizers import Tokenizer

    datasets.disable_progress_bars()
    texts = paragraphs(given.text, given.paragraphs)
    size = sum(len(t.encode()) for t in texts) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = make_store(texts, folder, vocab=8192).path
        file, out, saved = folder / "lines.jsonl", folder / "ours", folder / "theirs"
        file.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        tokenizer, raw = load_tokenizer(home), Tokenizer.from_file(str(home / "tokenizer.json"))

        def ours() -> float:
            shutil.rmtree(out, ignore_errors=True)
            start = time.perf_counter()
            prepare([str(file)], out=out, tokenizer=tokenizer, processes=given.processes, valid_fraction=0.0)
            return size / (time.perf_counter() - start)

        def theirs() -> float:
            shutil.rmtree(saved, ignore_errors=True)
            shutil.rmtree(folder / "cache", ignore_errors=True)
            start = time.perf_counter()
            rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder / "cache"))
            rows = rows.map(
                lambda batch: {"input_ids": [e.ids for e in raw.encode_batch_fast(batch["text"])]},
                batched=True, remove_columns=["text"], num_proc=given.processes if given.processes > 1 else None,
            )  # fmt: skip
            rows.save_to_disk(str(saved))
            return size / (time.perf_counter() - start)

        def alone() -> float:
            start = time.perf_counter()
            for first in range(0, len(texts), 1000):
                raw.encode_batch_fast(texts[first : first + 1000])
            return size / (time.perf_counter() - start)

        one, two = interleave(ours, theirs, windows=given.windows, discard=1)
        ratio("store_over_datasets", one, two, floor=1.3, goal=2, unit="MB/s", processes=given.processes)
        one, two = interleave(ours, alone, windows=given.windows, discard=1)
        ratio("store_over_tokenizer_alone", one, two, floor=0.85, goal=0.92, unit="MB/s", processes=given.processes)


if __name__ == "__main__":
    main()
