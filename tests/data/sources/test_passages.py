"""Queries and passages against the documents they were cut from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modeledge.core import DataError, keyed
from modeledge.data.sources.linked import mentions

SIZES = {"length": 24, "query": 14}


def plain(row, pad=0):
    """The tokens between [cls] and [sep]."""
    row = [int(i) for i in row if i != pad]
    assert row[0] == 1 and row[-1] == 2
    return row[1:-1]


def places(corpus):
    """The document and the sentence of every token."""
    return {t: (d, s) for d, doc in enumerate(corpus.documents) for s, sent in enumerate(doc) for t in sent}


def test_a_passage_is_whole_sentences_of_one_document_and_loses_its_query_at_the_rate(corpus):
    made = corpus()
    source, where = made.source("inverse_cloze", removed=0.9, **SIZES), places(made)
    batch = source.cut(np.arange(len(source)), keyed(0))
    kept = 0
    for query, passage in zip(batch.query_ids, batch.ids, strict=True):
        asked, found = plain(query), plain(passage)
        document, sentence = where[asked[0]]
        assert asked == made.documents[document][sentence][: SIZES["query"] - 2]
        own = [t for t in found if where[t] == (document, sentence)]
        kept += bool(own)
        assert not own or own == made.documents[document][sentence]
        spread = [where[t] for t in found]
        assert spread == sorted(spread) and {d for d, _ in spread} == {document}
        for _, s in set(spread):
            assert [t for t in found if where[t] == (document, s)] == made.documents[document][s]
    n = len(source)
    assert abs(kept - 0.1 * n) < 3 * math.sqrt(n * 0.09)


@pytest.mark.parametrize(("kind", "settings"), [("inverse_cloze", SIZES), ("dialogue", {"length": 60, "fakes": 0.0})])
def test_a_batch_reads_of_the_sentences_no_more_than_its_own(corpus, column, kind, settings):
    source = corpus().source(kind, **settings)
    wanted = source.cut(np.arange(4), keyed(0))
    source.bounds = column(source.bounds)
    assert np.array_equal(source.cut(np.arange(4), keyed(0)).ids, wanted.ids)


@pytest.mark.parametrize(("removed", "share"), [(1.0, 0), (0.0, 1)])
def test_always_and_never_removed(corpus, removed, share):
    source = corpus().source("inverse_cloze", removed=removed, **SIZES)
    batch = source.cut(np.arange(len(source)), keyed(0))
    inside = [set(plain(q)) <= set(plain(p)) for q, p in zip(batch.query_ids, batch.ids, strict=True)]
    assert np.mean(inside) == share


def test_every_sentence_of_a_passage_of_several_is_a_row(corpus):
    made = corpus([[5, 6, 30], [9], [8, 8]])
    source = made.source("inverse_cloze", **SIZES)
    batch = source.cut(np.arange(len(source)), keyed(0))
    first = [plain(q)[0] for q in batch.query_ids]
    assert first == [made.documents[d][s][0] for d, s in ((0, 0), (0, 1), (2, 0), (2, 1))]
    assert batch.passage[0] == batch.passage[1] != batch.passage[2] == batch.passage[3]
    assert [plain(r) for r in source.texts(batch.passage[:1]).ids] == [sum(made.documents[0][:2], [])]


def test_body_first_asks_with_the_beginning_for_the_rest_of_the_same_document(corpus):
    made = corpus()
    source, where = made.source("body_first", **SIZES), places(made)
    batch = source.cut(np.arange(len(source)), keyed(0))
    room, seen = SIZES["length"] - 2, set()
    for query, passage in zip(batch.query_ids, batch.ids, strict=True):
        document, sentence = where[plain(query)[0]]
        found = [where[t] for t in plain(passage)]
        assert {d for d, _ in found} == {document} and min(found) > (document, sentence)
        before = sum(map(len, made.documents[document][: sentence + 1]))
        assert before <= room  # the sentence stands in the first passage
        seen.add(found[0])
    assert len(seen) == len(source)


def test_links_are_mentions_of_other_titles():
    documents = [[7, 8, 1, 2, 3], [9, 5, 7, 8, 4], [9, 6, 7, 1, 8], [5, 7, 8, 9, 5]]
    titles = np.array([2, 2, 1, 1])  # 7 8; 9 5; 9; 5
    flat, sizes = np.concatenate(documents).astype(np.uint16), [0, *np.cumsum([5, 5, 5, 5])]
    found = mentions(flat, np.array(sizes), titles, most=4)
    wanted = []
    for a, text in enumerate(documents):
        for b, other in enumerate(documents):
            title = other[: titles[b]]
            holds = any(text[i : i + len(title)] == title for i in range(len(text)))
            wanted += [[a, b]] if a != b and holds else []
    assert found.tolist() == wanted and len(wanted) > 3
    assert mentions(flat, np.array(sizes), titles, most=1).tolist() == [p for p in wanted if titles[p[1]] == 1]


def test_text_without_links_is_refused_with_a_next_step(corpus):
    with pytest.raises(DataError, match="body_first"):
        corpus().source("linked", **SIZES)
