"""Masked language modelling: BERT's and RoBERTa's losses, UniLM's four visibilities on one model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from modeledge.core import IGNORE, Batch, keyed

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=60)
SMALL |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_loss_is_that_of_transformers(lab, adopt, kind):
    theirs = {
        "bert": lambda: BertForMaskedLM(BertConfig(**SMALL, max_position_embeddings=64)),
        "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SMALL, max_position_embeddings=66, pad_token_id=0)),
    }[kind]().eval()
    backbone, objectives = adopt(theirs)
    rows = lab.rows() if kind == "bert" else lab.rows().but(segments=None)
    view = lab.view(objectives["mlm"], rows, 1)
    batch = objectives["mlm"].finish(view).tensors()
    segments = {"token_type_ids": batch.segments} if kind == "bert" else {}
    wanted = theirs(batch.ids, batch.valid.long(), labels=torch.from_numpy(view.labels), **segments).loss
    assert objectives["mlm"](backbone, batch)["mlm"].mean().item() == pytest.approx(wanted.item(), abs=1e-5)


def test_only_targets_have_a_loss(lab):
    backbone = lab.backbone()
    objective = lab.objective("mlm", backbone)
    view = lab.view(objective, lab.rows(), 1)
    batch = objective.finish(view).tensors()
    out = objective.run(backbone, batch)
    noise = torch.randn_like(out.states) * torch.from_numpy(view.labels == IGNORE)[..., None]
    before = objective.loss(out, batch)["mlm"].total
    out.states = out.states + noise
    assert torch.equal(objective.loss(out, batch)["mlm"].total, before)


def test_one_in_eight_is_shown_as_it_is_and_at_least_one_token_a_row_is_predicted(lab):
    objective = lab.objective("mlm", lab.backbone())
    rows = lab.rows(8000, 64)
    view = lab.view(objective, rows, 1)
    eligible, chosen = (~rows.special).sum(), view.labels != IGNORE
    assert eligible > 1e5 and chosen.any(1).all() and not chosen[rows.special].any()
    for share, found in ((0.12, view.ids == 4), (0.03, chosen & (view.ids != 4))):
        # the count is fixed a row, so the spread is smaller than that of independent draws; rounding adds a little
        assert abs((found & chosen).sum() / eligible - share) < 3 * np.sqrt(share * (1 - share) / eligible) + 0.001


def test_whole_words_and_the_share_of_tokens(lab):
    objective = lab.objective("mlm", lab.backbone(), select="words")
    rows = lab.rows(5000, 64)
    chosen = lab.view(objective, rows, 1).labels != IGNORE
    words = np.cumsum(rows.word_starts, axis=1)
    for row in range(200):
        for word in np.unique(words[row]):
            here = (words[row] == word) & ~rows.special[row]
            assert chosen[row, here].all() or not chosen[row, here].any()
    eligible = (~rows.special).sum(1)
    error = chosen.sum(1) - 0.15 * eligible
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(len(error)) + 0.02


# ---- UniLM: one model, four visibilities ----

RULES = {
    "full": {"rule": "full", "segments": (0, 1)},
    "prefix": {"rule": "prefix", "segments": (4, 5)},
    "causal": {"rule": "causal", "segments": (2, 2)},
    "anticausal": {"rule": "anticausal", "segments": (3, 3)},
}


def unilm(lab, rule, backbone=None, **settings):
    backbone = backbone or lab.backbone(embedding={"kind": "tokens", "types": {"segments": 6}})
    return backbone, lab.objective("mlm", backbone, visible=RULES[rule], **settings)


def sees(rule, q, k, middle):
    """The plain definition of each visibility for a row whose first segment ends at `middle`."""
    if rule == "prefix":
        return k <= middle if q <= middle else k <= q
    return {"full": True, "causal": k <= q, "anticausal": k >= q}[rule]


@torch.no_grad()
@pytest.mark.parametrize("rule", RULES)
def test_every_visibility_is_bert_under_a_dense_mask(lab, adopt, rule):
    theirs = BertForMaskedLM(BertConfig(**SMALL, max_position_embeddings=64, type_vocab_size=6)).eval()
    backbone, objectives = adopt(theirs)
    _, objective = unilm(lab, rule, backbone)
    objective.head = objectives["mlm"].head
    rows = lab.rows(3, 14)
    view = lab.view(objective, rows, 1)
    t, middle = 14, [int(np.flatnonzero(rows.special[i] & rows.valid[i])[1]) for i in range(3)]
    table = [[[sees(rule, q, k, m) for k in range(t)] for q in range(t)] for m in middle]
    mask = torch.tensor(table) & torch.from_numpy(rows.valid)[:, None]
    batch = objective.finish(view).tensors()
    additive = torch.zeros(3, 1, t, t).masked_fill(~mask[:, None], torch.finfo(torch.float32).min)
    logits = theirs(batch.ids, attention_mask=additive, token_type_ids=batch.segments).logits
    mine = objective.head(objective.run(backbone, batch).states)
    real = batch.valid
    torch.testing.assert_close(mine[real], logits[real], atol=1e-4, rtol=1e-4)
    a, b = RULES[rule]["segments"]
    assert set(np.unique(view.segments[rows.valid])) == {a, b}


@pytest.mark.parametrize("rule", RULES)
def test_a_hidden_token_leaks_nowhere(lab, rule):
    """What was hidden changes no input; what may not be seen changes no prediction."""
    backbone, objective = unilm(lab, rule, replace=(1.0, 0.0))
    rows = lab.rows(3, 14)
    view = lab.view(objective, rows, 1)
    other = rows.ids.copy()
    hidden = view.labels != IGNORE
    other[hidden] = 7 + (other[hidden] - 6) % 40
    changed = lab.view(objective, rows.but(ids=other), 1)
    assert np.array_equal(changed.ids, view.ids) and not np.array_equal(changed.labels, view.labels)
    batch = objective.finish(view).tensors()
    words = backbone.embed(batch.ids).detach().requires_grad_()
    backbone.embedding.word = torch.nn.Identity()
    states = objective.run(backbone, batch.but(ids=words)).states
    for b, q in zip(*np.nonzero(hidden), strict=True):
        (grad,) = torch.autograd.grad(states[b, q] @ torch.randn(16), words, retain_graph=True)
        moved = grad[b].abs().sum(-1) > 0
        middle = int(np.flatnonzero(rows.special[b] & rows.valid[b])[1])
        wanted = [bool(rows.valid[b, k]) and sees(rule, q, k, middle) for k in range(14)]
        assert moved.tolist() == wanted and wanted[q]  # a mask sees itself
        assert grad[np.arange(3) != b].abs().sum() == 0


@torch.no_grad()
def test_right_to_left_is_left_to_right_on_the_reversed_row(lab):
    backbone, backward = unilm(lab, "anticausal")
    _, forward = unilm(lab, "causal", backbone)
    ids = torch.randint(7, 50, (2, 9))
    at = torch.arange(9)[None]
    one = backward.run(backbone, Batch(ids=ids, positions=at)).states
    other = forward.run(backbone, Batch(ids=ids.flip(1), positions=at.flip(1))).states
    torch.testing.assert_close(one, other.flip(1))


@torch.no_grad()
def test_the_source_never_sees_the_target(lab):
    backbone, objective = unilm(lab, "prefix")
    view = objective.finish(lab.view(objective, lab.rows(2, 16, padded=False), 1))
    batch = view.tensors()
    states = objective.run(backbone, batch).states
    second = batch.segments == 5
    assert view.prefix.tolist() == (~second).sum(1).tolist()
    changed = batch.but(ids=torch.where(second, 9, batch.ids))
    moved = (objective.run(backbone, changed).states != states).any(-1)
    assert not moved[~second].any() and moved[second].all()


def test_unilm_chooses_eighty_percent_single_tokens(lab):
    _, objective = unilm(lab, "full", ngrams=(0.8, 0.1, 0.1), rate=0.002)
    ids = keyed(1).integers(7, 50, (2000, 500))
    view = lab.view(objective, Batch(ids=ids), 1)  # one token wanted: one run a row
    runs = np.bincount((view.labels != IGNORE).sum(1), minlength=4)[1:]
    for found, share in zip(runs, (0.8, 0.1, 0.1), strict=True):
        assert abs(found - 2000 * share) < 3 * np.sqrt(2000 * share * (1 - share))


def test_a_rate_of_two_numbers_falls_in_a_straight_line_over_the_run(lab):
    objective = lab.objective("mlm", lab.backbone(), rate=(0.3, 0.15))
    rows = lab.rows(2000, 64)
    for done in (0.0, 0.5, 1.0):
        hidden = (lab.view(objective, rows.but(done=np.full(2000, done)), 1).labels != IGNORE).sum()
        assert hidden / (~rows.special).sum() == pytest.approx(0.3 - 0.15 * done, abs=0.004)  # a whole number a row


def test_the_baseline_of_rare_tokens_is_what_their_own_frequencies_cost(lab):
    """Rows of one word each: the targets' frequencies, counted, cost what the baseline says."""
    objective = lab.objective("mlm", lab.backbone(), select="rare", rate=0.02)
    p = lab.facts.counts / lab.facts.counts.sum()
    objective.rarity = np.maximum(lab.facts.counts * 1e4, 1) ** -0.5  # as of a store of such a size
    lab.facts.counts = lab.facts.counts * 1e4
    view = lab.view(objective, Batch(ids=keyed(1).choice(60, (4000, 50), p=p)), 1)
    found = np.bincount(view.labels[view.labels != IGNORE], minlength=60) / (view.labels != IGNORE).sum()
    cost = -(found[found > 0] * np.log(found[found > 0])).sum()
    assert objective.baselines(lab.facts)["unigram"] == pytest.approx(cost, abs=0.05)


