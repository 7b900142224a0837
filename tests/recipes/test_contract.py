"""What every recipe must hold, so that a new one is tested by being there.

The numbers G2, G4, G5, ... are the generic checks: padding, loss at init, one batch, same key same view, any cut of the
batch, round trip, gradients. What only one system promises is tested beside its objective."""

import math

import numpy as np
import pytest
import torch

from modeledge.recipe.compare import diff
from modeledge.recipe.resolve import resolve, shipped
from modeledge.run.explain import explain

ALL = list(shipped())
PARENTS = [(str(t.chain[1]), t.name) for n in ALL if len((t := resolve(n)).chain) > 1]


def losses(model, step, seed=0):
    """Mean loss by name over a step's micro-batches."""
    totals = {}
    torch.manual_seed(seed)
    for work in step.works:
        for micro in work.micros:
            for name, value in model(work.names, micro.tensors()).items():
                totals[name] = totals.get(name, 0) + value.total
    return {n: t / max(step.counts[n], 1) for n, t in totals.items()}


def test_the_papers_size_has_the_expected_parameters(name):
    told = explain(resolve(name))
    assert told.expected, f"{name} states no expect.backbone_params"
    assert all(text.endswith("(as built)") for text in told.expected.values()), told.expected


@pytest.mark.parametrize(("parent", "child"), PARENTS)
def test_a_recipe_differs_from_its_parent_by_its_papers_idea(parent, child):
    assert 1 <= len(diff(resolve(parent), resolve(child))) <= 30


def test_the_loss_at_init_is_that_of_knowing_nothing(stage, name):  # G4
    made, model, feed, _ = stage(name)
    model.eval()
    with torch.no_grad():
        found = losses(model, feed.step(0))
    assert all(math.isfinite(v) for v in found.values())
    for _, objective in model.each():
        uniform = objective.baselines(made.facts).get("uniform")
        if uniform is not None and objective.losses[0] in found:  # not all take part where one is drawn a step
            near = 0.5 if name in ("t5", "transformer_xl") else 0.1  # tied to large embeddings, it repeats its input
            near = max(near, 0.2) if uniform < 0.7 else near  # all labels alike, a head of two leans by chance
            assert float(found[objective.losses[0]]) == pytest.approx(uniform, rel=near), (name, objective.losses[0])


def test_one_batch_is_learnt(stage, name):  # G5
    made, model, feed, known = stage(name, "schedule=constant", "loop.clip=1.0")
    trainer = made.trainer(model, feed, None, known | {"steps": 10**6}, None)
    for group in trainer.optimizer.param_groups:
        group["peak"] = min(max(group["peak"], 2e-3), 1e-1)
    step = feed.step(0)
    model.train()
    first, _, _ = trainer.take(step)
    for _ in range(25):
        last, _, good = trainer.take(step)
        assert good
    assert sum(last.values()) < 0.9 * sum(first.values()), (first, last)


def test_the_same_step_is_the_same_batch_and_another_step_is_not(stage, name):  # G7
    one, two = (stage(name)[2] for _ in range(2))
    for a, b in zip(one.step(3).works, two.step(3).works, strict=True):
        for x, y in zip(a.micros, b.micros, strict=True):
            assert x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
    rows = [next(iter(one.step(i).rows.values())).tolist() for i in (0, 1)]
    assert rows[0] != rows[1]


def test_any_cut_of_the_batch_gives_the_same_loss_and_the_counts_told_before(stage, name):  # G8
    made, model, feed, _ = stage(name)
    model.eval()
    whole = feed.step(0)  # the first: whatever remembers the step before begins anew
    feed.micro = 2
    parts = feed.step(0)
    counted = {}
    with torch.no_grad():
        for work in parts.works:
            for micro in work.micros:
                for n, value in model(work.names, micro.tensors()).items():
                    counted[n] = counted.get(n, 0.0) + float(value.count)
        if not any(o.draws for _, o in model.each()):
            one, two = losses(model, whole), losses(model, parts)
            assert all(float(two[n]) == pytest.approx(float(one[n]), abs=1e-5) for n in one)
    assert counted == pytest.approx(whole.counts)


def test_the_targets_are_not_in_what_the_model_is_given_twice(stage, name):
    """Labels at other places do not change the batch's inputs: the model never receives `labels` or `targets`."""
    _, model, feed, _ = stage(name)
    work = feed.step(0).works[0]
    model.eval()
    micro = work.micros[0]
    touched = [k for k in ("labels", "targets", "decoder_labels", "label", "is_next", "swapped") if k in micro]
    states = {}

    def hear(module, args, out):
        states.setdefault("out", []).append(out.states if out.states is not None else out.pooled)

    handle = model.backbone.register_forward_hook(hear)
    changed = micro.but(**{k: np.where(micro[k] >= 0, 0, micro[k]) for k in touched})
    with torch.no_grad():
        for batch in (micro, changed):
            torch.manual_seed(0)
            model(work.names, batch.tensors())
    handle.remove()
    half = len(states["out"]) // 2
    for a, b in zip(states["out"][:half], states["out"][half:], strict=True):
        if a is not None and name != "electra":  # its second pass reads what was sampled against the labels
            assert torch.equal(a, b)


def test_gradients_are_finite_and_reach_the_backbone(stage, name):  # G11
    reached = set()
    for last in (False, True)[: 1 + bool(resolve(name).keys.get("stages"))]:  # one stage may train what others do not
        _, model, feed, _ = stage(name, last=last)
        model.train()
        sum(losses(model, feed.step(0)).values()).backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        assert all(torch.isfinite(g if not g.is_sparse else g.coalesce().values()).all() for g in grads.values())
        reached |= {n for n, p in model.backbone.named_parameters() if p.grad is not None}
    sizes = {n: p.numel() for n, p in model.backbone.named_parameters()}
    assert sum(sizes[n] for n in reached) > 0.6 * sum(sizes.values())
