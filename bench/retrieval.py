"""G6: who belongs to whom among n queries and n passages: two towers against one encoder that reads every pair.

    python bench/retrieval.py --text FILE.parquet [--n 1000] [--size tiny] [--windows 3]

Both encoders have the same sizes and see the same numbers of tokens (32 of a query, 96 of a passage). Two towers read
n + n texts and multiply; the single one would read n * n pairs, of which it reads some hundred here, which is said in
the record. Only speed is compared: what either finds is for `modeledge evaluate` to say."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from _ours import Ours, make_store, paragraphs
from _ratio import interleave, ratio

from modeledge.core import Batch
from modeledge.engine.device import compute_in

QUERY, PASSAGE, ROWS = 32, 96, 64


def texts(rows: int, length: int, vocab: int) -> torch.Tensor:
    """Random ids, which cost what real ones do."""
    return torch.randint(5, vocab, (rows, length), generator=torch.Generator().manual_seed(rows))


def main() -> None:
    """Build both, take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--pairs", type=int, default=512, help="pairs the single encoder reads in a window")
    parser.add_argument("--windows", type=int, default=5)
    given = parser.parse_args()
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(paragraphs(given.text, 2000), Path(folder), vocab=4096)
        towers = Ours(store, "ict", size=given.size)
        one = Ours(store, "bert", size=given.size, sets=["tokenizer.vocab=4096"])
    dual, match = towers.model.backbone.eval(), towers.model.objectives["match"].eval()
    single, nsp = one.model.eval(), one.model.objectives["nsp"]
    queries, passages = (texts(given.n, length, towers.facts.vocab) for length in (QUERY, PASSAGE))
    joined = Batch(
        ids=torch.cat([queries[: given.pairs], passages[: given.pairs]], 1)[: given.pairs],
        segments=torch.arange(QUERY + PASSAGE).ge(QUERY).long().expand(min(given.pairs, given.n), -1),
    )

    @torch.no_grad()
    def separate() -> float:
        begun = time.perf_counter()
        with compute_in("bf16", cpu):
            found = [
                torch.cat([match.embed(dual, Batch({name: part}))[side] for part in ids.split(ROWS)])
                for name, side, ids in (("query_ids", "query", queries), ("ids", "passage", passages))
            ]
            (found[0] @ found[1].T).topk(10)
        return given.n**2 / (time.perf_counter() - begun)

    @torch.no_grad()
    def together() -> float:
        begun = time.perf_counter()
        with compute_in("bf16", cpu):
            for start in range(0, len(joined.ids), ROWS):
                part = Batch({k: v[start : start + ROWS] for k, v in joined.items()})
                nsp.head(nsp.run(single.backbone, part).pooled)
        return len(joined.ids) / (time.perf_counter() - begun)

    ours, peer = interleave(separate, together, windows=given.windows)
    facts = {"n": given.n, "pairs_read": len(joined.ids), "size": given.size}
    ratio("retrieval_two_towers_over_one", ours, peer, floor=100, goal=400, unit="pairs/s", **facts)


if __name__ == "__main__":
    main()