# ---- runs of words, replaced as one (SpanBERT); phrases and entities (ERNIE) ----


def test_geometric_lengths_are_the_truncated_law_scaled_up(lab):
    objective = lab.objective("mlm", lab.backbone(), ngrams={"stop": 0.2, "most": 10}, rate=0.0001, replace=(1.0, 0.0))
    n, t = 1200, 1200  # long rows: a run drawn from a short row is a little shorter than the law says
    view = lab.view(objective, Batch(ids=np.full((n, t), 9)), 1)  # one token wanted: one run a row, never cut
    runs = (view.labels != IGNORE).sum(1)[view.labels[:, -1] == IGNORE]
    law = np.array([0.2 * 0.8 ** (length - 1) / (1 - 0.8**10) for length in range(1, 11)])
    found = np.bincount(runs, minlength=11)[1:]
    assert found.sum() == len(runs)
    assert (np.abs(found - len(runs) * law) < 3 * np.sqrt(len(runs) * law * (1 - law))).all()
    assert abs(runs.mean() - 3.797) < 3 * runs.std() / np.sqrt(len(runs)) + 0.005


def pieces(ids, labels, starts):
    """Stretches of a row as lists of (shown, label), cut wherever `starts` says or nothing is hidden."""
    out = []
    for row in range(len(ids)):
        before = False
        for shown, label, start in zip(ids[row].tolist(), labels[row].tolist(), starts[row].tolist(), strict=True):
            hidden = label != IGNORE
            if hidden:
                out[-1].append((shown, label)) if before and not start else out.append([(shown, label)])
            before = hidden
    return out


