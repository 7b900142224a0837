"""Noise spans and the T5 paper's table of objectives, by enumeration, by the table and by loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.core import keyed
from modeledge.views.arrange.pack import pack
from modeledge.views.corrupt.spans import (
    at_most,
    noise_spans,
    noise_tail,
    show_dropped,
    show_masked,
    show_sentinels,
    shuffle,
    span_starts,
)

SENTINELS = np.arange(2099, 1999, -1)
WORDS = (1000, 2000)


def counts_by_hand(n, rate, span):
    noise = min(max(round(n * rate), 1), n - 1)
    return noise, min(max(round(noise / span), 1), n - noise)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(2, 90), min_size=1, max_size=6),
    st.sampled_from([0.1, 0.15, 0.5]),
    st.sampled_from([2.0, 3.0, 5.0]),
)
def test_counts_are_fixed_and_a_row_begins_with_an_ordinary_token(lengths, rate, span):
    n = np.array(lengths)
    noise = noise_spans(n, 100, keyed("hyp", *lengths), rate=rate, span=span)
    for row, length in zip(noise, lengths, strict=True):
        tokens, spans = counts_by_hand(length, rate, span)
        assert row.sum() == tokens and span_starts(row[None]).sum() == spans
        assert not row[0] and row[length - 1] and not row[length:].any()


def test_too_short_a_row_has_no_noise():
    assert not noise_spans(np.array([0, 1]), 4, keyed(1), rate=0.15, span=3.0).any()
    assert not noise_tail(np.array([0, 1]), 4, keyed(1)).any()


def test_every_mask_of_its_counts_is_equally_likely():
    noise = noise_spans(np.full(50_000, 12), 12, keyed("chi"), rate=0.5, span=3.0)  # 6 of 12 in 2 spans: 5 x 5 masks
    _, counts = np.unique(noise @ (1 << np.arange(12)), return_counts=True)
    assert len(counts) == 25
    assert ((counts - 2000) ** 2 / 2000).sum() < 51.2  # chi-square, 24 degrees, p = 0.001


def test_the_noise_rate_holds_over_a_corpus():
    n = keyed("n").integers(20, 600, 600)
    noise = noise_spans(n, 600, keyed("rate"), rate=0.15, span=3.0)
    assert n.sum() > 1e5
    assert noise.sum() == sum(counts_by_hand(int(k), 0.15, 3)[0] for k in n)
    assert abs(noise.sum() / n.sum() - 0.15) < 0.001


@pytest.mark.parametrize("raw, inputs, targets", [(568, 512, 114), (141, 128, 29)])
def test_the_paper_lengths_come_out(raw, inputs, targets):
    ids = np.tile(np.arange(raw), (2, 1))
    noise = noise_spans(np.full(2, raw), raw, keyed(3), rate=0.15, span=3.0)
    shown = pack(*show_sentinels(ids, noise, sentinels=SENTINELS), pad=0, end=1)
    asked = pack(*show_sentinels(ids, ~noise, sentinels=SENTINELS), pad=0, end=1)
    assert shown.ids.shape == (2, inputs) and asked.ids.shape == (2, targets)
    assert shown.valid.all() and asked.valid.all()


def test_the_prefix_ends_uniformly():
    noise = noise_tail(np.full(40_000, 5), 6, keyed("tail"))
    assert not noise[:, 0].any() and noise[:, 4].all() and not noise[:, 5].any()
    counts = np.bincount(noise.sum(1), minlength=5)
    assert counts[0] == 0 and all(abs(c - 10_000) < 3 * np.sqrt(10_000 * 0.75) for c in counts[1:])


# ---- the table of the paper ----

TEXT = "Thank you for inviting me to your party last week .".split()
M, X, Y, Z = 900, 2099, 2098, 2097
NAMES = {M: "M", X: "X", Y: "Y", Z: "Z"}


def read(tokens, keep):
    return " ".join(NAMES.get(int(t)) or TEXT[t] for t in tokens[keep])


def words_noise(*words):
    return np.array([[w in words for w in TEXT]])


IDS = np.arange(len(TEXT))[None]
SINGLES = words_noise("for", "inviting", "last")
SPANS = words_noise("for", "inviting", "me", "your", "party", "last")


def test_table_prefix_lm():
    noise = np.arange(11)[None] >= 4
    assert read(*[x[0] for x in show_dropped(IDS, noise)]) == "Thank you for inviting"
    assert read(*[x[0] for x in show_dropped(IDS, ~noise)]) == "me to your party last week ."


def test_table_bert_style():
    noise, rng = words_noise("for", "inviting", "last"), keyed("bert style")
    tokens, keep = show_masked(np.repeat(IDS, 20_000, 0), np.repeat(noise, 20_000, 0), rng, mask=M, words=WORDS,
                               random_rate=0.1)  # fmt: skip
    assert keep.all() and (tokens[:, ~noise[0]] == IDS[:, ~noise[0]]).all()
    at = tokens[:, noise[0]]
    assert ((at == M) | ((at >= WORDS[0]) & (at < WORDS[1]))).all()  # nothing is left unchanged
    assert abs((at != M).mean() - 0.1) < 3 * np.sqrt(0.09 / at.size)


def test_table_deshuffling():
    ids = np.tile(np.arange(8), (2, 1))
    mixed = shuffle(ids, np.array([8, 5]), keyed("deshuffle"))
    assert sorted(mixed[0]) == list(range(8)) and (mixed[0] != ids[0]).any()
    assert sorted(mixed[1, :5]) == list(range(5)) and mixed[1, 5:].tolist() == [5, 6, 7]
    first = shuffle(np.tile(np.arange(4), (24_000, 1)), np.full(24_000, 4), keyed("orders"))
    _, counts = np.unique(first @ 10 ** np.arange(4), return_counts=True)
    assert len(counts) == 24 and ((counts - 1000) ** 2 / 1000).sum() < 49.7  # 23 degrees, p = 0.001


def test_table_mask_tokens():
    tokens, keep = show_masked(IDS, SINGLES, keyed(1), mask=M, words=WORDS)
    assert read(tokens[0], keep[0]) == "Thank you M M me to your party M week ."


def test_table_replace_spans():
    tokens, keep = show_sentinels(IDS, SINGLES, sentinels=SENTINELS)
    assert read(tokens[0], keep[0]) == "Thank you X me to your party Y week ."
    tokens, keep = show_sentinels(IDS, ~SINGLES, sentinels=SENTINELS)
    assert read(tokens[0], keep[0]) == "X for inviting Y last Z"


def test_table_drop_tokens():
    assert read(*[x[0] for x in show_dropped(IDS, SINGLES)]) == "Thank you me to your party week ."
    assert read(*[x[0] for x in show_dropped(IDS, ~SINGLES)]) == "for inviting last"


def test_table_random_spans():
    tokens, keep = show_sentinels(IDS, SPANS, sentinels=SENTINELS)
    assert read(tokens[0], keep[0]) == "Thank you X to Y week ."
    tokens, keep = show_sentinels(IDS, ~SPANS, sentinels=SENTINELS)
    assert read(tokens[0], keep[0]) == "X for inviting me Y your party last Z"


# ---- sentinels ----


def rebuild(inputs, targets):
    """The text from the two sides, by a loop."""
    fills, current = {}, None
    for token in targets:
        if token in SENTINELS:
            current = fills.setdefault(int(token), [])
        else:
            current.append(int(token))
    out = []
    for token in inputs:
        out += fills[int(token)] if token in SENTINELS else [int(token)]
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 80), st.integers(0, 10**6))
def test_input_and_target_give_back_the_text(n, seed):
    ids = keyed("ids", seed).integers(10, 900, (3, n))
    for noise in (
        noise_spans(np.full(3, n), n, keyed("a", seed), rate=0.15, span=3.0),
        (keyed("b", seed).random((3, n)) < 0.15) & (np.arange(n) > 0),
    ):
        shown = pack(*show_sentinels(ids, noise, sentinels=SENTINELS), pad=0)
        asked = pack(*show_sentinels(ids, ~noise, sentinels=SENTINELS), pad=0)
        for row in range(3):
            assert rebuild(shown.ids[row][shown.valid[row]], asked.ids[row][asked.valid[row]]) == ids[row].tolist()


def test_sentinels_descend_from_the_last_id():
    tokens, keep = show_sentinels(IDS, words_noise("you", "me", "week"), sentinels=SENTINELS)
    assert [t for t in tokens[0, keep[0]] if t > 2000] == [2099, 2098, 2097]


def test_spans_beyond_the_sentinels_are_left_alone_or_refused():
    noise = words_noise("you", "me", "week")
    with pytest.raises(ValueError, match="3 spans in a row and only 2 sentinels"):
        show_sentinels(IDS, noise, sentinels=SENTINELS[:2])
    assert (at_most(noise, 2) == words_noise("you", "me")).all()
