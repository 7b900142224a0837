"""What holds for every source."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, Facts, find, keyed, kinds
from modeledge.data import Store, StoreWriter
from modeledge.data.sources import Languages

TEXT = [k for k in kinds("data.sources") if find("data.sources", k).reads == "text"]


@pytest.fixture
def store(tmp_path):
    """A text store with held-out documents, languages and frequencies."""
    rng = np.random.default_rng(0)

    def fill(writer, n):
        sizes = [rng.integers(2, 15, rng.integers(1, 8)) for _ in range(n)]
        lengths = np.array([s.sum() for s in sizes])
        tokens = rng.integers(5, 100, lengths.sum())
        title = sizes[0][0]
        tokens[lengths[:2].sum() - title : lengths[:2].sum()] = tokens[:title]  # the second document names the first
        writer.ragged("tokens", np.uint16, tokens, lengths)
        flat = np.concatenate(sizes)
        writer.column("sentences", np.int64).append(np.cumsum(flat) - flat)
        writer.column("word_starts", bool).append(rng.random(len(tokens)) < 0.7)
        writer.column("lang", np.uint16).append(rng.integers(0, 2, n))
        named = np.isin(np.arange(len(tokens)), np.cumsum(flat) - flat)  # every sentence begins with a name
        writer.column("entities", np.int32).append(np.where(named, 0, -1))
        writer.column("entity_starts", bool).append(np.ones(len(tokens), bool))
        writer.column("frequency", np.int64).append(np.bincount(tokens, minlength=100))

    with StoreWriter(tmp_path / "s") as writer:
        fill(writer, 80)
        fill(writer.valid(), 20)
        writer.finish(rows=80, valid_rows=20, meta={})
    return Store.open(tmp_path / "s")


class Marks:
    """A tokenizer that spells the n-th text as one token, 5 + n."""

    def encode_batch(self, texts):
        return [np.array([5 + n]) for n in range(len(texts))]


@pytest.fixture(params=TEXT)
def source(request, store):
    part = find("data.sources", request.param)
    special = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    counts = np.asarray(store["frequency"], float)
    config = part.Config(
        kind=request.param, length=24, **({"streams": 4} if "streams" in part.Config.model_fields else {})
    )
    facts = Facts(vocab=100, special=special, words=(5, 100), counts=counts, tokenizer=Marks())
    return part(config, store, facts, "train")


def test_rows_have_one_shape_and_ids_in_range(source):
    batch = source.rows(np.arange(min(len(source), 9)), keyed(0))
    b, t = batch.ids.shape
    assert b == min(len(source), 9) and all(len(v) == b for v in batch.values())
    assert batch.ids.dtype == np.int32 and 0 <= batch.ids.min() and batch.ids.max() < 100
    for name in ("valid", "special", "word_starts", "segments", "doc"):
        assert name not in batch or batch[name].shape == (b, t)
    if "valid" in batch:
        assert (batch.ids[~batch.valid] == 0).all() and not batch.valid.all()


def test_the_same_key_gives_the_same_rows(source):
    index = keyed(5).permutation(len(source))[:7]
    one, same = source.rows(index, keyed(1)), source.rows(index, keyed(1))
    assert set(one) == set(same) and all((one[k] == same[k]).all() for k in one)


def test_rows_have_a_split_of_their_own(source, store):
    part = type(source)
    if "streams" in part.Config.model_fields:
        held = part(source.config.model_copy(update={"streams": 2}), store, source.facts, "valid")
    else:
        held = part(source.config, store, source.facts, "valid")
    assert 0 < len(held) < len(source)
    with pytest.raises(DataError, match="held out"):
        part(source.config, store.valid, source.facts, "valid")


def test_places_of_languages_are_shared_by_temperature():
    lang = np.repeat([3, 0, 7], [600, 300, 100])
    for alpha in (0.0, 0.3, 0.7):
        drawn = Languages(lang, alpha).choose(np.arange(1000), keyed(0))
        share = np.array([np.mean(lang[drawn] == k) for k in (3, 0, 7)])
        expected = np.array([0.6, 0.3, 0.1]) ** alpha
        assert np.abs(share - expected / expected.sum()).max() < 0.0011


def test_a_rare_language_is_read_evenly_before_it_is_drawn():
    lang = np.repeat([0, 1], [990, 10])
    drawn = Languages(lang, 0.0).choose(np.arange(1000), keyed(0))
    assert np.bincount(drawn, minlength=1000)[990:].tolist() == [50] * 10