@pytest.mark.parametrize("per", ["unit", "span"])
def test_a_unit_or_a_span_is_replaced_in_one_way(lab, per):
    objective = lab.objective("mlm", lab.backbone(), select="words", ngrams=3, replace={"per": per})
    rows = lab.rows(4000, 64)
    view = lab.view(objective, rows, 3)
    starts = rows.word_starts if per == "unit" else np.zeros(view.ids.shape, bool)
    found = pieces(view.ids, view.labels, starts)
    masked = [[shown == 4 for shown, _ in piece] for piece in found]
    kept = [all(shown == label for shown, label in piece) for piece in found]
    assert all(all(m) or not any(m) for m in masked)
    n, every = len(found), sum(all(m) for m in masked)
    assert n > 5000 and abs(every - 0.8 * n) < 3 * np.sqrt(n * 0.16)
    long = [k for k, piece in zip(kept, found, strict=True) if len(piece) > 2]  # noise may repeat single tokens
    assert abs(sum(long) - 0.1 * len(long)) < 3 * np.sqrt(len(long) * 0.09)


def test_replacing_each_token_for_itself_leaves_mixed_words(lab):
    objective = lab.objective("mlm", lab.backbone(), select="words")
    rows = lab.rows(500, 64)
    view = lab.view(objective, rows, 1)
    masked = [[shown == 4 for shown, _ in piece] for piece in pieces(view.ids, view.labels, rows.word_starts)]
    assert any(any(m) and not all(m) for m in masked)


