"""The two directions of ELMo's language model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, RecipeError, find, keyed
from modeledge.run.known import bigram_cost

V = 25


def make(*, negatives=0, memory="none", vocab=V, head=None, **backbone):
    torch.manual_seed(0)
    facts = Facts(vocab=vocab, special={"pad": 0}, words=(1, vocab), counts=np.ones(vocab))
    lstm = find("backbones", "lstm")
    settings = {"width": 6, "cell": 8, "embedding": {"kind": "tokens"}} | backbone
    model = lstm(lstm.Config(kind="lstm", **settings), facts)
    part = find("objectives", "bilm")
    head = head or {"kind": "sampled_softmax", "negatives": negatives}
    return model, part(part.Config(kind="bilm", memory=memory, head=head), facts, model)


def ids_of(b=3, t=8, seed=0, vocab=V):
    return np.random.default_rng(seed).integers(1, vocab, (b, t))


@pytest.mark.parametrize("head", [None, {"kind": "token", "transform": "none"}])  # the second: tied to the token table
def test_each_direction_predicts_its_neighbour_at_every_place_but_the_last(head):
    model, objective = make(head=head)
    ids = ids_of()
    found = objective(model, Batch(ids=ids).tensors())
    forward, backward = model(Batch(ids=torch.from_numpy(ids))).states.chunk(2, -1)
    one = two = 0.0
    for row in range(3):
        for k in range(7):
            one -= objective.head(forward[row, k]).log_softmax(-1)[ids[row, k + 1]]
            two -= objective.head(backward[row, k + 1]).log_softmax(-1)[ids[row, k]]
    torch.testing.assert_close(found["bilm.forward"].total, one)
    torch.testing.assert_close(found["bilm.backward"].total, two)
    assert found["bilm.forward"].count == found["bilm.backward"].count == 21


@pytest.mark.parametrize("fields", [("valid",), ()])
def test_the_global_counts_are_those_of_the_losses(fields):
    model, objective = make()
    rng = np.random.default_rng(1)
    ids = ids_of()
    every = {"valid": np.arange(8) < np.array([8, 5, 1])[:, None]}
    batch = objective.view(Batch(ids=ids, **{f: every[f] for f in fields}), rng)
    found = objective(model, batch.tensors())
    assert {k: float(v.count) for k, v in found.items()} == objective.counts(batch)
    assert tuple(found) == objective.losses and 0 < found["bilm.forward"].count <= 21


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_a_direction_is_to_predict_does_not_reach_its_prediction(direction):
    model, objective = make(clip=3.0)
    out = model(Batch(ids=torch.from_numpy(ids_of())), keep={"embedding"})
    x = out.kept["embedding"]
    # the gradient of one prediction with respect to the input vectors, through a copy of the stacks
    x = x[..., :6].detach().requires_grad_()
    k = 4  # the word that is predicted
    if direction == "forward":
        states = model.read(model.stacks[0], x, None)[0][-1][:, k - 1]
        hidden = slice(k, None)
    else:
        states = model.read(model.stacks[1], x.flip(1), None)[0][-1].flip(1)[:, k + 1]
        hidden = slice(0, k + 1)
    objective.head(states).square().sum().backward()
    assert (x.grad[:, hidden] == 0).all() and x.grad.abs().sum() > 0


def test_the_input_layer_and_the_softmax_learn_from_both_directions_and_a_stack_from_its_own():
    model, objective = make()
    batch = Batch(ids=ids_of()).tensors()
    grads = {}
    for loss in objective.losses:
        model.zero_grad()
        objective.zero_grad()
        objective(model, batch)[loss].total.backward()
        grads[loss] = {n: p.grad for n, p in (*model.named_parameters(), *objective.named_parameters())}
        assert grads[loss]["embedding.word.weight"].abs().sum() > 0 and grads[loss]["head.weight"].abs().sum() > 0
    for own, (loss, other) in enumerate([objective.losses, objective.losses[::-1]]):
        assert grads[loss][f"stacks.{own}.0.to_gates"].abs().sum() > 0
        other_stack = grads[other][f"stacks.{own}.0.to_gates"]
        assert other_stack is None or (other_stack == 0).all()


def test_a_backward_model_is_a_forward_model_of_reversed_text_with_swapped_weights():
    model, objective = make()
    ids = ids_of()
    found = objective(model, Batch(ids=ids).tensors())
    model.stacks[0], model.stacks[1] = model.stacks[1], model.stacks[0]
    turned = objective(model, Batch(ids=ids[:, ::-1].copy()).tensors())
    torch.testing.assert_close(found["bilm.forward"].total, turned["bilm.backward"].total)
    torch.testing.assert_close(found["bilm.backward"].total, turned["bilm.forward"].total)


def test_at_first_a_word_costs_about_the_logarithm_of_the_vocabulary():
    model, objective = make(vocab=400, width=32, cell=64)
    found = objective(model, Batch(ids=ids_of(8, 20, vocab=400)).tensors())
    for loss in found.values():
        assert abs(loss.mean().item() / math.log(400) - 1) < 0.1
    assert objective.baselines(objective.facts)["uniform"] == math.log(400)


def test_a_small_batch_is_learnt_by_heart_against_a_sample_of_the_vocabulary():
    model, objective = make(negatives=15, width=32, cell=32)
    batch = Batch(ids=ids_of(2, 10)).tensors()
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        sum(v.mean() for v in objective(model, batch).values()).backward()
        optimizer.step()
    found = objective.eval()(model.eval(), batch)  # in full
    assert all(v.mean() < 0.1 for v in found.values()), found


def test_with_memory_segments_of_a_stream_are_one_long_row_to_the_forward_direction():
    model, objective = make(memory="state")
    objective.prepare(3)
    ids = ids_of(3, 16)
    first, second = ids[:, :8], ids[:, 8:]
    expected = model(Batch(ids=torch.from_numpy(ids))).states[:, 8:, :6]

    def step(ids, fresh, apply=True):
        batch = objective.view(Batch(ids=ids, fresh=np.full(3, fresh)), keyed(0)).tensors()
        found = objective.run(model, batch).states[..., :6]
        if apply:
            objective.after_step(0)
        else:
            objective.memory.waiting.clear()
        return found

    step(first, True)
    torch.testing.assert_close(step(second, False, apply=False), expected)
    saved = {n: t.clone() for n, t in objective.state_dict().items()}
    assert any("memory" in n for n in saved)  # it is in the checkpoint
    objective.eval()
    step(ids_of(3, 8, seed=9), True)  # evaluation has a memory of its own
    objective.train()
    torch.testing.assert_close(step(second, False), expected)
    anew = model(Batch(ids=torch.from_numpy(first))).states[..., :6]
    torch.testing.assert_close(step(first, True), anew)


def test_with_a_stream_for_each_direction_both_read_on_as_if_it_were_one_long_row():
    model, objective = make(memory="both", dropout=0.0)
    objective.prepare(3)
    whole = ids_of(3, 24)
    expected = model(Batch(ids=torch.from_numpy(whole))).states.chunk(2, -1)
    losses = dict.fromkeys(objective.losses, 0.0)
    for step in range(3):
        near, far = slice(8 * step, 8 * step + 8), slice(16 - 8 * step, 24 - 8 * step)
        rows = Batch(ids=whole[:, near], behind_ids=whole[:, far], fresh=np.full(3, step == 0))
        batch = objective.view(rows, keyed(0)).tensors()
        ahead, behind = objective.run(model, batch).states.chunk(2, -1)
        objective.memory.waiting.clear()  # the pass below is the step
        torch.testing.assert_close(ahead, expected[0][:, near])
        torch.testing.assert_close(behind, expected[1][:, far])
        for name, found in objective(model, batch).items():
            losses[name] += found.total
        objective.after_step(step)
    at = torch.tensor([k for k in range(23) if k % 8 < 7])  # pairs inside a row
    asked = ((expected[0][:, at], whole[:, at + 1]), (expected[1][:, at + 1], whole[:, at]))
    for name, (states, labels) in zip(objective.losses, asked, strict=True):
        scores = objective.head(states).log_softmax(-1)
        torch.testing.assert_close(losses[name], -scores.gather(-1, torch.from_numpy(labels)[..., None]).sum())


def test_memory_of_both_directions_needs_rows_for_each():
    _, objective = make(memory="both")
    with pytest.raises(RecipeError, match="backward=beside"):
        objective.view(Batch(ids=ids_of(), fresh=np.ones(3, bool)), keyed(0))


def test_memory_needs_rows_that_follow_each_other():
    _, objective = make(memory="state")
    with pytest.raises(RecipeError, match="data: stream"):
        objective.view(Batch(ids=ids_of()), keyed(0))


def test_memory_needs_as_many_streams_as_the_batch_has_rows():
    _, objective = make(memory="state")
    rows = np.arange(3)
    for first, streams in ((0, 3), (3, 3)):
        objective.view(Batch(ids=ids_of(), row=first + rows, fresh=(first + rows) // streams == 0), keyed(0))
    for first, streams in ((3, 6), (0, 2)):  # more streams, and fewer
        with pytest.raises(RecipeError, match="streams=3"):
            objective.view(Batch(ids=ids_of(), row=first + rows, fresh=(first + rows) // streams == 0), keyed(0))


def test_one_direction_is_refused():
    with pytest.raises(RecipeError, match="directions: both"):
        make(directions="forward")


class Stream(dict):
    valid = None


def test_what_knowing_the_neighbour_costs_is_the_same_either_way():
    """H(next | this) = H(this, next) - H(this) = H(this | next), so that one figure is the baseline of both losses."""
    rng = np.random.default_rng(0)
    ways = (rng.random((V, V)) ** 9).cumsum(1)
    words = [1]
    for draw in rng.random(20_000):
        words.append(int(np.searchsorted(ways[words[-1]], draw * ways[words[-1], -1])))
    forward, backward = (bigram_cost(Stream(tokens=np.array(w)), V) for w in (words, words[::-1]))
    assert forward == pytest.approx(backward, abs=0.02)
    _, objective = make()
    objective.facts.counts, objective.facts.pairs = np.bincount(words, minlength=V), lambda: forward
    found = objective.baselines(objective.facts)
    assert found["bigram"] == forward < found["unigram"] - 0.3 and found["unigram"] <= found["uniform"]
