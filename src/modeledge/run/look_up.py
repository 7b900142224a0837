"""Passages for questions: how good a search is, and the search itself, by models with a tower for queries and one for
passages.

Sources: recall among all passages, DPR, arXiv:2004.04906 §5; BM25 beside it, arXiv:2002.03932 §4. Not here: pictures
and captions (frozen.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from modeledge.analysis.bm25 import BM25
from modeledge.analysis.retrieval import recall
from modeledge.core import Batch, InputError, build, keyed
from modeledge.data.readers import Wanted
from modeledge.data.sources._passages import Passages
from modeledge.data.store import Store
from modeledge.data.tables import Table
from modeledge.engine.device import choose_device
from modeledge.objectives._index import Index, encode_texts
from modeledge.objectives.rag import Rag
from modeledge.run.answer import open_for
from modeledge.run.embed import framed
from modeledge.run.generate import GREEDY, generate
from modeledge.run.identity import refuse_other_ids
from modeledge.run.keep import Loaded, load_model
from modeledge.run.search import Beam, Greedy, Sample

ROWS = 64
"""Queries in one forward pass."""
CANDIDATES = 5
"""Passages that are shown for a query."""


class Searcher:
    """A loaded model as two encoders. Raises InputError for a model without a tower that reads queries."""

    def __init__(self, loaded: Loaded, device: torch.device):
        self.loaded, self.device = loaded, device
        self.backbone: Any = loaded.model.to(device).eval().backbone
        if "query" not in getattr(self.backbone, "towers", {}):
            raise InputError(
                f"{loaded.path}: this model does not search for passages\n  next: one from a recipe like ict or realm"
            )
        self.cosine = any(getattr(o.config, "similarity", "") == "cosine" for _, o in loaded.model.each())
        settings = [c for c in loaded.recipe.data.values() if hasattr(c, "query")]
        self.length, self.query = (settings[0].length, settings[0].query) if settings else (256, 64)  # type: ignore

    @torch.no_grad()
    def vectors(self, name: str, rows: Batch) -> Float[Tensor, "n d"]:
        """Of texts as `query` or `passage`; their products are the similarities."""
        found = encode_texts(self.backbone.side(name), rows.tensors(self.device))
        return F.normalize(found, dim=-1) if self.cosine else found

    def of_texts(self, name: str, encoded: Sequence[np.ndarray]) -> Float[Tensor, "n d"]:
        """`vectors` of token ids without special ones."""
        length = self.query if name == "query" else self.length
        parts = (framed(list(encoded[i : i + ROWS]), self.loaded, length) for i in range(0, len(encoded), ROWS))
        return torch.cat([self.vectors(name, rows) for rows in parts])

    def index(self, store: Store) -> Index:
        """The passages of a store."""
        config = Passages.Config.model_validate({"length": self.length, "query": self.query})
        index = Index(Passages(config, store, self.loaded.facts), self.backbone.side("passage"))
        vectors = index.fill(self.device)
        index.vectors = F.normalize(vectors, dim=-1) if self.cosine else vectors
        return index


def evaluate_search(
    loaded: Loaded, data: str | Path, columns: dict[str, Any], device: torch.device
) -> dict[str, float]:
    """recall@k and median rank of each query's passage among all, and the same figures of BM25.

    data: a table whose columns `text` and `second` hold a query and its passage, or a store, of which the (held-out)
    passages are sought by what the model was trained with, one query each."""
    searcher, found = Searcher(loaded, device), open_for(loaded, data)
    if isinstance(found, Table):
        queries, passages, right = pairs_of(loaded, found, columns)
    else:
        queries, passages = cloze_of(loaded, found)
        right = np.arange(len(queries))
    scores = searcher.of_texts("query", queries) @ searcher.of_texts("passage", passages).T
    own = torch.from_numpy(right[:, None] == np.arange(len(passages)))
    words = torch.from_numpy(BM25(passages).scores(queries))
    return recall(scores.cpu(), own) | {f"bm25 {k}": v for k, v in recall(words, own).items() if k[0] in "rm"}


def pairs_of(
    loaded: Loaded, table: Table, columns: dict[str, Any]
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Queries, the different passages, and the number of each query's own."""
    if "second" not in columns:
        raise InputError("--task retrieval: needs a column of passages\n  next: --column second=COLUMN")
    names = columns.get("text", "text"), columns["second"]
    rows = [record.value for record in table.read(Wanted(dict.fromkeys(names, (str,))))]
    texts = list(dict.fromkeys(str(row[names[1]]) for row in rows))
    place = {text: n for n, text in enumerate(texts)}
    encode = loaded.facts.tokenizer.encode_batch
    right = np.array([place[str(row[names[1]])] for row in rows])
    return encode([str(row[names[0]]) for row in rows]), encode(texts), right


