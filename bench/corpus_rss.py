"""G11: memory and first batch as the corpus grows: 10 MB, 1 GB, 10 GB of stored tokens.

    python bench/corpus_rss.py [--sizes 10 1000 10000]     (megabytes; the files are made in a temporary folder)

Each size is opened in two fresh processes, one after the other, which build a feed and take steps: the first computes
where rows begin, the second finds it kept beside the store. Anonymous memory is read from /proc, so pages of the mapped
files do not count; `peak` is its highest while the source was opened."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _ours import make_store
from _ratio import machine

from modeledge.data.store import Store, StoreWriter

DOCUMENT = 2000
"""Tokens a document, a sentence every 25."""

ONE = """
import json, sys, threading, time
sys.path.insert(0, sys.argv[2])
def anonymous():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["RssAnon"].split()[0]) / 1024
from _ours import Ours, Store
seen, stop = [anonymous()], threading.Event()
def watch():
    while not stop.wait(0.02):
        seen.append(anonymous())
watcher = threading.Thread(target=watch)
watcher.start()
begun = time.perf_counter()
ours = Ours(Store.open(sys.argv[1]), "roberta", size="tiny",
            sets=["data.text.length=128", "loop.batch=64", "loop.precision=fp32",
                  "tokenizer={kind: wordpiece, vocab: 1200}"])
ours.feed.step(0)
first = time.perf_counter() - begun
stop.set()
watcher.join()
for number in range(1, 50):
    ours.feed.step(number)
begun = time.perf_counter()
tokens = sum(ours.feed.step(1000 + number).tokens for number in range(100))
rate = tokens / (time.perf_counter() - begun)
print(json.dumps({"first": first, "rate": rate, "anonymous_mb": anonymous(), "peak_mb": max(seen)}))
"""


def widen(small: Path, out: Path, megabytes: int) -> Path:
    """A store of random tokens of this size, with the tokenizer of the small one."""
    rng, documents = np.random.default_rng(0), megabytes * 10**6 // 2 // DOCUMENT
    keep = {k: v for k, v in Store.open(small).meta.items() if k not in ("format", "rows", "valid", "columns")}
    with StoreWriter(out) as writer:
        for start in range(0, documents, 5000):
            count = min(5000, documents - start)
            n, lengths = count * DOCUMENT, np.full(count, DOCUMENT)
            writer.column("sentences", np.int64).append(np.arange(0, n, 25) + start * DOCUMENT)
            writer.ragged("tokens", np.uint16, rng.integers(10, 1000, n, dtype=np.uint16), lengths)
            writer.column("word_starts", np.bool_).append(np.ones(n, bool))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(small / name, writer.folder / name)
        writer.finish(rows=documents, meta=keep)
    return out


def main() -> None:
    """Every size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 1000, 10000])
    given = parser.parse_args()
    rows = {}
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            words = [" ".join(f"w{i}" for i in range(j, j + 50)) for j in range(0, 2000, 50)]
            path = widen(make_store(words, Path(folder), vocab=1200).path, Path(folder) / "large", size)
            command = [sys.executable, "-c", ONE, str(path), str(Path(__file__).parent)]
            starts = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for _ in range(2)]
            rows[size] = dict(zip(("computed", "kept"), map(json.loads, starts), strict=True))
        print(f"{size:>6} MB: {rows[size]}")
    for start in ("computed", "kept"):
        small, large = rows[min(rows)][start], rows[max(rows)][start]
        growth, peak = (large[k] - small[k] for k in ("anonymous_mb", "peak_mb"))
        verdict = "PASS" if growth <= 20 and (start == "computed" or large["first"] - small["first"] <= 1) else "FAIL"
        print(f"RATIO corpus_rss_growth_mb_{start}={growth:.1f} peak_growth_mb={peak:.1f} "
              f"first_batch={large['first']:.2f}s (small: {small['first']:.2f}s) "
              f"rate={large['rate'] / small['rate']:.2f} floor=20 goal=5 {verdict}")  # fmt: skip
    print(json.dumps({"name": "corpus_rss", "rows": rows} | machine()))


if __name__ == "__main__":
    main()
