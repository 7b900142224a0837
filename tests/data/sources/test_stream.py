"""Parallel streams whose rows overlap, against the joined corpus as a list."""

import numpy as np
import pytest

from modeledge.core import keyed


@pytest.mark.parametrize(("overlap", "length", "stride"), [(0.0, 12, 12), (0.5, 12, 6), (0.5, 13, 6), (0.25, 12, 9)])
def test_a_row_begins_with_the_share_of_the_one_before_it(corpus, overlap, length, stride):
    made = corpus()
    text = [t for document in made.documents for t in [*(t for s in document for t in s), 2]]
    source = made.source("stream", length=length, streams=3, overlap=overlap)
    rows = source.rows(np.arange(len(source)), keyed(0))
    begins = [text.index(row[0]) if row[0] != 2 else None for row in rows.ids.tolist()]
    for i in range(3, len(source)):
        if begins[i] is not None and begins[i - 3] is not None:
            assert begins[i] - begins[i - 3] == stride
    for begin, row in zip(begins, rows.ids.tolist(), strict=True):
        assert begin is None or row == text[begin : begin + length]
    assert rows.fresh.tolist() == [True] * 3 + [False] * (len(source) - 3)
    used = len(source) // 3 * 3 * stride + length - stride
    assert used <= len(text) < used + 3 * stride


@pytest.mark.parametrize("streams", [4, 5])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_half_of_the_streams_are_the_same_text_from_its_end(corpus, overlap, streams):
    made = corpus()
    settings = {"length": 12, "streams": streams, "overlap": overlap}
    plain = made.source("stream", **settings)
    source = made.source("stream", **settings, backward=True)
    one, two = (x.rows(np.arange(len(x)), keyed(0)) for x in (plain, source))
    last = len(source) // streams - 1
    for i in range(len(source)):
        segment, stream = divmod(i, streams)
        assert two.backward[i] == (stream >= (streams + 1) // 2) and two.fresh[i] == (segment == 0)
        same = (last - segment) * streams + stream if two.backward[i] else i
        step = -1 if two.backward[i] else 1
        assert two.ids[i].tolist() == one.ids[same].tolist()[::step]
        assert two.special[i].tolist() == one.special[same].tolist()[::step]
        words = np.cumsum(one.word_starts[same])[::step]  # the number of the word of each token
        assert two.word_starts[i].tolist() == [True, *(words[1:] != words[:-1])] or not two.backward[i]
    with pytest.raises(ValueError, match="cannot keep documents apart"):
        made.source("stream", **settings, backward=True, isolate=True)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_beside_each_row_stands_the_one_as_far_from_the_end_of_its_stream(corpus, overlap):
    made = corpus()
    settings = {"length": 12, "streams": 3, "overlap": overlap}
    one, two = (made.source("stream", **settings, **more) for more in ({}, {"backward": "beside"}))
    plain, both = (x.rows(np.arange(len(x)), keyed(0)) for x in (one, two))
    last = len(one) // 3 - 1
    for i in range(len(one)):
        segment, stream = divmod(i, 3)
        assert both.ids[i].tolist() == plain.ids[i].tolist() and both.fresh[i] == (segment == 0)
        assert both.behind_ids[i].tolist() == plain.ids[(last - segment) * 3 + stream].tolist()
    assert "backward" not in both and "behind_ids" not in plain
