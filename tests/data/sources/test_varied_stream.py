"""Streams cut into segments of varied length."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, Facts, find, keyed
from modeledge.data import Store, StoreWriter


@pytest.fixture
def make(tmp_path):
    def build(tokens=6000, split="train", held_out=False, **settings):
        rng = np.random.default_rng(0)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with StoreWriter(folder) as writer:
            writer.ragged(
                "tokens", np.uint16, rng.integers(3, 30, tokens), np.array([tokens // 2, tokens - tokens // 2])
            )
            if held_out:
                inner = writer.valid()
                inner.ragged("tokens", np.uint16, rng.integers(3, 30, 900), np.array([900]))
            writer.finish(rows=2, meta={}, valid_rows=int(held_out))
        part = find("data.sources", "varied_stream")
        facts = Facts(vocab=30, special={"pad": 0, "sep": 2}, words=(3, 30))
        config = part.Config(kind="varied_stream", length=20, streams=4, **settings)
        return part(config, Store.open(folder), facts, split)

    return build


def steps(source):
    for start in range(0, len(source), 4):
        yield source.rows(np.arange(start, start + 4), keyed(0))


def test_a_pass_reads_each_stream_in_order_and_misses_less_than_a_segment(make):
    source = make(passes=1, spread=2.0)
    read = np.concatenate([s.ids for s in steps(source)], 1)
    whole = source.stream.cut(np.arange(4) * source.room, source.room).ids
    assert read.shape[1] > source.room - 35 and np.array_equal(read, whole[:, : read.shape[1]])


def test_rows_of_a_step_are_equally_long_and_only_the_first_step_is_fresh(make):
    fresh = [(s.fresh.all(), s.fresh.any(), "valid" in s) for s in steps(make())]
    assert fresh[0] == (True, True, False) and set(fresh[1:]) == {(False, False, False)}


def test_lengths_are_the_usual_one_or_half_of_it_give_or_take(make):
    source = make(tokens=400_000, halves=0.05, spread=2.0, passes=4)
    short = source.sizes < 15  # 2.5 standard deviations from either
    n = len(source.sizes)
    assert abs(short.mean() - 0.05) < 3 * (0.05 * 0.95 / n) ** 0.5 + 0.01
    usual = source.sizes[~short]
    assert abs(usual.mean() - 19.5) < 0.2 and 1.7 < usual.std() < 2.3  # whole words: cut down, half a word on average
    assert source.sizes.min() >= 5


def test_each_pass_is_cut_otherwise_and_held_out_text_evenly(make):
    source = make(passes=2)
    second = int(np.flatnonzero(source.begins == 0)[1])
    assert set(source.begins[1:second]) != set(source.begins[second + 1 :])
    assert set(make(held_out=True, split="valid").sizes) == {20}


def test_rows_of_different_lengths_are_padded(make):
    source = make()
    one, other = 0, int(np.flatnonzero(source.sizes != source.sizes[0])[0])
    batch = source.rows(np.array([one * 4, other * 4]), keyed(0))
    assert batch.valid.sum(1).tolist() == source.sizes[[one, other]].tolist()


def test_too_little_text_is_refused(make):
    with pytest.raises(DataError, match="fewer streams"):
        make(tokens=20)
