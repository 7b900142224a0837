"""Objectives on translations: contrast, word recovery, hierarchical contrast, masks across languages, inventions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.core import IGNORE, Batch, keyed
from modeledge.objectives.hictl import hardened


def apart(lab, b=6, t=10):
    """Pairs as two framed texts of a row."""
    rng = keyed("apart")
    n = rng.integers(4, t + 1, (b, 2, 1))
    place = np.arange(t)
    ids = rng.integers(*lab.facts.words, (b, 2, t)).astype(np.int32)
    ids[..., 0] = 2
    ids[np.broadcast_to(place == n - 1, ids.shape)] = 3
    valid = np.broadcast_to(place < n, ids.shape).copy()
    ids[~valid] = 0
    special = (place == 0) | (place >= n - 1)
    lang = np.broadcast_to(np.array([0, 1])[None, :, None], ids.shape).astype(np.int32)
    return Batch(ids=ids, valid=valid, special=special, lang=lang)


def joined(lab, b=6, t=20):
    rows = lab.rows(b, t).but(segments=None)
    n = rows.valid.sum(1)[:, None]
    return rows.but(lang=(np.arange(t) > n // 2).astype(np.int32))


# ---- InfoXLM ----


def test_contrast_waits_for_a_full_queue_and_then_compares_first_states_of_the_layer(lab):
    backbone = lab.backbone()
    objective = lab.objective("xlco", backbone, layer=1, queue=6, temperature=0.5, mixup=0.0, momentum=0.9)
    batch = lab.ready(objective, apart(lab), 1)
    objective.train()
    first = torch.autograd.grad(
        objective(backbone, batch)["xlco"].total, list(backbone.parameters()), allow_unused=True
    )
    assert not any(gradient.any() for gradient in first if gradient is not None)
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(0.05 * torch.randn_like(p))
    objective.after_step(0)
    objective.eval()
    found = objective(backbone, batch)["xlco"].total

    def alone(net, project, side):
        states = []
        for ids, valid in zip(batch.ids[:, side], batch.valid[:, side], strict=True):
            kept = net(Batch(ids=ids[valid][None]), keep=("blocks.0",)).kept["blocks.0"]
            states.append(project(kept[0, 0]))
        return torch.stack(states)

    queries = alone(backbone, objective.project, 0)
    keys = alone(*objective.twin.copies, 1)
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ objective.queue.keys.T], 1) / 0.5
    wanted = F.cross_entropy(logits, torch.zeros(6, dtype=torch.long), reduction="sum")
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    found.backward()
    assert all(p.grad is None for p in objective.twin.parameters())


def test_mixed_pairs_hold_two_pairs_on_both_sides(lab):
    objective = lab.objective("xlco", lab.backbone(), layer=1, queue=6, mixup=1.0)
    rows = apart(lab, b=50, t=10)
    wide = {k: np.pad(v, ((0, 0), (0, 0), (0, 12))) for k, v in rows.items()}
    view = lab.view(objective, Batch(wide), 1)

    def words(batch, i, side):
        return batch.ids[i, side][batch.ids[i, side] >= 7].tolist()

    for i in range(50):
        pairs = []
        for side in (0, 1):
            found, own = words(view, i, side), [words(rows, i, s) for s in (0, 1)]
            mine = next(o for o in own if found[: len(o)] == o or found[-len(o) :] == o)
            rest = found[len(mine) :] if found[: len(mine)] == mine else found[: -len(mine)]
            other = [(j, s) for j in range(50) for s in (0, 1) if words(rows, j, s) == rest]
            assert len(other) == 1 and view.ids[i, side, 0] == 2
            pairs.append((other[0][0], own.index(mine) == other[0][1]))
        assert pairs[0][0] == pairs[1][0] != i and pairs[0][1] and pairs[1][1]  # one other pair, languages kept apart


# ---- Unicoder ----


def test_word_recovery_mixes_the_translation_as_the_closed_form_says(lab):
    backbone = lab.backbone()
    objective = lab.objective("clwr", backbone)
    x, y = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    readable = torch.rand(2, 7) < 0.7
    found = objective.attention(x, y, readable)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 5))
    for b in range(2):
        for i in range(5):
            scores = torch.stack([objective.weigh(torch.cat([x[b, i], v, x[b, i] * v]))[0] for v in y[b]])
            wanted = scores.masked_fill(~readable[b], float("-inf")).softmax(0)
            torch.testing.assert_close(found[b, i], wanted)


def test_word_recovery_has_the_words_of_one_text_as_targets_and_shows_none_of_them(lab):
    backbone = lab.backbone()
    objective = lab.objective("clwr", backbone)
    rows = apart(lab)
    view = lab.view(objective, rows, 1)
    assert objective.counts(view)["clwr"] == ((view.labels[:, 0] != IGNORE).sum())
    assert (view.labels[:, 1] == IGNORE).all() and (view.labels[view.special] == IGNORE).all()
    batch = view.tensors()
    shown = []
    handle = backbone.register_forward_pre_hook(lambda m, args: shown.append(args[0].embedded))
    objective(backbone, batch)
    handle.remove()
    own = backbone.embed(batch.ids[:, 0])
    words = batch.labels[:, 0] != IGNORE
    tokens = backbone.embed(batch.ids[:, 1])
    real = batch.valid[:, 1] & ~batch.special[:, 1]
    for b in range(6):
        basis = tokens[b][real[b]]
        rest = torch.linalg.lstsq(basis.T, shown[0][b][words[b]].T, driver="gelsd").solution
        torch.testing.assert_close(basis.T @ rest, shown[0][b][words[b]].T, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(rest.sum(0), torch.ones(int(words[b].sum())), atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(shown[0][~words], own[~words])


# ---- HICTL ----


def test_hardened_negatives_lie_between_the_positive_and_where_they_were():
    torch.manual_seed(0)
    q, p = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    found = hardened(q, p, p, power=0.7)
    for i in range(5):
        for j in range(5):
            near, far = (q[i] - p[i]).norm(), (q[i] - p[j]).norm()
            share = (near / far) ** 0.7 if far > near else 1.0
            torch.testing.assert_close(found[i, j], q[i] @ (p[i] + share * (p[j] - p[i])))
            assert i == j or not torch.isclose(found[i, j], found[i, i])
    torch.testing.assert_close(hardened(q, p, p, power=0.0), q @ p.T)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(hardened(q, p, p, power=0.7), found)


def test_both_levels_have_their_closed_forms(lab):
    backbone = lab.backbone()
    objective = lab.objective("hictl", backbone, negatives=30, slack=0.0)
    rows = apart(lab)
    view = lab.view(objective, rows, 1)
    found = objective(backbone, view.tensors())
    first = []
    for side in (0, 1):
        first.append(torch.stack([
            backbone(Batch(ids=torch.from_numpy(rows.ids[i, side][rows.valid[i, side]]).long()[None])).states[0, 0]
            for i in range(6)
        ]))  # fmt: skip
    left, right = (F.normalize(objective.for_sentences(x), dim=-1) for x in first)
    scores = left @ right.T / 0.1
    wanted = sum(F.cross_entropy(s, torch.arange(6), reduction="sum") for s in (scores, scores.T))
    torch.testing.assert_close(found["hictl_sentence"].total, wanted, atol=1e-3, rtol=1e-4)
    query = F.normalize(objective.for_words(first[0] + first[1]), dim=-1)
    total, count = 0.0, 0
    for i in range(6):
        own = set(rows.ids[i][~rows.special[i]].tolist())
        sampled = [w for w in view.words[i, -30:].tolist() if w not in own]
        assert len(sampled) == (view.role[i] == -1).sum()

        def score(word, i=i):
            return F.normalize(backbone.embed.weight[word], dim=-1) @ query[i] / 0.1

        others = torch.stack([score(w) for w in sampled])
        for word in own:
            total = total - F.log_softmax(torch.cat([score(word)[None], others]), 0)[0]
            count += 1
    torch.testing.assert_close(found["hictl_word"].total, total, atol=1e-2, rtol=1e-4)
    assert found["hictl_word"].count == count == objective.counts(view)["hictl_word"]


# ---- ERNIE-M ----


def test_masks_across_languages_read_the_other_language_alone(lab):
    backbone = lab.backbone()
    objective = lab.objective("camlm", backbone, replace=(1.0, 0.0))
    rows = joined(lab)
    view = objective.finish(lab.view(objective, rows, 1))
    batch = view.tensors()
    words = backbone.embed(batch.ids).detach().requires_grad_()
    states = objective.run(backbone, batch.but(embedded=words)).states
    target = view.labels != IGNORE
    for b, q in zip(*np.nonzero(target), strict=True):
        (grad,) = torch.autograd.grad(states[b, q] @ torch.randn(16), words, retain_graph=True)
        moved = grad[b].abs().sum(-1) > 0
        other = rows.valid[b] & (rows.lang[b] != rows.lang[b, q]) & ~target[b]
        assert moved.tolist() == (other | (np.arange(20) == q)).tolist()


@pytest.fixture
def inventing(lab):
    backbone = lab.backbone()
    return backbone, lab.objective("btmlm", backbone)


def test_placeholders_stand_for_words_behind_the_sentence_in_another_language(lab, inventing):
    _, objective = inventing
    rows = lab.rows(6, 12).but(segments=None, lang=np.array([0, 1, 2, 0, 1, 2]))
    view = lab.view(objective, rows, 1)
    for i in range(6):
        n = int(rows.valid[i].sum())
        sentence = rows.ids[i, :n]
        empty = [int(t) if t < 7 else 4 for t in sentence]
        assert view.whole[i, : 2 * n].tolist() == [*sentence.tolist(), *empty]
        assert view.ids[i, n : 2 * n].tolist() == empty and (view.whole[i, 2 * n :] == 0).all()
        own = [0, 1, 2, 0, 1, 2][i]
        assert view.lang[i, : 2 * n].tolist() == [own] * n + [1 if own == 0 else 0] * n
        assert (view.labels[i, n:] == IGNORE).all() and (view.labels[i, :n] != IGNORE).any()
        assert np.flatnonzero(view.invented[i]).tolist() == [n + j for j in range(n) if sentence[j] >= 7]


def test_inventions_are_constants_read_from_the_whole_sentence_and_never_special(lab, inventing):
    backbone, objective = inventing
    rows = lab.rows(6, 12).but(segments=None, lang=np.zeros(6, np.int64))
    view = lab.view(objective, rows, 1)
    batch = objective.finish(view).tensors()
    filled = objective.translated(backbone, batch)
    assert torch.equal(filled.ids[~batch.invented], batch.ids[~batch.invented])
    for i in range(6):  # by hand: each placeholder sees itself and the sentence, the sentence sees itself
        n = int(rows.valid[i].sum())
        seen = torch.zeros(2 * n, 2 * n, dtype=torch.bool)
        at = torch.arange(2 * n)
        gap = batch.invented[i, : 2 * n]
        seen |= (at[:, None] < n) & (at < n)
        seen |= gap[:, None] & ((at < n) | (at == at[:, None]))
        seen |= ((at[:, None] >= n) & ~gap[:, None]) & ((at >= n) & ~gap)
        from modeledge.visibility import Seen

        states = backbone(Batch(ids=batch.whole[i : i + 1, : 2 * n]), Seen(seen[None, None])).states[0]
        scores = objective.head(states[gap])
        scores[:, :7], scores[:, 50:] = float("-inf"), float("-inf")
        best = scores.topk(2).values
        sure = best[:, 0] - best[:, 1] > 1e-4
        assert sure.sum() > 0.9 * len(sure)
        assert torch.equal(filled.ids[i, : 2 * n][gap][sure], scores.argmax(-1)[sure])
    assert (filled.ids[batch.invented] >= 7).all()
    total = objective(backbone, batch)["btmlm"].total
    total.backward()
    assert total.isfinite() and backbone.embed.weight.grad is not None
