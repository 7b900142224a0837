"""Masked words predicted with passages: against loops over rows and passages, and what the search learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, Batch, Facts, RecipeError, keyed
from modeledge.objectives import gather_targets
from modeledge.objectives._index import encode_texts
from modeledge.objectives.match import Match, sight
from modeledge.objectives.mlm import MaskedLM
from modeledge.objectives.realm import Realm
from modeledge.visibility import Seen

EMBEDDING = {"kind": "tokens", "types": {"segments": 2}, "norm": "layer"}


@pytest.fixture
def make(library):
    """make(shelf) -> an objective that knows these passages, and its backbone."""

    def made(shelf=None, backbone=None, facts=library.facts, **settings):
        backbone = backbone or library.dual(library.stack(16, 2, embedding=EMBEDDING), facts, norm="layer")
        mask = {"kind": "mlm", "rate": 0.3, "replace": (1.0, 0.0)}
        config = Realm.Config.model_validate({"kind": "realm", "candidates": 4, "mask": mask} | settings)
        objective = Realm(config, facts, backbone).eval()
        if shelf is not None:
            objective.consult({"text": shelf})
        return objective, backbone

    return made


@pytest.fixture
def asked(library):
    """asked(objective) -> rows with hidden tokens."""

    def rows(objective, b=5, seed=0):
        rng = np.random.default_rng(seed)
        texts = [[1, *rng.integers(5, 60, n), 2] for n in rng.integers(3, 8, b)]
        batch = library.padded(texts).but(passage=np.arange(b))
        return objective.finish(objective.view(batch, keyed(seed)))

    return rows


@torch.no_grad()
def likelihoods(objective, backbone, batch, shelf, i):
    """log p(passage), log p(targets | passage) of row i, each text run by itself and without padding."""
    t = int(batch.valid[i].sum())
    row = torch.tensor(batch.ids[i : i + 1, :t])
    query = backbone(Batch(query_ids=row), {"query": Seen()}).towers["query"].pooled[0]
    every = [
        backbone(Batch(ids=torch.tensor([p])), {"passage": Seen()}).towers["passage"].pooled[0] for p in shelf.rows
    ]
    best = sorted((n for n in range(20) if n != batch.passage[i]), key=lambda n: -float(every[n] @ query))[:3]
    empty = backbone(Batch(ids=torch.tensor([[1, 2]])), {"passage": Seen()}).towers["passage"].pooled[0]
    scores = torch.stack([empty @ query, *(every[n] @ query for n in best)])
    there = batch.targets[i] != IGNORE
    found = []
    for text in ([], *(shelf.rows[n][1:] for n in best)):
        ids = torch.cat([row, torch.tensor([text], dtype=torch.long)], 1)
        segments = (torch.arange(ids.shape[1])[None] >= t).long()
        states = backbone(Batch(ids=ids, segments=segments), Seen()).states[0]
        log_p = objective.mask.head(states[batch.target_at[i][there]]).log_softmax(-1)
        found.append(log_p[torch.arange(len(log_p)), torch.tensor(batch.targets[i][there])])
    return scores.log_softmax(0), torch.stack(found, 1)


@pytest.mark.parametrize("marginal", ["token", "sequence"])
def test_the_loss_is_that_of_a_loop_over_rows_and_passages(make, shelf, asked, marginal):
    objective, backbone = make(shelf, marginal=marginal)
    batch, total, saved = asked(objective), 0.0, 0.0
    for i in range(5):
        prior, found = likelihoods(objective, backbone, batch, shelf, i)
        if marginal == "token":
            gained = (prior + found).logsumexp(1).sum()
        else:
            gained = (prior + found.sum(0)).logsumexp(0)
        total, saved = total - float(gained), saved + float(gained - found[:, 0].sum())
    loss = objective(backbone, batch.tensors())["realm"]
    assert loss.total.item() == pytest.approx(total, rel=1e-5)
    assert loss.count == (batch.targets != IGNORE).sum()
    told = objective.measure(backbone, batch.tensors())
    assert told["utility"].total.item() == pytest.approx(saved, abs=1e-4)


def test_without_passages_it_is_plain_masked_language_modelling(make, library):
    objective, backbone = make(candidates=1)
    plain = MaskedLM(objective.config.mask, library.facts, backbone.reader).eval()
    plain.head.load_state_dict(objective.mask.head.state_dict())
    batch = library.padded([[1, 9, 8, 7, 6, 2], [1, 30, 31, 32, 2]]).but(passage=np.arange(2))
    hidden = objective.view(batch, keyed(1))
    one = objective(backbone, objective.finish(hidden).tensors())["realm"]
    two = plain(backbone.reader, gather_targets(hidden).tensors())["mlm"]
    torch.testing.assert_close(one.total, two.total)
    assert one.count == two.count
    assert objective.measure(backbone, objective.finish(hidden).tensors())["utility"].total == 0


def test_the_passages_are_the_best_but_for_the_one_a_row_came_from(make, shelf):
    objective, backbone = make(shelf)
    objective.twin.begin()
    rng = np.random.default_rng(1)
    queries = torch.randn(30, 8)
    without = torch.tensor(rng.integers(-20, 20, 30))
    found = objective.index.top(queries, 6, without=without)
    vectors = torch.stack(
        [encode_texts(backbone.side("passage"), Batch(ids=torch.tensor([p])))[0].detach() for p in shelf.rows]
    )
    for query, own, numbers in zip(queries, without.tolist(), found.tolist(), strict=True):
        order = [n for n in (vectors @ query).argsort(descending=True).tolist() if n != own]
        assert numbers == order[:6]


def test_the_index_follows_the_tower_at_the_steps_given_and_no_sooner(make, shelf, asked):
    objective, backbone = make(shelf, refresh=3)
    batch = asked(objective).tensors()
    objective(backbone, batch)
    first = objective.index.fill(torch.device("cpu")).clone()
    seen = []
    for step in range(6):
        with torch.no_grad():
            for p in backbone.towers["passage"].parameters():
                p.add_(torch.randn_like(p) * 0.3)
        objective.after_step(step)
        seen.append(objective.index.fill(torch.device("cpu")).clone())
    assert all(torch.equal(v, first) for v in seen[:2])
    assert not torch.equal(seen[2], first) and torch.equal(seen[2], seen[3]) and torch.equal(seen[3], seen[4])
    assert not torch.equal(seen[5], seen[4])
    now = [encode_texts(backbone.side("passage"), Batch(ids=torch.tensor([p])))[0] for p in shelf.rows]
    torch.testing.assert_close(seen[5], torch.stack(now).detach(), atol=1e-5, rtol=1e-5)


def test_a_restored_objective_has_the_index_of_the_last_refresh(make, shelf, asked):
    objective, backbone = make(shelf, refresh=1)
    objective(backbone, asked(objective).tensors())
    with torch.no_grad():
        for p in backbone.towers["passage"].parameters():
            p.mul_(1.5)
    other, again = make(shelf, refresh=1)
    other.load_state_dict(objective.state_dict())
    again.load_state_dict(backbone.state_dict())
    batch = asked(objective).tensors()
    assert torch.equal(objective(backbone, batch)["realm"].total, other(again, batch)["realm"].total)
    assert torch.equal(objective.index.vectors, other.index.vectors)


def test_towers_and_reader_learn_but_the_copy_that_makes_the_index_does_not(make, shelf, asked):
    objective, backbone = make(shelf)
    objective(backbone, asked(objective).tensors())["realm"].total.backward()
    for part in (backbone.towers["query"], backbone.towers["passage"], backbone.reader, objective.mask):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None and not p.requires_grad for p in objective.twin.parameters())


def test_a_text_with_too_few_passages_and_a_model_without_a_reader_are_refused(make, shelf, library):
    with pytest.raises(RecipeError, match="data.text has 20\n  next: fewer candidates"):
        make(shelf, candidates=21)
    with pytest.raises(RecipeError, match="sources that do: none"):
        make(object())
    with pytest.raises(RecipeError, match="a reader"):
        make(backbone=make(candidates=1)[1].towers["query"])


@pytest.mark.slow
def test_passages_become_useful_and_the_search_finds_those_that_hold_the_answer(make, library):
    """Passages "key value" whose values change with every step, rows "key [mask]": there is nothing to know by heart.
    The towers are half trained at the start, as by inverse cloze."""
    rng, keys = np.random.default_rng(0), 60
    facts = Facts(vocab=5 + keys + 12, special=library.facts.special, words=(5, 5 + keys + 12))
    reader = library.stack(32, 1, embedding=EMBEDDING, join="pre", init={"kind": "normal", "std": 0.1})
    backbone = library.dual(reader, facts, width=None, norm=None)
    shelf = library.Shelf([[5]] * keys)
    match = Match(Match.Config(kind="match", temperature=4.0), facts, backbone)
    objective, _ = make(shelf, backbone, facts)

    def batch(index):
        rows = library.padded([[1, 5 + n, 3, 2] for n in index])
        labels = np.full(rows.ids.shape, IGNORE)
        labels[:, 2] = [shelf.rows[n][2] for n in index]
        return objective.finish(rows.but(labels=labels, passage=np.full(len(index), -1)))

    def pairs(index):
        rows, asked = shelf.texts(index), batch(index)
        rows = rows.but(query_ids=asked.ids, query_valid=asked.valid, passage=index)
        return match.view(rows, rng)

    def redraw():
        shelf.rows = [[1, 5 + n, value, 2] for n, value in enumerate(rng.integers(5 + keys, facts.vocab, keys))]
        objective.index.forget()

    @torch.no_grad()
    def judge():
        """How many queries find their passage first, and the utility."""
        found = match.metrics(backbone(rows := pairs(np.arange(keys)).tensors(), sight(rows)), rows)["accuracy"]
        useful = objective.measure(backbone, batch(np.arange(keys)).tensors())["utility"]
        return float(found.mean()), float(useful.mean())

    def learn(optimizer, loss):
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        redraw()

    redraw()
    towers = [p for name, p in backbone.named_parameters() if not name.startswith("reader.")]
    optimizer = torch.optim.Adam(towers, lr=3e-3)
    while judge()[0] < 0.4:
        learn(optimizer, match(backbone, pairs(rng.permutation(keys)[:32]).tensors())["match"])
    reader = [*backbone.reader.parameters(), *objective.mask.parameters()]
    optimizer = torch.optim.Adam([{"params": reader, "lr": 3e-3}, {"params": towers, "lr": 1e-4}])
    start = judge()
    for i in range(400):
        learn(optimizer, objective(backbone, batch(rng.permutation(keys)[:32]).tensors())["realm"])
        if i % 5 == 0:
            objective.twin.move()
    found, useful = judge()  # seen: .42 to .98, 0.0 to 2.1 nats
    assert useful > 1.0 > 0.1 > abs(start[1]), (start, useful)
    assert found > start[0] + 0.2, (start, found)
