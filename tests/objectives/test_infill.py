"""Filling blanks: who sees whom, against the dense picture and by gradients; ends of the range; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, Batch, Facts, RecipeError, keyed
from modeledge.run.generate import generate
from modeledge.visibility import see

TYPES = {"embedding": {"kind": "tokens", "types": {"inner": 40}}, "positions": {"kind": "learned", "max": 40}}


@pytest.fixture
def glm(lab):
    backbone = lab.backbone(join="pre", **TYPES)
    return backbone, lab.objective("infill", backbone, rate=0.4)


def parts(batch, row=0):
    """Places of part A and of each run of part B, in order."""
    prefix, size = int(batch.prefix[row]), int(batch.valid[row].sum()) if "valid" in batch else batch.ids.shape[1]
    starts = [i for i in range(prefix, size) if batch.inner[row, i] == 1]
    return range(prefix), [range(a, b) for a, b in zip(starts, [*starts[1:], size], strict=True)]


def test_part_a_sees_itself_and_each_run_sees_a_and_the_runs_before_it(lab, glm):
    """The mask against a loop over parts, and the gradient of each state against the mask."""
    backbone, objective = glm
    batch = lab.ready(objective, lab.rows(3, 20), 1)
    b, u = batch.ids.shape
    mask = see(objective.visible(batch), b, u, device="cpu").mask[:, 0]
    for row in range(b):
        a, runs = parts(batch, row)
        wanted = torch.zeros(u, u, dtype=torch.bool)
        wanted[: len(a), : len(a)] = True
        for run in runs:
            for q in run:
                wanted[q, : q + 1] = True
        size = runs[-1][-1] + 1
        assert torch.equal(mask[row, :size], wanted[:size])
    words = backbone.embed(batch.ids).detach().requires_grad_()
    table, backbone.embedding.word = backbone.embedding.word, torch.nn.Identity()
    states = objective.run(backbone, batch.but(ids=words)).states
    a, runs = parts(batch)
    for q in (0, runs[0][0], runs[-1][-1]):
        (grad,) = torch.autograd.grad(states[0, q] @ torch.randn(16), words, retain_graph=True)
        assert torch.equal(grad[0].abs().sum(-1) > 0, mask[0, q])
    backbone.embedding.word = table


def test_what_is_asked_is_nowhere_before_it_is_asked(lab, glm):
    """Changing a hidden token changes no score up to the place that predicts it (and part A not at all)."""
    backbone, objective = glm
    view = lab.view(objective, lab.rows(2, 20, padded=False), 1)
    at = np.flatnonzero(view.labels[0] != IGNORE)
    target = at[len(at) // 2]
    changed = view.ids.copy()
    if view.inner[0, target + 1] > 1:
        changed[0, target + 1] = 7 + (changed[0, target + 1] - 6) % 40
    with torch.no_grad():
        one, two = (objective.run(backbone, v.tensors()).states for v in (view, view.but(ids=changed)))
    assert torch.equal(one[0, : target + 1], two[0, : target + 1])


def test_hidden_tokens_leave_no_trace_in_part_a(lab, glm):
    _, objective = glm
    rows = lab.rows(4, 24, padded=False)
    view = lab.view(objective, rows, 3)
    special = lab.facts.special
    for row in range(4):
        a = view.ids[row, : view.prefix[row]]
        hidden = [int(t) for t in view.labels[row] if t != IGNORE and t != objective.end]
        assert len(a) - (a == special["mask"]).sum() + len(hidden) == 24
        assert len(hidden) == round(0.4 * int((~rows.special[row]).sum()))


@torch.no_grad()
@pytest.mark.parametrize("unit", ["spans", "long"])
def test_packed_documents_equal_documents_alone(lab, glm, unit):
    """Each document's places taken out of the row, as a row of their own."""
    backbone, _ = glm
    objective = lab.objective("infill", backbone, unit=unit, rate=0.4)
    batch = lab.ready(objective, lab.rows(4, 16, framed=False), 1)
    out = objective.run(backbone, batch).states
    cut = 0
    for row in range(4):
        for document in (0, 1):
            at = (batch.doc[row] == document).nonzero()[:, 0]
            own = Batch({name: batch[name][row, at][None] for name in ("ids", "positions", "inner", "labels")})
            own["prefix"] = (at < batch.prefix[row]).sum()[None]
            cut += int((own.labels != IGNORE).sum())
            assert torch.allclose(out[row, at], objective.run(backbone, own).states[0], atol=1e-5)
    assert cut == int((batch.labels != IGNORE).sum()) > 8


def test_a_row_hidden_whole_is_a_causal_language_model(lab, glm):
    """One run of all tokens: the scores of a decoder that reads from the start token on, after one mask."""
    backbone, _ = glm
    objective = lab.objective("infill", backbone, unit="long", least=1.0)
    ids = keyed("c").integers(*lab.facts.words, (2, 12))
    batch = lab.ready(objective, Batch(ids=ids, special=np.zeros(ids.shape, bool)), 1)
    assert batch.prefix.tolist() == [1, 1] and batch.ids.shape[1] >= 14
    mask = see(objective.visible(batch), *batch.ids.shape, device="cpu").mask
    assert torch.equal(mask[0, 0, :14, :14], torch.ones(14, 14, dtype=torch.bool).tril())
    assert batch.ids[0, 2:14].tolist() == ids[0].tolist()
    assert batch.labels[0, 1:14].tolist() == [*ids[0].tolist(), objective.end]


def test_a_prefix_language_model_asks_for_all_that_follows_a_place(lab, glm):
    backbone, _ = glm
    objective = lab.objective("infill", backbone, unit="tail")
    rows = lab.rows(50, 20)
    view = lab.view(objective, rows, 1)
    asked = [[int(t) for t in row if t != IGNORE] for row in view.labels]
    for row, valid, found in zip(rows.ids, rows.valid, asked, strict=True):
        text = row[valid][:-1].tolist()  # the frame's last separator is no text
        assert found[-1] == objective.end and text[-len(found) + 1 :] == found[:-1]
    assert len({len(f) for f in asked}) > 5


def test_writing_into_a_blank_equals_reading_the_whole_again_at_each_token(lab, glm):
    backbone, objective = glm
    mask = lab.facts.special["mask"]
    ids = torch.tensor([[2, 10, mask, 12, 13, 3], [2, 20, 21, mask, 3, 0]])
    valid = ids != 0
    said = generate(backbone, objective, Batch(ids=ids, valid=valid), limit=4)
    for row, n in ((0, 6), (1, 5)):
        at, text = int((ids[row] == mask).nonzero()[0]), [objective.start]
        for written in said[row].tolist():
            t = n + len(text)
            whole = Batch(
                ids=torch.tensor([[*ids[row, :n].tolist(), *text]]),
                positions=torch.tensor([[*range(n), *[at] * len(text)]]),
                inner=torch.tensor([[0] * n + list(range(1, len(text) + 1))]),
                prefix=torch.tensor([n]),
            )
            with torch.no_grad():
                states = backbone(whole, see(objective.visible(whole), 1, t, device="cpu")).states
            assert int(objective.head(states[0, -1]).argmax()) == written
            if written == objective.end:
                break
            text.append(written)


def test_a_tokenizer_without_a_start_and_an_end_for_spans_is_refused(lab):
    lab.facts = Facts(vocab=60, special=lab.facts.special, words=(7, 50))
    with pytest.raises(RecipeError, match="sentinels"):
        lab.objective("infill", lab.backbone(**TYPES))
