"""What a store and its tokenizer tell a model before it is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from modeledge.core import DataError, Facts
from modeledge.data._names import ENTITIES, read_names
from modeledge.data.store import Store


def facts_of(store: Store | None, tokenizer: Any = None, *, labels: dict[str, list[str]] | None = None) -> Facts:
    """Sizes, special tokens and token counts of the training part, class names and the size of images.

    Raises DataError if the store was written with another tokenizer, naming both fingerprints."""
    facts = Facts(labels=dict(labels or {}))
    if store is not None:
        facts.counts = np.asarray(store["frequency"], np.float64) if "frequency" in store else None
        facts.image = tuple(store["image"].shape[1:]) if "image" in store else None
        facts.entities, facts.relations = (int(store.meta.get(k, 0)) for k in ("entities", "relations"))
        facts.names = read_names(store.path) if (store.path / ENTITIES).is_file() else []
        facts.vectors = store["entity_vectors"] if "entity_vectors" in store else None
        if store.meta.get("languages"):
            facts.types["lang"] = len(store.meta["languages"])
        if store.meta.get("labels"):
            facts.labels.setdefault("label", list(store.meta["labels"]))
    if tokenizer is not None:
        facts.vocab, facts.special, facts.words = tokenizer.vocab, dict(tokenizer.special), tokenizer.words
        facts.sentinels, facts.continues = list(tokenizer.sentinels), tokenizer.continues
        facts.tokenizer = tokenizer
    written = store.meta.get("fingerprint") if store is not None else None
    if written and tokenizer is not None and written != tokenizer.fingerprint:
        raise DataError(
            f"{store.path}: written with the tokenizer {written[:16]}, the one given is {tokenizer.fingerprint[:16]}"
            " (same size does not mean same ids)\n  next: prepare the data with this tokenizer, or use the store's"
        )
    return facts


def bytes_a_token(part: Any) -> float | None:
    """UTF-8 bytes of the text of a store over its tokens, an end of each document included; None for other data, and
    for whole words, of which the rare ones are all the same."""
    meta = getattr(part, "meta", {})
    if "text_bytes" not in meta or meta.get("tokenizer") in ("word", "chars"):
        return None
    return meta["text_bytes"] / (meta["tokens"] + part.rows)
