"""What every text objective promises: counts, repeatable views, padding and splitting, its loss at the start."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, Batch, RecipeError

T5_SLOTS = {"positions": {"kind": "bucketed"}, "norm": {"kind": "rms"}, "join": "pre"}
CASES: dict[str, dict[str, Any]] = {
    "mlm": {"kind": "mlm"},
    "mlm-words": {"kind": "mlm", "select": "words", "ngrams": 3},
    "mlm-static": {"kind": "mlm", "static": 10},
    "unilm-prefix": {"kind": "mlm", "visible": {"rule": "prefix", "segments": [4, 5]}, "ngrams": [0.8, 0.1, 0.1]},
    "unilm-forward": {"kind": "mlm", "visible": {"rule": "causal", "segments": [2, 2]}},
    "unilm-backward": {"kind": "mlm", "visible": {"rule": "anticausal", "segments": [3, 3]}},
    "guided": {"kind": "guided_mlm"},
    "nsp": {"kind": "nsp"},
    "sop": {"kind": "sop"},
    "clm": {"kind": "clm"},
    "infill": {"kind": "infill"},
    "infill-long": {"kind": "infill", "unit": "long"},
    "infill-prefix": {"kind": "infill", "unit": "tail"},
    "rtd": {"kind": "rtd"},
    "rtd-uniform": {"kind": "rtd", "generator": "uniform"},
    "plm": {"kind": "plm"},
    "plm-halves": {"kind": "plm", "reuse": 0.5},
    "t5": {"kind": "denoise"},
    "t5-prefix": {"kind": "denoise", "noise": "tail", "show": "drop", "ask": "noise"},
    "t5-bert": {"kind": "denoise", "noise": "each", "show": "mixed", "ask": "full"},
    "t5-deshuffle": {"kind": "denoise", "noise": "shuffle", "ask": "full"},
    "t5-mask": {"kind": "denoise", "noise": "each", "show": "mask", "ask": "full"},
    "t5-replace": {"kind": "denoise", "noise": "each"},
    "bart": {"kind": "reconstruct"},
    "mass": {"kind": "mass"},
    "autoencode": {"kind": "autoencode"},
    "t5-drop": {"kind": "denoise", "noise": "each", "show": "drop", "ask": "noise"},
}
each_case = pytest.mark.parametrize("case", CASES)
drawn_once = pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("rtd")])
"""Without replaced-token detection, whose generator draws anew in every pass (test_rtd.py)."""


def build_case(lab, case, **changes):
    settings = {**CASES[case], **changes}
    kind = settings.pop("kind")
    slots: dict[str, Any] = {"embedding": {"kind": "tokens", "types": {"segments": 6}}, "pool": "first"}
    decodes = dict.fromkeys(("denoise", "reconstruct", "mass", "autoencode"), "encoder_decoder")
    name = {"plm": "two_stream", **decodes}.get(kind, "transformer")
    slots = {} if name == "two_stream" else T5_SLOTS if kind == "denoise" else slots if name == "transformer" else {}
    if name == "transformer" or kind == "mass":
        slots["positions"] = {"kind": "learned", "max": 64}
    backbone = lab.backbone(name, **slots)
    return backbone, lab.objective(kind, backbone, **settings)


@each_case
def test_the_counts_of_the_view_are_the_counts_of_the_loss(lab, case):
    backbone, objective = build_case(lab, case)
    for padded in (True, False):
        view = lab.view(objective, lab.rows(padded=padded), 1)
        sums = objective(backbone, objective.finish(view).tensors())
        counts = objective.counts(view)
        assert list(sums) == list(objective.losses) and set(counts) == set(sums)
        for name in sums:
            assert counts[name] == float(sums[name].count) > 0
            assert torch.isfinite(sums[name].total) and sums[name].total.dtype == torch.float32


@each_case
def test_the_same_key_gives_the_same_view_and_another_key_another(lab, case):
    _, objective = build_case(lab, case)
    rows = lab.rows(t=64)
    one, same, other = (lab.view(objective, rows, k) for k in (1, 1, 2))
    assert set(one) == set(same) and all(np.array_equal(one[k], same[k]) for k in one)
    fixed = case in ("nsp", "sop", "clm", "mlm-static")
    assert all(np.array_equal(one[k], other[k]) for k in one) == fixed


def test_a_static_mask_is_the_rows_own_wherever_the_row_stands_and_changes_with_the_epoch(lab):
    _, objective = build_case(lab, "mlm-static")
    rows, order = lab.rows(8), np.array([5, 2, 7])
    whole, part = lab.view(objective, rows, 1), lab.view(objective, rows.rows(order), 2)
    assert np.array_equal(whole.labels[order], part.labels) and np.array_equal(whole.ids[order], part.ids)
    views = [lab.view(objective, rows.but(epoch=np.full(8, e)), 1).labels for e in (0, 1, 9, 10, 11)]
    assert not np.array_equal(views[0], views[1])
    assert np.array_equal(views[0], views[3]) and np.array_equal(views[1], views[4])  # ten masks, then again


@each_case
def test_the_first_loss_is_that_of_knowing_nothing(lab, case):
    backbone, objective = build_case(lab, case)
    with torch.no_grad():
        sums = objective(backbone, lab.ready(objective, lab.rows(64), 1))
    first = objective.losses[0]
    uniform = math.log({"nsp": 2, "sop": 2, "rtd": 2}.get(CASES[case]["kind"], 60))
    assert objective.baselines(lab.facts).get("uniform", uniform) == pytest.approx(uniform)
    assert float(sums[first].mean()) == pytest.approx(uniform, rel=0.1)


@each_case
def test_gradients_reach_the_backbone(lab, case):
    backbone, objective = build_case(lab, case)
    sums = objective(backbone, lab.ready(objective, lab.rows(), 1))
    sum(s.total for s in sums.values()).backward()
    grads = [p.grad for p in backbone.parameters()]
    assert sum(g is not None and bool(g.abs().sum() > 0) for g in grads) > 0.7 * len(grads)
    assert all(p.grad is not None for n, p in objective.named_parameters() if n.startswith("head."))


@drawn_once
def test_cutting_the_batch_changes_no_sum(lab, case):
    backbone, objective = build_case(lab, case)
    view = lab.view(objective, lab.rows(6), 1)
    whole = objective(backbone, objective.finish(view).tensors())
    parts = [objective(backbone, objective.finish(view.rows(slice(i, i + 2))).tensors()) for i in (0, 2, 4)]
    for name, value in whole.items():
        torch.testing.assert_close(sum(p[name].total for p in parts), value.total, rtol=1e-5, atol=1e-4)
        assert sum(int(p[name].count) for p in parts) == int(value.count)


def padded_by(view: Batch, columns: int) -> Batch:
    """The same rows with more padding columns."""
    fill = {"ids": 0, "labels": IGNORE, "decoder_labels": IGNORE, "special": True, "rank": 99}
    out = view.but(valid=view.get("valid", np.ones(view.ids.shape, bool)))
    for name, value in out.items():
        if value.ndim == 2 and name != "query_at" and not (name == "labels" and "query_at" in view):
            out[name] = np.pad(value, ((0, 0), (0, columns)), constant_values=fill.get(name, 0))
    return out


@drawn_once
def test_more_padding_changes_nothing(lab, case):
    backbone, objective = build_case(lab, case)
    view = lab.view(objective, lab.rows(), 1)
    plain = objective(backbone, objective.finish(view).tensors())
    wide = objective(backbone, objective.finish(padded_by(view, 5)).tensors())
    for name, value in plain.items():
        torch.testing.assert_close(wide[name].total, value.total, rtol=1e-6, atol=1e-5)


@each_case
def test_metrics_have_names_and_lie_between_zero_and_one(lab, case):
    backbone, objective = build_case(lab, case)
    found = objective.measure(backbone, lab.ready(objective, lab.rows(), 1))
    assert "accuracy" in found
    assert all(0 <= float(m.mean()) <= 1 for m in found.values())


LEARNS = ["mlm", "unilm-prefix", "nsp", "clm", "plm", "t5"]


@pytest.mark.parametrize("case", LEARNS)
def test_one_batch_can_be_learnt_by_heart(lab, case):
    backbone, objective = build_case(lab, case)
    batch = lab.ready(objective, lab.rows(3, 16), 1)
    both = torch.nn.ModuleList([backbone, objective])
    optimizer = torch.optim.Adam(both.parameters(), lr=2e-2)
    for _ in range(100):
        optimizer.zero_grad()
        value = objective(backbone, batch)[objective.losses[0]].mean()
        value.backward()
        optimizer.step()
    assert value.item() < 0.15 * objective.baselines(lab.facts)["uniform"]


@pytest.mark.parametrize(
    ("kind", "role"),
    [(kind, "mask") for kind in ("mlm", "mplm", "guided_mlm", "mass")] + [("denoise", "eos")],
)
def test_a_tokenizer_without_the_special_token_is_refused_by_name(lab, kind, role):
    backbone = lab.backbone("encoder_decoder" if kind in ("denoise", "mass") else "transformer")
    del lab.facts.special[role]
    objective = lab.objective(kind, backbone)
    with pytest.raises(RecipeError, match=rf"objective {kind}: needs a \[{role}\] token; this tokenizer has pad, unk"):
        lab.view(objective, lab.rows(), 0)