def cloze_of(loaded: Loaded, store: Store) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A query and its passage for each passage of the store's held-out part (of all of it, if nothing was held out).

    Raises InputError for a model that was not trained on pairs of them."""
    store = store.valid or store
    for config in loaded.recipe.data.values():
        source = build("data.sources", config, store, loaded.facts, "train")
        batch = source.rows(np.arange(len(source)), keyed("look up"))
        if "query_ids" in batch:
            _, first = np.unique(batch.passage, return_index=True)
            return list(bare(batch, "query_", first, loaded)), list(bare(batch, "", first, loaded))
    raise InputError(
        f"{loaded.path}: it was not trained on queries and passages of a store\n"
        "  next: --data TABLE --column text=QUERY --column second=PASSAGE"
    )


def bare(batch: Batch, prefix: str, rows: np.ndarray, loaded: Loaded) -> Iterator[np.ndarray]:
    """The ids of rows without special tokens."""
    special = loaded.facts.is_special()
    for ids in np.asarray(batch[f"{prefix}ids"])[rows]:
        yield ids[~special[ids]]


def look_up(
    model: str | Path | Loaded,
    passages: str | Path,
    texts: Sequence[str],
    how: Greedy | Sample | Beam = GREEDY,
    *,
    limit: int = 40,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """The best passages of a store for each text, [{"text", "passages": [{"number", "score", "text"}]}]; an `answer`
    of at most `limit` tokens from a model that writes (RAG).

    Raises InputError for a model that does not search and a store of other ids."""
    loaded = model if isinstance(model, Loaded) else load_model(Path(model))
    if not texts:
        raise InputError("--passages: what is to be looked up?\n  next: --text TEXT")
    searcher, store = Searcher(loaded, choose_device(device)), Store.open(Path(passages))
    tokenizer: Any = loaded.facts.tokenizer
    refuse_other_ids(store, tokenizer, loaded.path)
    index, encoded = searcher.index(store), tokenizer.encode_batch(list(texts))
    queries = searcher.of_texts("query", encoded)
    numbers = index.top(queries, min(CANDIDATES, len(index)))
    answers: list[dict[str, Any]] = []
    for text, query, found in zip(texts, queries, numbers, strict=True):
        rows = index.texts(found.cpu().numpy(), searcher.device).ids
        scores = (index.fill(searcher.device)[found] @ query).tolist()
        told = zip(found.tolist(), scores, rows.tolist(), strict=True)
        shown = [{"number": n, "score": round(s, 4), "text": tokenizer.decode(ids)} for n, s, ids in told]
        answers.append({"text": text, "passages": shown})
    writer = next((o for _, o in loaded.model.each() if isinstance(o, Rag)), None)
    if writer is not None:
        writer.index = index
        rows, rng = (
            framed(encoded, loaded, searcher.query).tensors(searcher.device),
            torch.Generator(searcher.device).manual_seed(0),
        )
        written = generate(searcher.backbone, writer, rows, how, limit=limit, rng=rng)
        for answer, ids in zip(answers, written.tolist(), strict=True):
            answer["answer"] = tokenizer.decode(ids)
    return answers
