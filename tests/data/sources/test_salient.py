"""Sentences that name something, and the passages they come from."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, Facts, keyed
from modeledge.data import Store, StoreWriter
from modeledge.data.sources.salient import Salient
from modeledge.views.corrupt.mask import choose_mention

FACTS = Facts(vocab=400, special={"pad": 0, "cls": 1, "sep": 2}, words=(10, 400))
SIZES = [[4, 3, 12], [2, 2], [5, 6, 3, 4]]


@pytest.fixture
def store(tmp_path):
    """Tokens 10, 11, ...; mentions of entities 0, 1, ... at the tokens given, two tokens each."""

    def make(mentions):
        n, sentences = sum(map(sum, SIZES)), np.concatenate(SIZES)
        entities, starts = np.full(n, -1, np.int32), np.ones(n, bool)
        for number, at in enumerate(mentions or []):
            entities[at : at + 2], starts[at + 1] = number, False
        with StoreWriter(tmp_path / "store") as writer:
            writer.ragged("tokens", np.uint16, np.arange(10, 10 + n), np.array([sum(d) for d in SIZES]))
            writer.column("sentences", np.int64).append(np.cumsum(sentences) - sentences)
            writer.column("word_starts", bool).append(np.ones(n, bool))
            if mentions is not None:
                writer.column("entities", np.int32).append(entities)
                writer.column("entity_starts", bool).append(starts)
            writer.finish(rows=len(SIZES), meta={})
        return Store.open(tmp_path / "store")

    return make


def test_every_sentence_with_a_mention_is_a_row_that_knows_its_passage(store):
    source = Salient(Salient.Config(kind="salient", length=14, query=14), store([4, 19, 29, 37]), FACTS)
    batch = source.rows(np.arange(len(source)), keyed(0))
    own = [[int(i) for i in row if i > 2] for row in batch.ids]
    assert own == [[14, 15, 16], [29, 30], [*range(38, 44)], [47, 48, 49, 50]]
    for row, number, marks in zip(own, batch.passage, batch.entities, strict=True):
        assert set(row) <= set(source.texts(np.array([number])).ids[0].tolist())
        assert (marks >= 0).sum() == 2


def test_a_mention_behind_the_end_of_the_query_does_not_count(store):
    marked = store([17, 24])  # the last two of the twelve tokens of the third sentence, and a sentence of five
    long = Salient(Salient.Config(kind="salient", length=20, query=16), marked, FACTS)
    short = Salient(Salient.Config(kind="salient", length=20, query=8), marked, FACTS)
    assert (len(long), len(short)) == (2, 1)


def test_how_often_a_token_is_asked_for_is_how_often_a_mention_with_it_is_drawn(store):
    source = Salient(Salient.Config(kind="salient", length=20, query=16), store([4, 7, 9, 12, 19, 37]), FACTS)
    draws, found = 4000, np.zeros(400)
    batch = source.rows(np.arange(len(source)), keyed(0))
    maskable = ~batch.special & (batch.valid if "valid" in batch else True)
    for n in range(draws):
        chosen = choose_mention(maskable, batch.entities, batch.entity_starts, keyed("draw", n))
        found += np.bincount(batch.ids[chosen], minlength=400)
    wanted = source.mentioned(400)
    assert wanted.sum() == pytest.approx(2 * len(source))
    assert set(wanted) == {0.0, 1 / 3, 1.0}  # three mentions in the third sentence
    spread = 3 * np.sqrt(draws * wanted * (1 - wanted)).clip(0)
    assert (np.abs(found - draws * wanted) <= spread + 1e-6).all()


def test_text_without_marks_is_refused(store):
    with pytest.raises(DataError, match="--entities FILE"):
        Salient(Salient.Config(kind="salient"), store(None), FACTS)
