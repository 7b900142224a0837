"""BART: the loss of transformers' class, and each noise as the paper says it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from modeledge.core import IGNORE, Batch, keyed

CLS, SEP, MASK, EOS, PAD = 2, 3, 4, 6, 0
SMALL = dict(vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
             decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, dropout=0.0, pad_token_id=PAD,
             max_position_embeddings=64, bos_token_id=CLS, eos_token_id=EOS, decoder_start_token_id=EOS)  # fmt: skip
NOISES = {
    "masking": {"noise": "mask"},
    "deletion": {"noise": "delete"},
    "infilling": {"noise": "infill"},
    "permutation": {"noise": "none", "moves": ["sentences"]},
    "rotation": {"noise": "none", "moves": ["rotation"]},
    "all": {"noise": "infill", "moves": ["sentences", "rotation"]},
}
each_noise = pytest.mark.parametrize("name", NOISES)


def texts(b=40, t=34):
    """Framed rows of different lengths, every ordinary token once, with words and sentences."""
    rng = keyed("texts")
    ids = np.argsort(rng.random((b, 43)), axis=1)[:, :t].astype(np.int32) + 7
    n = rng.integers(8, t + 1, b)
    place = np.arange(t)
    valid = place < n[:, None]
    ids[:, 0] = CLS
    ids[place == n[:, None] - 1] = SEP
    special = (place == 0) | (place >= n[:, None] - 1)
    starts = (rng.random((b, t)) < 0.2) | (place == 1)
    words = (rng.random((b, t)) < 0.7) | starts | special
    fields = {"word_starts": words, "sentence_starts": starts & ~special, "special": special}
    return Batch(ids=np.where(valid, ids, PAD), valid=valid, **fields)


def shown_and_asked(lab, name, rows):
    objective = lab.objective("reconstruct", lab.backbone("encoder_decoder"), **NOISES[name])
    view = lab.view(objective, rows, name)
    valid = view.get("valid", np.ones(view.ids.shape, bool))
    inputs = [row[ok].tolist() for row, ok in zip(view.ids, valid, strict=True)]
    targets = [row[row != IGNORE].tolist() for row in view.decoder_labels]
    text = [r[ok][1:-1].tolist() for r, ok in zip(rows.ids, rows.valid, strict=True)]
    return text, inputs, targets


def test_the_loss_and_its_gradient_are_those_of_bart(lab, adopt):
    theirs = BartForConditionalGeneration(BartConfig(**SMALL)).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
    backbone, objectives = adopt(theirs)
    objective = lab.objective("reconstruct", backbone, moves=["sentences"])
    objective.head = objectives["reconstruct"].head
    batch = lab.ready(objective, texts(4), 1)
    found = objective(backbone, batch)["reconstruct"].mean()
    wanted = theirs(batch.ids, attention_mask=batch.valid.long(), labels=batch.decoder_labels).loss
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)  # their shift to the right is ours
    found.backward()
    wanted.backward()
    torch.testing.assert_close(backbone.embed.weight.grad, theirs.model.shared.weight.grad, atol=1e-5, rtol=1e-4)


@each_noise
def test_the_whole_text_is_asked_and_what_frames_it_does_not_move(lab, name):
    for text, inputs, targets in zip(*shown_and_asked(lab, name, texts()), strict=True):
        assert targets == [CLS, *text, EOS]
        assert inputs[0] == CLS and inputs[-1] == EOS and not {CLS, EOS, SEP} & set(inputs[1:-1])


def test_the_decoder_begins_with_the_end_token_as_the_release_does(lab):
    objective = lab.objective("reconstruct", lab.backbone("encoder_decoder"))
    view = lab.view(objective, Batch(ids=np.array([[CLS, 15, 16, SEP]])), 1)
    assert view.decoder_ids[0, :4].tolist() == [EOS, CLS, 15, 16] and view.decoder_labels[0, :4].tolist() == [
        CLS,
        15,
        16,
        EOS,
    ]


def test_masking_shows_as_many_masks_as_tokens_and_deletion_does_not_say_where(lab):
    rows = texts()
    for text, inputs, _ in zip(*shown_and_asked(lab, "masking", rows), strict=True):
        body = inputs[1:-1]
        changed = [(a, b) for a, b in zip(body, text, strict=True) if a != b]
        assert all(a == MASK for a, _ in changed) and len(changed) == max(1, round(0.3 * len(text)))
    for text, inputs, _ in zip(*shown_and_asked(lab, "deletion", rows), strict=True):
        body = inputs[1:-1]
        assert [x for x in text if x in body] == body and len(text) - len(body) == max(1, round(0.3 * len(text)))


def test_permutation_keeps_sentences_and_rotation_the_cyclic_order(lab):
    rows = texts()
    moved = 0
    for i, (text, inputs, _) in enumerate(zip(*shown_and_asked(lab, "permutation", rows), strict=True)):
        body, cut = inputs[1:-1], [k - 1 for k in np.flatnonzero(rows.sentence_starts[i])]
        sentences = [text[a:b] for a, b in zip(cut, [*cut[1:], len(text)], strict=True)]
        assert sorted(body) == sorted(text)
        for sentence in sentences:
            at = body.index(sentence[0])
            assert body[at : at + len(sentence)] == sentence
        moved += body != text
    assert moved > 20
    for text, inputs, _ in zip(*shown_and_asked(lab, "rotation", rows), strict=True):
        body = inputs[1:-1]
        at = body.index(text[0])
        assert body[at:] + body[:at] == text


def test_all_noises_together_hide_a_share_of_the_words_of_the_moved_text(lab):
    rows = texts()
    for i, (text, inputs, _) in enumerate(zip(*shown_and_asked(lab, "all", rows), strict=True)):
        left = [x for x in inputs[1:-1] if x != MASK]
        starts = np.flatnonzero(rows.word_starts[i, 1 : len(text) + 1])
        words = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
        gone = sum(w[0] not in left for w in words)
        # a rotation may cut a word in two, and so may the place where the row begins
        assert set(left) <= set(text) and abs(gone - int(np.ceil(0.3 * len(words)))) <= 1


def test_a_hidden_token_changes_nothing_of_the_input(lab):
    objective = lab.objective("reconstruct", lab.backbone("encoder_decoder"))
    rows = texts(1)
    before = lab.view(objective, rows, 1)
    for place in range(1, int(rows.valid.sum()) - 1):
        other = rows.ids.copy()
        other[0, place] = 49 if other[0, place] != 49 else 48
        after = lab.view(objective, rows.but(ids=other), 1)
        assert np.array_equal(before.ids, after.ids) != (rows.ids[0, place] in before.ids)


def test_rows_without_sentences_are_refused_only_where_they_are_needed(lab):
    backbone = lab.backbone("encoder_decoder")
    assert "sentence_starts" in lab.objective("reconstruct", backbone, moves=["sentences"]).needs
    assert lab.objective("reconstruct", backbone, moves=["rotation"]).needs == ("ids",)
