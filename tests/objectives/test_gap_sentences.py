"""PEGASUS: what is taken out, what is written, and the loss of transformers' class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PegasusConfig, PegasusForConditionalGeneration

from modeledge.core import IGNORE, Batch, RecipeError, keyed

SENT, MASK, EOS, SEP, PAD = 1, 4, 6, 3, 0
SMALL = dict(vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
             decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, dropout=0.0, pad_token_id=PAD,
             max_position_embeddings=64, eos_token_id=EOS, decoder_start_token_id=PAD,
             scale_embedding=True)  # fmt: skip


@pytest.fixture
def lab(lab):
    lab.facts.special["mask_sent"] = SENT
    return lab


def texts(b=60, t=40):
    """Rows without a token in front, every ordinary token once."""
    rng = keyed("texts")
    ids = np.argsort(rng.random((b, 43)), axis=1)[:, :t].astype(np.int32) + 7
    n = rng.integers(10, t + 1, b)
    place = np.arange(t)
    ids[place == n[:, None] - 1] = SEP
    starts = ((rng.random((b, t)) < 0.2) | (place == 0)) & (place < n[:, None] - 1)
    valid = place < n[:, None]
    return Batch(ids=np.where(valid, ids, PAD), valid=valid, sentence_starts=starts)


def each_row(lab, rows, **settings):
    """(sentences, input, target) of every row."""
    objective = lab.objective("gap_sentences", lab.backbone("encoder_decoder"), **settings)
    view = lab.view(objective, rows, 1)
    for i in range(len(rows.ids)):
        cut = np.flatnonzero(rows.sentence_starts[i])
        end = int(rows.valid[i].sum()) - 1
        sentences = [rows.ids[i, a:b].tolist() for a, b in zip(cut, [*cut[1:], end], strict=True)]
        shown = view.ids[i][view.valid[i]] if "valid" in view else view.ids[i]
        yield sentences, shown.tolist(), view.decoder_labels[i][view.decoder_labels[i] != IGNORE].tolist()


@pytest.mark.parametrize("strategy", ["random", "lead", "ind_orig", "ind_uniq", "seq_orig", "seq_uniq"])
def test_each_gap_is_one_mask_and_the_target_holds_them_in_the_order_of_the_text(lab, strategy):
    for sentences, shown, asked in each_row(lab, texts(), strategy=strategy):
        gone = [s for s in sentences if s[0] not in shown]
        assert len(gone) == max(1, int(0.3 * len(sentences) + 1e-9))
        assert asked == [*sum(gone, []), EOS]
        assert shown == [*sum([[SENT] if s in gone else s for s in sentences], []), EOS]
        if strategy == "lead":
            assert gone == sentences[: len(gone)]


def test_rates_between_two_bounds_and_some_gaps_still_shown(lab):
    shares, whole, gaps = [], 0, 0
    for sentences, shown, asked in each_row(lab, texts(600), strategy="random", rate=[0.15, 0.45], intact=0.1):
        chosen = [s for s in sentences if s[0] in asked]
        shares.append((len(chosen), len(sentences)))
        whole += sum(s[0] in shown for s in chosen)
        gaps += len(chosen)
    assert all(max(1, int(0.15 * n)) <= k <= max(1, int(0.45 * n)) for k, n in shares)
    assert len({k for k, n in shares if n == 9}) > 1
    assert abs(whole - 0.1 * gaps) < 4 * np.sqrt(0.09 * gaps)


def test_tokens_of_the_other_sentences_are_hidden_with_another_mask_and_predicted_by_the_encoder(lab):
    objective = lab.objective("gap_sentences", lab.backbone("encoder_decoder"), hide=0.15)
    rows = texts()
    view = lab.view(objective, rows, 1)
    for i in range(len(rows.ids)):
        hidden = view.labels[i] != IGNORE
        asked = set(view.decoder_labels[i].tolist())
        assert not set(view.labels[i][hidden].tolist()) & asked  # none of a gap
        left = rows.valid[i].sum() - 1 - len(asked - {IGNORE, EOS})
        assert hidden.sum() == max(1, round(0.15 * left)) if left else not hidden.any()
        assert not (view.ids[i][hidden] == SENT).any()
    assert objective.losses == ("gap_sentences", "gap_sentences.mlm")


def test_the_second_loss_reaches_the_encoder_alone(lab):
    backbone = lab.backbone("encoder_decoder")
    objective = lab.objective("gap_sentences", backbone, hide=0.15)
    sums = objective(backbone, lab.ready(objective, texts(4), 1))
    sums["gap_sentences.mlm"].total.backward(retain_graph=True)
    assert all(p.grad is None for n, p in backbone.decoder.named_parameters() if "word" not in n)
    assert backbone.encoder.blocks[0].ffn.up.weight.grad.abs().sum() > 0


def test_a_gap_changes_nothing_of_the_input_but_through_what_is_chosen(lab):
    """With a choice that does not look at the tokens, no token of a gap shows."""
    objective = lab.objective("gap_sentences", lab.backbone("encoder_decoder"), strategy="lead")
    rows = texts(1)
    before = lab.view(objective, rows, 1)
    for place in range(int(rows.valid.sum()) - 1):
        other = rows.ids.copy()
        other[0, place] = 49 if other[0, place] != 49 else 48
        after = lab.view(objective, rows.but(ids=other), 1)
        assert np.array_equal(before.ids, after.ids) != (rows.ids[0, place] in before.ids)


def test_the_loss_and_its_gradient_are_those_of_pegasus_and_waves_have_none(lab, adopt):
    theirs = PegasusForConditionalGeneration(PegasusConfig(**SMALL)).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    backbone, objectives = adopt(theirs, special=dict(lab.facts.special))
    objective = lab.objective("gap_sentences", backbone, start="pad")
    objective.head = objectives["gap_sentences"].head
    batch = lab.ready(objective, texts(4), 1)
    found = objective(backbone, batch)["gap_sentences"].mean()
    wanted = theirs(batch.ids, attention_mask=batch.valid.long(), labels=batch.decoder_labels).loss
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    found.backward()
    wanted.backward()
    ours, his = backbone.embed.weight.grad, theirs.model.shared.weight.grad
    torch.testing.assert_close(ours[1:], his[1:], atol=1e-5, rtol=1e-4)  # theirs learns no vector for padding
    assert not any("positions" in name for name, _ in backbone.named_parameters())


def test_a_tokenizer_without_a_mask_for_sentences_is_refused(lab):
    del lab.facts.special["mask_sent"]
    with pytest.raises(RecipeError, match="mask_sent.*\n.*family=pegasus"):
        lab.objective("gap_sentences", lab.backbone("encoder_decoder"))
