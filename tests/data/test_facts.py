"""What a store tells a model."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, find
from modeledge.data import Store, StoreWriter, facts_of


@pytest.fixture
def tokenizer():
    part = find("tokenizers", "wordpiece")
    return part(part.Config(kind="wordpiece", vocab=60, sentinels=2)).train(iter(["he said that she would go"] * 3))


def store_with(folder, **meta):
    with StoreWriter(folder) as writer:
        writer.column("frequency", np.int64).append(np.arange(5))
        writer.column("image", np.uint8, (8, 6, 3)).append(np.zeros((2, 8, 6, 3)))
        writer.finish(rows=2, meta=meta)
    return Store.open(folder)


def test_facts_come_from_the_tokenizer_and_the_store(tmp_path, tokenizer):
    store = store_with(tmp_path / "s", fingerprint=tokenizer.fingerprint, labels=["no", "yes"])
    facts = facts_of(store, tokenizer, labels={"task": ["a"]})
    assert (facts.vocab, facts.special, facts.words) == (tokenizer.vocab, tokenizer.special, tokenizer.words)
    assert facts.image == (8, 6, 3) and facts.labels == {"task": ["a"], "label": ["no", "yes"]}
    assert facts.counts.tolist() == [0, 1, 2, 3, 4] and facts.tokenizer is tokenizer
    assert facts.types == {}
    assert facts_of(store_with(tmp_path / "t", languages=["en", "de", "fr"])).types == {"lang": 3}
    assert facts.sentinels == [tokenizer.vocab - 1, tokenizer.vocab - 2]
    assert facts.is_special()[facts.sentinels].all() and not facts.is_special()[slice(*facts.words)].any()


def test_another_tokenizer_is_refused_by_name_of_both(tmp_path, tokenizer):
    store = store_with(tmp_path / "s", fingerprint="0" * 64)
    with pytest.raises(DataError, match=f"(?s){'0' * 16}.*{tokenizer.fingerprint[:16]}"):
        facts_of(store, tokenizer)


def test_facts_without_a_store_or_a_tokenizer_are_what_is_left(tokenizer, tmp_path):
    assert facts_of(None, tokenizer).counts is None
    assert facts_of(store_with(tmp_path / "s")).vocab == 0
