"""Fixed rows, streams and whole-sentence packing against plain loops over the documents."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, keyed

PAD, CLS, SEP = 0, 1, 2


def stream_of(documents):
    """The corpus as one list of (token, document), a separator after each document."""
    flat = []
    for number, document in enumerate(documents):
        flat += [(t, number) for s in document for t in s] + [(SEP, number)]
    return flat


def all_rows(source):
    return source.rows(np.arange(len(source)), keyed(0))


def strip(batch, row):
    """The valid ids of a row as a list."""
    ids = batch.ids[row]
    return ids[batch.valid[row]].tolist() if "valid" in batch else ids.tolist()


@pytest.mark.parametrize("length", [4, 7, 64])
def test_contiguous_rows_are_the_stream_cut_into_pieces(corpus, length):
    made = corpus()
    batch = all_rows(made.source("contiguous", length=length, isolate=True))
    flat = stream_of(made.documents)
    for row in range(batch.size):
        piece = flat[row * length : (row + 1) * length]
        assert batch.ids[row].tolist() == [t for t, _ in piece]
        assert batch.doc[row].tolist() == [d - piece[0][1] for _, d in piece]
        assert batch.special[row].tolist() == [t == SEP for t, _ in piece]
        assert batch.word_starts[row].tolist() == [t == SEP or t % 3 > 0 for t, _ in piece]
    assert batch.size == len(flat) // length


def test_a_framed_contiguous_row_has_cls_and_sep_around_the_stream(corpus):
    made = corpus()
    batch = all_rows(made.source("contiguous", length=16, frame=True))
    flat = [t for t, _ in stream_of(made.documents)]
    assert batch.ids[2].tolist() == [CLS, *flat[28:42], SEP]
    assert batch.special[:, [0, -1]].all() and batch.word_starts[:, [0, -1]].all()


def greedy(documents, room, *, crosses):
    """Rows of whole sentences, sentences longer than a row cut up: lists of (token, document)."""
    rows, row = [], []
    for number, document in enumerate(documents):
        pieces = [s[i : i + room] for s in document for i in range(0, len(s), room)]
        for place, piece in enumerate(pieces):
            gap = [(SEP, row[-1][1])] if row and place == 0 else []
            if row and (len(row) + len(gap) + len(piece) > room or (gap and not crosses)):
                rows.append(row)
                row, gap = [], []
            row = row + gap + [(t, number) for t in piece]
    return [*rows, row]


@pytest.mark.parametrize("length", [6, 10, 33])
@pytest.mark.parametrize("kind", ["full_sentences", "doc_sentences"])
def test_whole_sentences_are_packed_as_a_plain_loop_packs_them(corpus, kind, length):
    made = corpus()
    batch = all_rows(made.source(kind, length=length, isolate=True))
    expected = greedy(made.documents, length - 2, crosses=kind == "full_sentences")
    assert [strip(batch, r) for r in range(batch.size)] == [[CLS, *(t for t, _ in row), SEP] for row in expected]
    for got, row in zip(batch.doc, expected, strict=True):
        numbers = [d - row[0][1] for _, d in row]
        assert got.tolist() == [0, *numbers, numbers[-1]] + [-1] * (length - len(row) - 2)
    assert (batch.special == (batch.ids < 10)).all()
    assert ("valid" in batch) == bool((batch.ids == PAD).any())


def test_rows_without_padding_have_no_valid_field(corpus):
    batch = all_rows(corpus([[4, 4]] * 3).source("doc_sentences", length=10))
    assert "valid" not in batch and "doc" not in batch


@pytest.mark.parametrize("length", [6, 10, 33])
def test_rows_of_one_document_tell_where_its_sentences_begin(corpus, length):
    made = corpus()
    batch = all_rows(made.source("doc_sentences", length=length))
    first = {sentence[0] for document in made.documents for sentence in document}
    assert np.array_equal(batch.sentence_starts, np.isin(batch.ids, sorted(first)))


def test_a_document_row_is_its_first_tokens(corpus):
    made = corpus()
    batch = all_rows(made.source("document", length=9))
    for row, document in enumerate(made.documents):
        assert strip(batch, row) == [CLS, *sum(document, [])[:7], SEP]


def test_a_stream_goes_on_where_its_last_segment_ended(corpus):
    made = corpus()
    source = made.source("stream", length=8, streams=5)
    assert source.ordered
    batch = all_rows(source)
    flat = [t for t, _ in stream_of(made.documents)]
    per = len(flat) // 40 * 8
    for stream in range(5):
        rows = batch.ids[stream::5]
        assert rows.reshape(-1).tolist() == flat[stream * per : (stream + 1) * per]
    assert batch.fresh.tolist() == [True] * 5 + [False] * (batch.size - 5)


def test_too_little_text_for_a_row_is_a_data_error(corpus):
    made = corpus([[3]])
    for kind in ("contiguous", "stream"):
        with pytest.raises(DataError, match="too"):
            made.source(kind, length=64)


def test_languages_are_drawn_with_temperature(corpus):
    made = corpus([[6]] * 1000, lang=[0] * 900 + [1] * 90 + [2] * 10)
    source = made.source("document", length=8, sampling=0.5)
    ids = source.rows(np.arange(len(source)), keyed(1)).ids
    first = {d[0][0]: (0 if n < 900 else 1 if n < 990 else 2) for n, d in enumerate(made.documents)}
    got = np.bincount([first[t] for t in ids[:, 1]]) / 1000
    share = np.sqrt([0.9, 0.09, 0.01])
    assert np.abs(got - share / share.sum()).max() < 0.002
    again = source.rows(np.arange(len(source)), keyed(2)).ids  # rare rows repeat in turn, common ones are drawn
    assert {first[t] for t in ids[:, 1]} == {0, 1, 2} and (again != ids).any()
    assert len({t for t in ids[:, 1] if first[t] == 2}) == 10


@pytest.mark.parametrize("kind", ["full_sentences", "doc_sentences", "contiguous"])
def test_the_tokens_read_have_the_languages_by_their_shares_to_a_power(corpus, kind):
    lang = np.repeat([0, 1, 2], [1800, 180, 20])
    made = corpus([[6, 6]] * 2000, lang=lang.tolist())
    of = np.full(made.facts.vocab, -1)
    of[10:] = np.repeat(lang, 12)
    source = made.source(kind, length=64, sampling=0.3)
    ids = source.rows(np.arange(len(source)), keyed(1)).ids
    for row in of[ids]:
        assert len(set(row[row >= 0])) == 1
    got = np.bincount(of[ids][of[ids] >= 0])
    wanted = np.array([0.9, 0.09, 0.01]) ** 0.3
    assert np.abs(got / got.sum() - wanted / wanted.sum()).max() < 0.03  # a language ends with a row that is not full


def test_rows_do_not_cross_into_another_language(corpus):
    lang = np.random.default_rng(0).integers(0, 2, 60)
    made = corpus(lang=lang.tolist())
    of = {t: lang[n] for n, d in enumerate(made.documents) for s in d for t in s}
    batch = all_rows(made.source("full_sentences", length=64))
    held = [[of[t] for t in row if t in of] for row in batch.ids.tolist()]
    assert all(len(set(row)) == 1 for row in held)
    assert sum(map(len, held)) == len(of) and batch.size < 60  # nothing lost, and documents do share rows


def test_sampling_without_a_language_column_says_what_is_missing(corpus):
    with pytest.raises(DataError, match="lang"):
        corpus().source("document", sampling=0.3)
