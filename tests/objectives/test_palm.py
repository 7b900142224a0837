"""PALM: what is read and what is written, two losses, and copying at work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, Batch, keyed

CLS, SEP, MASK, EOS = 2, 3, 4, 6


def make(lab, **settings):
    backbone = lab.backbone("encoder_decoder", positions={"kind": "learned", "max": 64})
    return backbone, lab.objective("palm", backbone, **settings)


def test_the_encoder_reads_four_fifths_and_the_decoder_writes_the_rest(lab):
    _, objective = make(lab)
    rows = lab.rows(50)
    view = lab.view(objective, rows, 1)
    for i in range(50):
        text = rows.ids[i, 1 : int(rows.valid[i].sum()) - 1].tolist()
        cut = round(0.8 * len(text))
        shown = np.where(view.labels[i] != IGNORE, view.labels[i], view.ids[i])
        assert shown[: cut + 2].tolist() == [CLS, *text[:cut], EOS]
        assert view.decoder_labels[i][view.decoder_labels[i] != IGNORE].tolist() == [*text[cut:], EOS]
        assert view.decoder_ids[i, 0] == CLS


def test_hidden_tokens_and_special_ones_cannot_be_copied(lab):
    _, objective = make(lab)
    view = lab.view(objective, lab.rows(50), 1)
    assert not view.copied[view.labels != IGNORE].any() and not view.copied[view.ids < 7].any()
    plain = (view.ids >= 7) & (view.labels == IGNORE)
    assert view.copied[plain].all()


def test_both_losses_reach_the_encoder_and_only_one_the_decoder(lab):
    backbone, objective = make(lab)
    sums = objective(backbone, lab.ready(objective, lab.rows(), 1))
    parts = {"encoder": backbone.encoder.blocks[0].ffn.up.weight, "decoder": backbone.decoder.blocks[0].ffn.up.weight}
    reached = {}
    for name, value in sums.items():
        grads = torch.autograd.grad(value.total, list(parts.values()), retain_graph=True, allow_unused=True)
        reached[name] = [p for p, g in zip(parts, grads, strict=True) if g is not None and g.abs().sum() > 0]
    assert reached == {"palm": ["encoder", "decoder"], "palm.mlm": ["encoder"]}


def test_the_loss_is_the_negative_log_of_the_mixture(lab):
    backbone, objective = make(lab)
    batch = lab.ready(objective, lab.rows(), 1)
    out = objective.run(backbone, batch)
    p = objective.scores(out, batch).exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:2]), atol=1e-5, rtol=0)
    real = batch.decoder_labels != IGNORE
    wanted = -p[real].gather(-1, batch.decoder_labels[real][:, None]).log().sum()
    torch.testing.assert_close(objective.loss(out, batch)["palm"].total, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_names_never_met_are_copied_only_with_the_pointer(lab):
    """The second part repeats a name of the first; names of the test rows do not occur in training."""

    def rows(names, seed, b=64):
        rng = keyed("names", seed)
        ids = rng.integers(7, 20, (b, 12)).astype(np.int32)
        ids[:, 0], ids[:, -1] = CLS, SEP
        ids[:, 5] = 20  # "my name is"
        ids[:, 6] = rng.choice(names, b)
        ids[:, 9] = 21  # ... "said"
        ids[:, 10] = ids[:, 6]
        return Batch(ids=ids, special=ids < 7)

    def right(kind):
        torch.manual_seed(1)
        backbone = lab.backbone("encoder_decoder", width=32, positions={"kind": "learned", "max": 64})
        objective = lab.objective("palm", backbone, rate=0.01, split=0.8)
        if kind == "plain":  # the gate is shut
            objective.head.gate.requires_grad_(False)
            objective.head.gate.weight.data.zero_()
            objective.head.gate.bias.data.fill_(50.0)
        both = torch.nn.ModuleList([backbone, objective])
        optimizer = torch.optim.Adam([p for p in both.parameters() if p.requires_grad], lr=3e-3)
        for step in range(500):
            sums = objective(backbone, lab.ready(objective, rows(range(22, 40), step), step))
            optimizer.zero_grad()
            sum(s.mean() for s in sums.values()).backward()
            optimizer.step()
        batch = lab.ready(objective, rows(range(40, 50), "test"), "test")
        said = objective.scores(objective.run(backbone, batch), batch).argmax(-1)
        name = (batch.decoder_labels >= 40) & (batch.decoder_labels < 50)
        hidden = ((batch.ids >= 40) & (batch.ids < 50)).any(-1, keepdim=True)
        keep = name & hidden
        return float((said == batch.decoder_labels)[keep].float().mean())

    with_pointer, without = right("palm"), right("plain")
    assert with_pointer > 0.5 and without < 0.2, (with_pointer, without)
