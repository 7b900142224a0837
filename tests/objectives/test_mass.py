"""MASS: the view in closed form, its two ends, and positions and readable places as a plain decoder sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, Batch

CLS, MASK, EOS, PAD = 2, 4, 6, 0
PLAIN = {"replace": [1.0, 0.0]}


def make(lab, **settings):
    backbone = lab.backbone("encoder_decoder", positions={"kind": "learned", "max": 64})
    return backbone, lab.objective("mass", backbone, **{**PLAIN, **settings})


def each_row(lab, objective, rows, *key):
    """(tokens of the row with its end, input, decoder's input, its positions, its labels) of every row."""
    view = lab.view(objective, rows, *key)
    for i in range(len(rows.ids)):
        n = int(rows.valid[i].sum()) if "valid" in rows else rows.ids.shape[1]
        text = [*rows.ids[i, : n - 1].tolist(), EOS]
        u = int((view.decoder_labels[i] != IGNORE).sum())
        rest = (view.decoder_ids[i, :u].tolist(), view.decoder_positions[i, :u].tolist(),
                view.decoder_labels[i, :u].tolist())  # fmt: skip
        yield text, view.ids[i, :n].tolist(), *rest


def test_the_fragment_is_masked_and_asked_and_the_decoder_reads_what_stands_left_of_each_token(lab):
    _, objective = make(lab)
    for text, shown, reads, places, asked in each_row(lab, objective, lab.rows(60), 1):
        hidden = [i for i, x in enumerate(shown) if x == MASK]
        assert hidden == list(range(hidden[0], hidden[-1] + 1)) and hidden[0] >= 1  # one fragment, never the first
        assert len(hidden) == round(0.5 * (len(text) - 1))
        assert asked == [text[i] for i in hidden]
        assert places == [i - 1 for i in hidden] and reads == [text[i] for i in places]
        assert [x for i, x in enumerate(shown) if i not in hidden] == [x for i, x in enumerate(text) if i not in hidden]


def test_a_fragment_of_one_token_reads_one_and_asks_one(lab):
    _, objective = make(lab, rate=1e-6)
    for text, shown, reads, _, asked in each_row(lab, objective, lab.rows(20), 1):
        assert len(asked) == len(reads) == 1 and shown.count(MASK) == 1 and len(shown) == len(text)


def test_a_fragment_of_all_tokens_leaves_the_encoder_masks_alone(lab):
    """The target is that of a language model: all tokens from the first; the encoder only knows how many there are."""
    backbone, objective = make(lab, rate=1.0)
    rows = lab.rows(3, 16, padded=False)
    for text, shown, reads, places, asked in each_row(lab, objective, rows, 1):
        assert shown == [CLS] + [MASK] * (len(text) - 1)
        assert asked == text[1:] and reads == text[:-1] and places == list(range(len(text) - 1))
    batch = lab.ready(objective, rows, 1)
    out = objective.run(backbone, batch)
    assert torch.equal(out.encoder_states[0], out.encoder_states[1])


def test_hidden_tokens_are_replaced_in_berts_shares(lab):
    _, objective = make(lab, replace=[0.8, 0.1])
    kinds = {"mask": 0, "kept": 0, "other": 0}
    for text, shown, _, places, _ in each_row(lab, objective, lab.rows(2000, 40), 1):
        for i in (p + 1 for p in places):
            kinds["mask" if shown[i] == MASK else "kept" if shown[i] == text[i] else "other"] += 1
    n = sum(kinds.values())
    for kind, share in {"mask": 0.8, "kept": 0.1 + 0.1 / 43, "other": 0.1 * 42 / 43}.items():
        assert abs(kinds[kind] - share * n) < 4 * np.sqrt(share * n) + 0.01 * n  # the end token has no chance twin


def test_the_decoders_positions_are_those_of_the_tokens_it_reads(lab):
    """Its states are those of a decoder that is given the vectors of these places."""
    backbone, objective = make(lab)
    batch = lab.ready(objective, lab.rows(3, 16), 1)
    found = objective.run(backbone, batch).states
    table = backbone.decoder.positions.table.weight
    rows = []
    for i in range(3):
        at = batch.decoder_positions[i]
        kept = table.data.clone()
        table.data[: len(at)] = kept[at]
        one = Batch({k: v[i : i + 1] for k, v in batch.items() if k != "decoder_positions"})
        rows.append(objective.run(backbone, one).states)
        table.data.copy_(kept)
    torch.testing.assert_close(found, torch.cat(rows), atol=1e-6, rtol=0)


@pytest.mark.parametrize("reads", ["all", "shown"])
def test_hidden_places_of_the_input_may_be_closed_to_the_decoder(lab, reads):
    backbone, objective = make(lab, reads=reads)
    batch = lab.ready(objective, lab.rows(2, 16, padded=False), 1)
    out = objective.run(backbone, batch, keep=["decoder.blocks.0.cross"])
    weights = out.kept["decoder.blocks.0.cross"]  # b h u s
    hidden = (batch.ids == MASK)[:, None, None, :].expand_as(weights)
    assert bool((weights[hidden] > 0).any()) == (reads == "all")
    assert (weights.sum(-1) - 1).abs().max() < 1e-5
