"""A recurrent language model, its penalties and its memory against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, RecipeError, find, keyed

V = 25


def make(*, dropout=0.0, kind="rnn_lm", inner=7, **settings):
    torch.manual_seed(0)
    facts = Facts(vocab=V, special={"pad": 0}, words=(1, V), counts=np.ones(V))
    lstm = find("backbones", "lstm")
    shape = {"width": 6, "inner": inner, "directions": "forward", "skip": "none", "embedding": {"kind": "tokens"}}
    model = lstm(lstm.Config(kind="lstm", dropout=dropout, **shape), facts)
    part = find("objectives", kind)
    head = {"kind": "token", "transform": "none"}
    return model, part(part.Config(kind=kind, head=head, **settings), facts, model)


def ids_of(b=3, t=8, seed=0):
    return np.random.default_rng(seed).integers(1, V, (b, t))


def ready(objective, **fields):
    return objective.finish(objective.view(Batch(**fields), keyed(0)))


@pytest.mark.parametrize("padded", [False, True])
def test_the_losses_are_those_of_a_plain_loop(padded):
    model, objective = make(activation=2.0, change=1.0)
    ids = ids_of()
    sizes = [8, 5, 1] if padded else [8, 8, 8]
    fields = {"valid": np.arange(8) < np.array(sizes)[:, None]} if padded else {}
    batch = ready(objective, ids=ids, **fields)
    found = objective(model, batch.tensors())
    states = model(Batch(ids=torch.from_numpy(ids), **{k: torch.from_numpy(v) for k, v in fields.items()})).states
    nll = size = step = 0.0
    for row, n in enumerate(sizes):
        for k in range(n):
            size += states[row, k].square().mean()
            if k:
                nll -= (model.embed.weight @ states[row, k - 1]).log_softmax(-1)[ids[row, k]]
                step += (states[row, k] - states[row, k - 1]).square().mean()
    for name, value in zip(objective.losses, (nll, size, step), strict=True):
        torch.testing.assert_close(found[name].total, value)
    assert {k: float(v.count) for k, v in found.items()} == objective.counts(batch)
    assert objective.weights(0, 1) == {"rnn_lm": 1.0, "rnn_lm.activation": 2.0, "rnn_lm.change": 1.0}


def test_the_size_is_that_of_dropped_states_and_the_change_that_of_whole_ones():
    model, objective = make(dropout={"output": 0.5})
    batch = ready(objective, ids=ids_of()).tensors()
    whole = objective.eval()(model.eval(), batch)
    dropped = objective.train()(model.train(), batch)
    assert torch.equal(whole["rnn_lm.change"].total, dropped["rnn_lm.change"].total)
    assert not torch.isclose(whole["rnn_lm.activation"].total, dropped["rnn_lm.activation"].total)


def test_rows_go_on_from_the_states_of_the_row_before_and_no_gradient_does():
    model, objective = make(memory="state")
    objective.prepare(3)
    ids = torch.from_numpy(ids_of(t=8))
    halves = []
    for number in range(2):
        part = ids[:, 4 * number : 4 * number + 4]
        fresh, row = np.full(3, number == 0), np.arange(3) + 3 * number
        batch = ready(objective, ids=part.numpy(), fresh=fresh, row=row).tensors()
        halves.append(objective.run(model, batch).states)
        objective.after_step(number)
    torch.testing.assert_close(torch.cat(halves, 1), model(Batch(ids=ids)).states)
    assert torch.autograd.grad(halves[1].sum(), halves[0], allow_unused=True) == (None,)


def test_what_is_to_be_predicted_does_not_reach_its_prediction():
    model, objective = make()
    ids = torch.from_numpy(ids_of())
    changed = ids.clone()
    changed[:, 5] = changed[:, 5] % (V - 1) + 1
    one, two = (objective.run(model, Batch(ids=x)).states for x in (ids, changed))
    assert torch.equal(one[:, :5], two[:, :5]) and not torch.equal(one[:, 5:], two[:, 5:])


def test_without_regularisers_it_is_the_plain_causal_language_model():
    model, objective = make()
    other = make(kind="clm")[1]
    batch = ready(objective, ids=ids_of()).tensors()
    torch.testing.assert_close(objective(model, batch)["rnn_lm"].total, other(model, batch)["clm"].total)
    torch.testing.assert_close(objective.score(model, batch), other.score(model, batch))


@pytest.mark.parametrize("directions", ["both", "joined"])
def test_a_backbone_that_reads_ahead_is_refused(directions):
    facts = Facts(vocab=V, special={"pad": 0})
    lstm, part = find("backbones", "lstm"), find("objectives", "rnn_lm")
    shape = {"width": 6, "directions": directions, "skip": "none", "embedding": {"kind": "tokens"}}
    with pytest.raises(RecipeError, match="directions: forward"):
        part(
            part.Config(kind="rnn_lm", head={"kind": "token", "decoder": "own"}),
            facts,
            lstm(lstm.Config(**shape), facts),
        )


def test_a_backbone_without_recurrence_is_refused():
    facts = Facts(vocab=V, special={"pad": 0})
    table = find("backbones", "table")
    part = find("objectives", "rnn_lm")
    with pytest.raises(RecipeError, match="recurrent backbone"):
        part(part.Config(kind="rnn_lm"), facts, table(table.Config(kind="table"), facts))
