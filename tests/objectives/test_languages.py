"""Languages of the two sides of an encoder-decoder, as tokens (mBART) and as vectors (XLM's), against transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MBartConfig, MBartForConditionalGeneration
from transformers.models.mbart.modeling_mbart import shift_tokens_right

from modeledge.core import IGNORE, Batch, RecipeError, keyed
from modeledge.run.generate import generate

EOS, PAD, MASK = 2, 1, 4
TONGUES = {"lang0": 56, "lang1": 57, "lang2": 58}
SPECIAL = {"bos": 0, "pad": PAD, "eos": EOS, "sep": EOS, "unk": 3, "mask": MASK, **TONGUES}
SMALL = dict(vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
             decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, dropout=0.0, pad_token_id=PAD,
             max_position_embeddings=64, bos_token_id=0, eos_token_id=EOS, scale_embedding=True)  # fmt: skip


@pytest.fixture
def tongues(lab):
    """The laboratory with mBART's special tokens: nothing begins a text, three languages have tokens."""
    lab.facts.special, lab.facts.words = dict(SPECIAL), (7, 50)
    return lab


def texts(b=30, t=26, *, lang=None):
    """Rows `text </s>` of different lengths with the language of each."""
    rng = keyed("texts")
    n = rng.integers(6, t + 1, b)
    place = np.arange(t)
    ids = rng.integers(7, 50, (b, t)).astype(np.int32)
    ids[place == n[:, None] - 1] = EOS
    valid = place < n[:, None]
    starts = (rng.random((b, t)) < 0.2) & valid & (ids != EOS)
    lang = rng.integers(0, 3, b) if lang is None else lang
    words = starts | (rng.random((b, t)) < 0.7)
    return Batch(ids=np.where(valid, ids, PAD), valid=valid, lang=lang, sentence_starts=starts, word_starts=words)


def reconstruct(lab, **settings):
    return lab.objective("reconstruct", lab.backbone("encoder_decoder"), rate=0.35, span=3.5, start="lang", **settings)


def test_the_input_ends_with_its_language_which_also_begins_the_output(tongues):
    rows = texts()
    objective = reconstruct(tongues, moves=["sentences"])
    hidden = 0
    for draw in range(20):  # the token of the language is never hidden, moved or asked for
        view = tongues.view(objective, rows, draw)
        for i, lang in enumerate(rows.lang):
            text = rows.ids[i][rows.valid[i]].tolist()
            shown = view.ids[i][view.valid[i]].tolist()
            assert shown[-2:] == [EOS, 56 + lang] and not set(shown[:-2]) & {EOS, PAD, 56, 57, 58}
            asked = view.decoder_labels[i][view.decoder_labels[i] != IGNORE].tolist()
            assert asked == text  # in the order it had
            assert view.decoder_ids[i, : len(asked)].tolist() == [56 + lang, *asked[:-1]]
            hidden += MASK in shown
    assert hidden > 590 and view.lang.tolist() == view.decoder_lang.tolist() == rows.lang.tolist()


def test_the_decoder_reads_what_transformers_makes_of_labels_that_end_with_the_language(tongues):
    rows = texts()
    view = tongues.view(reconstruct(tongues), rows, 1)
    for i, lang in enumerate(rows.lang):
        labels = view.decoder_labels[i][view.decoder_labels[i] != IGNORE]
        theirs = shift_tokens_right(torch.tensor([[*labels.tolist(), 56 + lang, PAD]]), PAD)[0]
        assert theirs[: len(labels)].tolist() == view.decoder_ids[i, : len(labels)].tolist()


def test_the_loss_and_its_gradient_are_those_of_mbart(tongues, adopt):
    theirs = MBartForConditionalGeneration(MBartConfig(**SMALL)).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
    backbone, objectives = adopt(theirs, special=dict(SPECIAL))
    objective = tongues.objective("reconstruct", backbone, rate=0.35, span=3.5, start="lang", moves=["sentences"])
    objective.head = objectives["reconstruct"].head
    batch = tongues.ready(objective, texts(4), 1)
    found = objective(backbone, batch)["reconstruct"].mean()
    real = batch.valid.long()
    wanted = theirs(batch.ids, attention_mask=real, labels=batch.decoder_labels, decoder_input_ids=batch.decoder_ids)
    assert found.item() == pytest.approx(wanted.loss.item(), abs=1e-5)
    found.backward()
    wanted.loss.backward()
    torch.testing.assert_close(backbone.embed.weight.grad, theirs.model.shared.weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("langs", [(0, 2), (2, 0)])
def test_another_pair_of_languages_is_the_same_model_with_other_tokens(tongues, langs):
    backbone = tongues.backbone("encoder_decoder")
    objective = tongues.objective("seq2seq", backbone, start={"kind": "lang", "langs": langs})
    rows = texts(5)
    view = tongues.view(objective, Batch(ids=rows.ids, valid=rows.valid, target_ids=rows.ids, target_valid=rows.valid))
    last = np.take_along_axis(view.ids, view.valid.sum(1)[:, None] - 1, 1)[:, 0]
    assert (last == 56 + langs[0]).all() and (view.decoder_ids[:, 0] == 56 + langs[1]).all()
    assert (view.lang == langs[0]).all() and (view.decoder_lang == langs[1]).all()


@pytest.mark.parametrize("types", [{}, {"lang": 3}])
def test_what_is_written_is_what_the_loss_would_have_chosen(tongues, types):
    """Greedy writing against the most likely token after each prefix, languages as tokens and as vectors."""
    backbone = tongues.backbone("encoder_decoder", embedding={"kind": "tokens", "types": types})
    objective = tongues.objective("seq2seq", backbone, start={"kind": "lang", "langs": (1, 2)})
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(0.3 * torch.randn_like(p))
    rows = texts(4)
    said = generate(backbone, objective, objective.told(Batch(ids=rows.ids, valid=rows.valid)).tensors(), limit=6)
    asked = {"target_ids": said.numpy(), "target_valid": said.numpy() != PAD}
    batch = tongues.ready(objective, Batch(ids=rows.ids, valid=rows.valid, **asked), 1)
    best = objective.scores(objective.run(backbone, batch), batch).argmax(-1)
    assert torch.equal(best[batch.decoder_labels != IGNORE], batch.decoder_labels[batch.decoder_labels != IGNORE])


def test_either_side_knows_its_language_by_its_vector(tongues):
    backbone = tongues.backbone("encoder_decoder", embedding={"kind": "tokens", "types": {"lang": 3}})
    objective = tongues.objective("mass", backbone, start="eos")
    batch = tongues.ready(objective, texts(6), 1)
    states = objective.run(backbone, batch)
    for field, same in (("decoder_lang", True), ("lang", False)):
        other = objective.run(backbone, batch.but(**{field: (batch[field] + 1) % 3}))
        assert torch.equal(other.encoder_states, states.encoder_states) == same
        assert not torch.allclose(other.states, states.states)


def test_rows_of_unknown_language_and_languages_without_tokens_are_refused(tongues):
    backbone = tongues.backbone("encoder_decoder")
    objective = reconstruct(tongues)
    with pytest.raises(RecipeError, match=r"(?s)do not say their language.*objectives\.0\.start\.langs"):
        tongues.view(objective, texts().but(lang=None), 1)
    with pytest.raises(RecipeError, match=r"(?s)each of 4 languages.*has 3.*tokenizer\.languages=4"):
        tongues.objective("seq2seq", backbone, start={"kind": "lang", "langs": (0, 3)})
    tongues.facts.types = {"lang": 7}
    with pytest.raises(RecipeError, match="each of 7 languages"):
        reconstruct(tongues)