@pytest.mark.parametrize(("select", "field"), [("phrases", "phrase_starts"), ("entities", "entity_starts")])
def test_phrases_and_entities_are_hidden_whole_at_the_rate(lab, select, field):
    rows, rng = lab.rows(3000, 160), keyed("marks")  # a unit is never longer than what a row may hide
    rows[field] = (rows.word_starts & (rng.random(rows.ids.shape) < 0.7) & ~rows.special) | np.roll(rows.special, 1, 1)
    objective = lab.objective("mlm", lab.backbone(), select=select)
    assert field in objective.needs
    chosen = lab.view(objective, rows, 1).labels != IGNORE
    error = chosen.sum(1) - 0.15 * (~rows.special).sum(1)
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(len(error)) + 0.02
    for row in range(100):
        unit = 0
        states = {}
        for place in range(160):
            unit += bool(rows[field][row, place])
            if not rows.special[row, place]:
                states.setdefault(unit, set()).add(bool(chosen[row, place]))
        assert all(len(s) == 1 for s in states.values())


def test_only_what_is_marked_is_hidden_and_no_more_than_the_rate_allows(lab):
    rows, rng = lab.rows(2000, 64), keyed("marks")
    rows["marked"] = ~rows.special & (rng.random(rows.ids.shape) < rng.choice([0.0, 0.1, 0.5], 2000)[:, None])
    objective = lab.objective("mlm", lab.backbone(), select="marked")
    assert "marked" in objective.needs
    view = lab.view(objective, rows, 1)
    chosen = view.labels != IGNORE
    assert not chosen[~rows.marked].any()
    most = [max(1, round(0.15 * n)) for n in (~rows.special).sum(1).tolist()]
    assert chosen.sum(1).tolist() == [min(m, n) for m, n in zip(most, rows.marked.sum(1).tolist(), strict=True)]
    assert (chosen.sum(1) == 0).sum() > 500  # rows without a mark ask for nothing
    crowded = rows.marked.sum(1) > most
    first = np.array([np.flatnonzero(m)[0] for m in rows.marked[crowded]])
    share = chosen[crowded][np.arange(len(first)), first].mean()  # each marked token as likely as the next
    wanted = np.mean(np.array(most)[crowded] / rows.marked[crowded].sum(1))
    assert abs(share - wanted) < 3 * np.sqrt(wanted * (1 - wanted) / len(first))


def test_guessing_marked_tokens_is_judged_by_how_often_those_occur(lab, tmp_path):
    from modeledge.data.store import Store, StoreWriter

    tokens, marked = np.array([7, 7, 8, 9, 9, 9], np.uint16), np.array([1, 1, 1, 1, 0, 0], bool)
    with StoreWriter(tmp_path / "s") as writer:
        writer.ragged("tokens", np.uint16, tokens, np.array([6]))
        writer.column("marked", bool).append(marked)
        writer.finish(rows=1, meta={})
    objective = lab.objective("mlm", lab.backbone(), select="marked")
    objective.consult({"text": SimpleNamespace(store=Store.open(tmp_path / "s"))})
    wanted = -sum(p * np.log(p) for p in (0.5, 0.25, 0.25))
    assert objective.baselines(lab.facts)["unigram"] == pytest.approx(wanted)


def test_guessing_mentions_is_judged_by_how_often_their_tokens_are_drawn(lab):
    objective = lab.objective("mlm", lab.backbone(), select="mention")
    assert set(objective.baselines(lab.facts)) == {"uniform"}  # nobody said yet
    objective.consult({"text": SimpleNamespace(mentioned=lambda vocab: np.bincount([7, 7, 8, 9], minlength=vocab))})
    wanted = -sum(p * np.log(p) for p in (0.5, 0.25, 0.25))
    assert objective.baselines(lab.facts)["unigram"] == pytest.approx(wanted)
