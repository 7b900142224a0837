"""Sentences written again from noisy copies: what the noise may do, against plain loops and its rates."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import IGNORE, Batch

CLS, SEP, MASK, EOS, PAD = 2, 3, 4, 6, 0


def texts(lab, b=300, t=42):
    """Framed rows, no token twice in one."""
    rng = np.random.default_rng(0)
    ids = np.argsort(rng.random((b, 43)), axis=1)[:, :t].astype(np.int32) + 7
    n = rng.integers(4, t + 1, b)
    place = np.arange(t)
    valid = place < n[:, None]
    ids[:, 0] = CLS
    ids[place == n[:, None] - 1] = SEP
    return Batch(ids=np.where(valid, ids, PAD), valid=valid, lang=np.broadcast_to(rng.integers(0, 3, (b, 1)), (b, t)))


def shown_and_asked(lab, **settings):
    rows = texts(lab)
    view = lab.view(lab.objective("autoencode", lab.backbone("encoder_decoder"), **settings), rows, 1)
    text = [r[ok][1:-1].tolist() for r, ok in zip(rows.ids, rows.valid, strict=True)]
    return view, text, [r[ok].tolist() for r, ok in zip(view.ids, view.valid, strict=True)]


def test_the_whole_sentence_is_asked_in_its_own_language(lab):
    view, text, inputs = shown_and_asked(lab)
    rows = texts(lab)
    for i, sentence in enumerate(text):
        labels = view.decoder_labels[i][view.decoder_labels[i] != IGNORE].tolist()
        assert labels == [*sentence, EOS] and view.decoder_ids[i, : len(labels)].tolist() == [EOS, *sentence]
        assert inputs[i][0] == CLS and inputs[i][-1] == EOS and not {CLS, SEP, EOS} & set(inputs[i][1:-1])
    assert view.lang.tolist() == view.decoder_lang.tolist() == rows.lang[:, 0].tolist()


def test_tokens_move_by_less_than_the_reach_and_all_stay(lab):
    _, text, inputs = shown_and_asked(lab, drop=0.0, blank=0.0, shuffle=3.0)
    far = [abs(shown[1:-1].index(t) - i) for s, shown in zip(text, inputs, strict=True) for i, t in enumerate(s)]
    assert max(far) == 2 and 0.4 < np.mean(np.array(far) > 0) < 0.8
    assert all(sorted(shown[1:-1]) == sorted(s) for s, shown in zip(text, inputs, strict=True))


@pytest.mark.parametrize(("rate", "what"), [(0.1, "drop"), (0.3, "drop"), (0.1, "blank"), (0.3, "blank")])
def test_tokens_are_left_out_and_masked_at_their_rates(lab, rate, what):
    settings = {"drop": 0.0, "blank": 0.0, "shuffle": 0.0} | {what: rate}
    _, text, inputs = shown_and_asked(lab, **settings)
    n = sum(map(len, text))
    if what == "drop":
        gone = n - sum(len(shown) - 2 for shown in inputs)
        assert all([t for t in s if t in shown] == shown[1:-1] for s, shown in zip(text, inputs, strict=True))
    else:
        gone = sum(shown.count(MASK) for shown in inputs)
        pairs = zip((t for s in text for t in s), (t for shown in inputs for t in shown[1:-1]), strict=True)
        assert all(b in (a, MASK) for a, b in pairs)
    assert abs(gone / n - rate) < 3 * np.sqrt(rate * (1 - rate) / n)


def test_something_is_always_left(lab):
    _, _, inputs = shown_and_asked(lab, drop=0.99, blank=0.0)
    assert min(map(len, inputs)) == 3
