"""What every recipe must hold, so that a new one is tested by being there.

The numbers G2, G4, G5, ... are the generic checks: padding, loss at init, one batch, same key same view, any cut of the
batch, round trip, gradients. What only one system promises is tested beside its objective."""

import math

import numpy as np
import pytest
import torch

from modeledge.recipe.compare import diff
from modeledge.recipe.resolve import resolve, shipped
from modeledge.recipe.schema import check
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


def closed_form(config, vocab):
    """The parameters of a Transformer stack of the usual slots, from its widths alone; None for other parts."""
    known = {"attention": {"softmax", "banded"}, "ffn": {"mlp", "gated"}, "embedding": {"tokens"},
             "positions": {"none", "learned", "rotary", "sinusoidal"}, "join": {"post", "pre"}}  # fmt: skip
    parts = {slot: getattr(config, slot, None) for slot in known}
    if config.kind != "transformer" or any(part.kind not in known[slot] for slot, part in parts.items()):
        return None
    d, e = config.width, config.embedding.width or config.width
    head = config.head_width or d // config.heads
    a, f, per_width = config.heads * head, config.ffn.width or 4 * d, {"layer": 2, "rms": 1}

    def norm(part, width):
        return per_width[part.kind] * width if part else 0

    tables = vocab + sum(config.embedding.types.values()) + getattr(config.positions, "max", 0)
    total = tables * e + norm(config.embedding.norm, e) + ((e + 1) * d if config.embedding.width else 0)
    attention = 4 * d * a + (3 * a + d) * config.attention.bias + 2 * norm(config.attention.norm, head)
    ups = 2 if config.ffn.kind == "gated" else 1
    ffn = (ups + 1) * d * f + (ups * f + d) * config.ffn.bias
    times = {s: config.groups if config.share in ("all", s) else config.layers for s in ("attention", "ffn")}
    total += times["attention"] * (attention + norm(config.norm, d)) + times["ffn"] * (ffn + norm(config.norm, d))
    total += norm(config.norm, d) if config.join.kind == "pre" else 0
    return total + (d * d + d if config.pool and config.pool.kind == "first" else 0)


def test_a_plain_stack_has_the_parameters_of_the_closed_form(name):  # G10
    tree = resolve(name)
    recipe = check(tree)
    wanted = closed_form(recipe.backbone, getattr(recipe.tokenizer, "vocab", 0) or 0)
    if wanted is not None:
        assert explain(tree).parameters["backbone parameters"] == wanted


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
        if name == "realm":  # inner products of normalised vectors, not scaled, as released: uneven from the start
            continue
        if uniform is not None and objective.losses[0] in found:  # not all take part where one is drawn a step
            near = 0.5 if name in REPEATS else 0.1
            near = max(near, 0.2) if uniform < 0.7 else near  # all labels alike, a head of two leans by chance
            assert float(found[objective.losses[0]]) == pytest.approx(uniform, rel=near), (name, objective.losses[0])


REPEATS = ("t5", "transformer_xl")
"""Recipes whose fresh model, tied to a large table of tokens, says its input again."""
FLOORS = {
    "cove": (0.25, "two LSTM layers and attention between them are slow to learn"),
    "dssm": (0.52, "queries and passages of the toy text are alike: the rest is chance"),
    "glove": (0.2, "a factorisation of rank 50 with one rate for all counts"),
    "siatl": (0.3, "the penalties on large and fast states remain; the words themselves are learnt"),
    "transformer": (0.2, "the entropy of the smoothed targets"),
    "fasttext": (0.4, "as word2vec"),
    "word2vec": (0.4, "a word has several neighbours, and some of them are drawn as noise too"),
}
"""What a recipe comes down to on one batch, as a share of its first loss, where that is not a tenth; and why."""


def test_one_batch_is_learnt_by_heart(stage, name):  # G5
    made, model, feed, known = stage(name, "schedule=constant", "loop.clip=1.0")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer = made.trainer(model, feed, None, known | {"steps": 10**6}, None)
    for group in trainer.optimizer.param_groups:
        group["peak"] = min(max(group["peak"], 2e-3), 1e-1)
    resting = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad and "twin" not in n}
    step = feed.step(0)
    model.train()
    first, _ = trainer.take(step).told
    share, wanted = 1.0, FLOORS.get(name, (0.1,))[0]
    for _ in range(400):
        taken = trainer.take(step)
        assert taken.good
        share = sum(taken.told[0].values()) / sum(first.values())
        if share < wanted:
            break
    assert share < wanted, (first, taken.told)
    assert all(torch.equal(p, resting[n]) for n, p in model.named_parameters() if n in resting)


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


IDLE = {
    "ernie_thu": {
        "backbone.entity": "the vectors of entities are frozen (arXiv:1905.07129 §4.2)",
        "backbone.knowledge.1.down": "nobody reads the entities behind the last fusion, the second of the toy's two",
        "backbone.knowledge.1.join_fused": "the same",
    },
    "infoxlm": {"objectives.xlco.twin": "follows by momentum"},
    "realm": {"objectives.realm.twin": "the passage tower as it was when the index was made"},
    "selective": {"backbone.pool": "BERT's pooler waits for the task"},
}
"""Parameters without a gradient, by recipe: their beginnings, and why."""


def test_gradients_reach_every_parameter_but_those_that_rest(stage, name):  # G11
    """Over the stages and the objectives that take turns; what `loop.frozen` names has no gradient at all."""
    reached, wanted = set(), set()
    for last in (False, True)[: 1 + bool(resolve(name).keys.get("stages"))]:
        made, model, feed, _ = stage(name, "loop.steps=60", last=last)
        torch.manual_seed(0)
        with torch.no_grad():  # nothing is zero by init
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.train()
        waiting = {n for task in feed.tasks for n in task.split("+")}
        for number in range(60):
            if number > 1 and waiting.isdisjoint(feed.active(number)):
                continue  # two steps, for what looks at the step before, and then until all have had their turn
            waiting -= set(feed.active(number))
            sum(losses(model, feed.step(number), number).values()).backward()
            for _, objective in model.each():
                objective.after_step(number)
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        grads = {n: g.coalesce().values() if g.is_sparse else g for n, g in grads.items()}
        assert all(torch.isfinite(g).all() for g in grads.values())
        rests = {n for n, p in model.named_parameters() if not p.requires_grad}
        named = {n for n, _ in model.named_parameters() for part in made.recipe.loop.frozen if n.startswith(f"{part}.")}
        assert not rests & grads.keys() and named <= rests
        reached |= {n for n, g in grads.items() if g.any()}
        wanted |= {n for n, _ in model.named_parameters()}
    idle = {n for n in wanted - reached if not n.startswith(tuple(IDLE.get(name, ())))}
    assert not idle, idle
