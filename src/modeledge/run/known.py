"""What a recipe's stores say about the data: sizes, special tokens, labels, and a cheap baseline."""

from __future__ import annotations

import functools

import numpy as np

from modeledge.core import Facts
from modeledge.data.facts import facts_of
from modeledge.data.store import Store
from modeledge.tokenizers import load_tokenizer


def facts_from(stores: dict[str, Store]) -> Facts:
    """The facts of several stores: the tokenizer of the first that has one, every store's labels, the images' size.

    Raises DataError if two stores were written with different tokenizers."""
    home = next((s for s in stores.values() if (s.path / "tokenizer.json").is_file()), None)
    tokenizer = load_tokenizer(home.path) if home is not None else None
    facts = facts_of(home if home is not None else next(iter(stores.values())), tokenizer)
    for name, store in stores.items():
        more = facts_of(store, tokenizer if "tokens" in store else None)
        facts.labels |= dict.fromkeys([name] if more.labels else [], next(iter(more.labels.values()), []))
        facts.types = {n: max(facts.types.get(n, 0), more.types.get(n, 0)) for n in facts.types | more.types}
        facts.image = facts.image or more.image
        facts.relations = facts.relations or more.relations
        if not facts.entities:  # the first store that names entities numbers them
            facts.entities, facts.names, facts.vectors = more.entities, more.names, more.vectors
    if home is not None and "tokens" in home:
        facts.pairs = functools.cache(lambda: bigram_cost(home, facts.vocab))
    return facts


def bigram_cost(store: Store, vocab: int, *, most: int = 2_000_000) -> float:
    """Nats a held-out token costs under 0.7 bigram + 0.3 unigram counted on up to `most` tokens: a cheap baseline.

    On the training tokens themselves if nothing was held out."""
    seen = np.asarray(store["tokens"][:most], np.int64)
    new = np.asarray((store.valid or store)["tokens"][: most // 10], np.int64)
    single = np.bincount(seen, minlength=vocab) + 1.0
    kinds, counts = np.unique(seen[:-1] * vocab + seen[1:], return_counts=True)
    wanted = new[:-1] * vocab + new[1:]
    at = np.minimum(np.searchsorted(kinds, wanted), len(kinds) - 1)
    pair = np.where(kinds[at] == wanted, counts[at], 0) / single[new[:-1]]
    return float(-np.log(0.7 * pair + 0.3 * single[new[1:]] / single.sum()).mean())
