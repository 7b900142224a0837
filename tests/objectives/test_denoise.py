"""T5's objectives as settings: what each shows and asks, and that nothing asked is shown."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import IGNORE, Batch, RecipeError, keyed
from modeledge.run.health import judge

EOS, PAD = 6, 0
TABLE = {
    "prefix language model": {"noise": "tail", "show": "drop", "ask": "noise"},
    "bert-style": {"noise": "each", "show": "mixed", "ask": "full"},
    "deshuffling": {"noise": "shuffle", "ask": "full"},
    "mask tokens": {"noise": "each", "show": "mask", "ask": "full"},
    "replace spans": {"noise": "each", "show": "sentinel", "ask": "sentinel"},
    "drop tokens": {"noise": "each", "show": "drop", "ask": "noise"},
    "random spans": {"noise": "spans", "show": "sentinel", "ask": "sentinel"},
}
each_row = pytest.mark.parametrize("name", TABLE)


def texts(lab, rows=40, width=32):
    """Rows of different lengths without special tokens; every token once, so that places can be told apart."""
    ids = np.argsort(keyed("texts").random((rows, 43)), axis=1)[:, :width].astype(np.int32) + 7
    n = keyed("lengths").integers(8, width + 1, rows)
    valid = np.arange(width) < n[:, None]
    return Batch(ids=np.where(valid, ids, PAD), valid=valid)


def shown_and_asked(lab, name, **more):
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"), **TABLE[name], **more)
    rows = texts(lab)
    view = lab.view(objective, rows, name)
    valid = view.get("valid", np.ones(view.ids.shape, bool))
    inputs = [row[ok].tolist() for row, ok in zip(view.ids, valid, strict=True)]
    targets = [row[row != IGNORE].tolist() for row in view.decoder_labels]
    assert all(x[-1] == EOS and EOS not in x[:-1] for x in inputs + targets)  # both sides end
    return [r[ok].tolist() for r, ok in zip(rows.ids, rows.valid, strict=True)], [x[:-1] for x in inputs], \
        [x[:-1] for x in targets]  # fmt: skip


def rebuild(inputs, targets, sentinels):
    fills, current = {}, []
    for token in targets:
        if token in sentinels:
            current = fills.setdefault(token, [])
        else:
            current.append(token)
    return [t for token in inputs for t in (fills[token] if token in sentinels else [token])]


@each_row
def test_input_and_target_hold_the_text(lab, name):
    sentinels = set(lab.facts.sentinels)
    for text, inputs, targets in zip(*shown_and_asked(lab, name), strict=True):
        if TABLE[name]["ask"] == "full":
            assert targets == text
        elif name == "prefix language model":
            assert inputs + targets == text and inputs and targets
        elif name == "drop tokens":
            assert sorted(inputs + targets) == sorted(text)
            assert [t for t in text if t in inputs] == inputs and [t for t in text if t in targets] == targets
        else:
            assert rebuild(inputs, targets, sentinels) == text


@each_row
def test_the_input_is_corrupted_as_the_table_says(lab, name):
    counted = 0
    for text, inputs, targets in zip(*shown_and_asked(lab, name), strict=True):
        if name == "deshuffling":
            assert sorted(inputs) == sorted(text) and inputs != text
        if name in ("mask tokens", "bert-style"):
            changed = [(a, b) for a, b in zip(inputs, text, strict=True) if a != b]
            assert inputs[0] == text[0] and all(a == 4 or (name == "bert-style" and 7 <= a < 50) for a, _ in changed)
            counted += len(changed)
        if name == "random spans":
            spans = [t for t in inputs if t in lab.facts.sentinels]
            noise = min(max(round(0.15 * len(text)), 1), len(text) - 1)
            assert spans == lab.facts.sentinels[: len(spans)] == [t for t in targets if t in spans]
            assert len(spans) == max(1, round(noise / 3)) and len(targets) == noise + len(spans)
            assert inputs[0] not in spans
    if name in ("mask tokens", "bert-style"):
        n = sum(len(t) - 1 for t in shown_and_asked(lab, name)[0])
        assert abs(counted - 0.15 * n) < 4 * np.sqrt(0.15 * 0.85 * n)


@each_row
def test_what_is_asked_is_not_shown(lab, name):
    """A hidden token changes nothing of the input, and nothing the decoder reads before it has to be predicted."""
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"), **TABLE[name])
    rows = texts(lab, 1, 32)
    before = lab.view(objective, rows, name)
    for place in range(int(rows.valid.sum())):
        other = rows.ids.copy()
        other[0, place] = 49 if other[0, place] != 49 else 48
        after = lab.view(objective, rows.but(ids=other), name)
        labels = np.flatnonzero(before.decoder_labels[0] != after.decoder_labels[0])
        hidden = np.array_equal(before.ids, after.ids)
        assert hidden or name in ("deshuffling",) or rows.ids[0, place] in before.ids
        if len(labels):
            assert (before.decoder_ids[0] == after.decoder_ids[0])[: labels[0] + 1].all()
        assert len(labels) or not hidden  # a token is shown, or asked, or both


def test_rows_that_end_with_an_end_token_get_no_second_one(lab):
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"), **TABLE["mask tokens"])
    rows = texts(lab, 5)
    last = rows.valid.sum(1) - 1
    rows.ids[np.arange(5), last] = EOS
    view = lab.view(objective, rows, 1)
    assert ((view.decoder_labels == EOS).sum(1) == 1).all() and ((view.ids == EOS).sum(1) == 1).all()


def test_full_rows_have_the_paper_lengths_and_no_padding_in_the_input(lab):
    lab.facts.sentinels = list(range(1099, 1069, -1))
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"))
    view = lab.view(objective, Batch(ids=keyed(1).integers(7, 50, (3, 568))), 1)
    assert view.ids.shape == (3, 512) and "valid" not in view
    assert ((view.decoder_labels != IGNORE).sum(1) == 114).all()


def test_spans_never_outnumber_the_sentinels(lab):
    lab.facts.sentinels = lab.facts.sentinels[:3]
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"), **TABLE["replace spans"], rate=0.4)
    view = lab.view(objective, texts(lab), 1)
    used = (np.isin(view.ids, lab.facts.sentinels)).sum(1)
    assert used.max() == 2  # the last one may be needed to close the target
    for row in view.decoder_labels:
        assert set(row[row > 49]) <= set(lab.facts.sentinels)


def test_a_tokenizer_without_sentinels_is_refused_in_one_message(lab):
    lab.facts.sentinels = []
    with pytest.raises(RecipeError, match="needs a tokenizer with sentinels.*\n.*tokenizer.sentinels=100"):
        lab.objective("denoise", lab.backbone("encoder_decoder"))


@pytest.mark.parametrize("name", ["replace spans", "random spans"])
@pytest.mark.parametrize("length", [128, 512])
def test_knowing_frequencies_and_the_order_of_sentinels_is_not_learning(lab, name, length):
    """What is counted in the targets, and used to predict them: how often words occur, and that spans end."""
    lab.facts.sentinels = list(range(1000, 800, -1))
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"), **TABLE[name])
    p = lab.facts.counts / lab.facts.counts.sum()
    rows = Batch(ids=keyed("words").choice(60, (400, length), p=p).astype(np.int32))
    targets = lab.view(objective, rows, name).decoder_labels
    words = (targets >= 7) & (targets < 50)
    named = (targets > 800) & (targets != IGNORE)
    ends = named.sum() / words.sum()  # after a word; the first sentinel of a row stands for its end token
    often = np.bincount(targets[words], minlength=60) / words.sum()
    cost = words.sum() * -(often[often > 0] * np.log(often[often > 0])).sum()
    cost += words.sum() * -(ends * np.log(ends) + (1 - ends) * np.log(1 - ends))
    baseline = objective.baselines(lab.facts)
    assert baseline["unigram"] < cost / (targets != IGNORE).sum() < baseline["uniform"]
    state = judge([{"loss": {"denoise": float(cost / (targets != IGNORE).sum())}}], {"denoise": baseline})[0].state
    assert state == "frequencies"


def test_a_target_that_is_the_text_costs_what_its_words_cost(lab):
    objective = lab.objective("denoise", lab.backbone("encoder_decoder"), **TABLE["bert-style"])
    p = lab.facts.counts[7:50] / lab.facts.counts.sum()
    assert objective.baselines(lab.facts)["unigram"] == pytest.approx(-(p * np.log(p)).sum())
