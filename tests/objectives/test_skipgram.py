"""Skip-gram and CBOW against plain loops over pairs, against gensim's own step, and on text made of facts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.analysis.similarity import WordVectors, analogies
from modeledge.core import Batch, Facts, find, keyed

V, D = 30, 8


def make(kind, *, vocab=V, width=D, counts=None, head="negative_sampling", **settings):
    facts = Facts(vocab=vocab, special={"pad": 0}, words=(1, vocab))
    facts.counts = np.arange(vocab, 0, -1.0) if counts is None else counts
    table = find("backbones", "table")
    backbone = table(table.Config(kind="table", width=width), facts)
    part = find("objectives", kind)
    return backbone, part(part.Config(kind=kind, head={"kind": head, **settings}), facts, backbone)


def some_batch(objective, *, b=3, t=17, reach=4, seed=0):
    rng = np.random.default_rng(seed)
    valid = np.arange(t) < np.array([t, t - 3, 5])[:, None]
    doc = np.where(valid, np.cumsum(rng.random((b, t)) < 0.15, 1), -1)
    ids = np.where(valid, rng.integers(1, V, (b, t)), 0)
    batch = Batch(ids=ids, valid=valid, doc=doc, reach=np.where(valid, rng.integers(1, reach + 1, (b, t)), 0))
    return objective.view(batch, keyed("noise", seed))


def contexts(batch):
    """(row, place, places of its context), by a plain loop."""
    for row in range(len(batch.ids)):
        for i in range(batch.ids.shape[1]):
            near = range(i - batch.reach[row, i], i + batch.reach[row, i] + 1)
            inside = [j for j in near if j != i and 0 <= j < batch.ids.shape[1]]
            yield row, i, [j for j in inside if batch.valid[row, j] and batch.doc[row, j] == batch.doc[row, i]]


def nll(score):
    return math.log1p(math.exp(-score))


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_the_loss_is_that_of_a_plain_loop_over_pairs(kind):
    torch.manual_seed(0)
    backbone, objective = make(kind, negatives=5, draws=12)
    torch.nn.init.normal_(objective.head.weight)
    torch.nn.init.normal_(backbone.embed.weight)
    batch = some_batch(objective)
    inputs, outputs = backbone.embed.weight.detach().numpy(), objective.head.weight.detach().numpy()
    total, count = 0.0, 0
    for row, i, near in contexts(batch):
        word = batch.ids[row, i]
        if kind == "skipgram":
            pairs = [(inputs[word], batch.ids[row, j]) for j in near]
        else:
            pairs = [(inputs[batch.ids[row, near]].mean(0), word)] if near else []
        for vector, truth in pairs:
            noise = [w for w in batch.negatives[row] if w != truth]
            total += nll(outputs[truth] @ vector) + 5 / 12 * sum(nll(-outputs[w] @ vector) for w in noise)
            count += 1
    found = objective(backbone, batch.tensors())[kind]
    assert found.count == count and objective.counts(batch) == {kind: count}
    assert math.isclose(found.total.item(), total, rel_tol=1e-5)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_knowing_nothing_costs_what_the_baseline_says(kind):
    backbone, objective = make(kind, vocab=2000, counts=np.ones(2000), negatives=5, draws=50)
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 2000, (4, 40))
    batch = objective.view(Batch(ids=ids, reach=np.full_like(ids, 3)), rng)
    found = objective(backbone, batch.tensors())[kind]
    assert math.isclose(found.mean().item(), objective.baselines(objective.facts)["uniform"], rel_tol=5e-3)


@pytest.mark.parametrize("optim", ["sgd", "adagrad"])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_a_step_moves_one_input_row_a_word_and_one_output_row_a_true_or_noise_word(kind, optim):
    torch.manual_seed(0)
    backbone, objective = make(kind, negatives=5, draws=5)
    torch.nn.init.normal_(objective.head.weight)
    model = torch.nn.ModuleDict({"b": backbone, "o": objective})
    before = [backbone.embed.weight.detach().clone(), objective.head.weight.detach().clone()]
    part = find("optim", optim)
    optimizer = part(part.Config(kind=optim, lr=0.1)).make(model.named_parameters())
    # a pair: the first word looks one to the right, the second looks nowhere
    batch = Batch(ids=np.array([[11, 12]]), reach=np.array([[1, 0]]), negatives=np.array([[20, 21, 22, 21, 12]]))
    objective(backbone, batch.tensors())[kind].total.backward()
    optimizer.step()
    moved = [
        set((now != old).any(1).nonzero().flatten().tolist())
        for now, old in zip((backbone.embed.weight, objective.head.weight), before, strict=True)
    ]
    if kind == "skipgram":  # from 11 to 12; the drawn 12 is the truth, so it is no noise
        assert moved == [{11}, {12, 20, 21, 22}]
    else:  # from the context {12} to 11
        assert moved == [{12}, {11, 20, 21, 22, 12}]


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_one_step_is_gensims(kind):
    """Counts so uneven that the noise is always the word `a`: gensim's draws are then known."""
    gensim = pytest.importorskip("gensim")
    sentence, lr = ["b", "c", "a", "d"], 1e-3
    model = gensim.models.Word2Vec(
        vector_size=D, window=1, min_count=1, sample=0, negative=3, ns_exponent=40.0, workers=1, seed=1,
        sg=int(kind == "skipgram"), cbow_mean=1, alpha=lr, min_alpha=lr, epochs=1,
    )  # fmt: skip
    model.build_vocab([sentence, ["a", "a", "a"]])
    rng = np.random.default_rng(0)
    n = len(model.wv)
    model.wv.vectors[:] = rng.normal(size=(n, D))
    model.syn1neg[:] = rng.normal(size=(n, D))
    inputs, outputs = model.wv.vectors.copy(), model.syn1neg.copy()
    model.train([sentence], total_examples=1, epochs=1)

    backbone, objective = make(kind, vocab=n + 1, negatives=3, draws=3)  # row 0 is padding: gensim's rows move up
    with torch.no_grad():
        backbone.embed.weight[1:] = torch.from_numpy(inputs)
        objective.head.weight[1:] = torch.from_numpy(outputs)
    ids = np.array([[model.wv.key_to_index[w] + 1 for w in sentence]])
    noise = np.full((1, 3), model.wv.key_to_index["a"] + 1)
    step = [np.zeros_like(inputs), np.zeros_like(outputs)]
    for place in range(4):  # one centre at a time: see below
        reach = (np.arange(4) == place)[None].astype(int)
        batch = Batch(ids=ids, reach=reach, negatives=noise)
        found = objective(backbone, batch.tensors())[kind]
        grads = torch.autograd.grad(found.total, [backbone.embed.weight, objective.head.weight])
        # The tool and gensim give each of n context words the whole gradient of their mean, not its n-th part
        # (Irsoy et al., arXiv:2012.15332); ours is the gradient.
        factor = 2 if kind == "cbow" and place in (1, 2) else 1
        step[0] -= lr * factor * grads[0][1:].numpy()
        step[1] -= lr * grads[1][1:].numpy()
    for expected, old, new in zip(step, (inputs, outputs), (model.wv.vectors, model.syn1neg), strict=True):
        atol = 0.02 * np.abs(expected).max()  # its sigmoid is a table of 1000 values, its steps follow each other
        np.testing.assert_allclose(new - old, expected, atol=atol)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_a_tree_costs_what_a_plain_loop_down_gensims_paths_does(kind):
    gensim = pytest.importorskip("gensim")
    rng = np.random.default_rng(0)
    sentences = [[f"w{i}" for i in rng.zipf(1.5, 12).clip(max=40)] for _ in range(30)]
    model = gensim.models.Word2Vec(
        sentences, vector_size=D, window=3, min_count=1, hs=1, negative=0, sg=int(kind == "skipgram"), epochs=1
    )
    model.wv.vectors[:] = rng.normal(size=model.wv.vectors.shape) * 0.6
    model.syn1[:] = rng.normal(size=model.syn1.shape) * 0.6
    n = len(model.wv)
    backbone, objective = make(kind, vocab=n, counts=np.ones(n), head="hierarchical_softmax")
    tree = np.zeros((n - 1, 2), np.int32)
    for word in range(n):
        points, code = (model.wv.get_vecattr(word, name) for name in ("point", "code"))
        below = [*(n + p for p in points[1:]), word]
        tree[points, code] = below
    with torch.no_grad():
        backbone.embed.weight[:] = torch.from_numpy(model.wv.vectors)
        objective.head.weight[:] = torch.from_numpy(model.syn1[:-1])
        objective.head.load_state_dict(objective.head.state_dict() | {"tree": torch.from_numpy(tree)})
    ids = np.array([[model.wv.key_to_index[w] for w in s] for s in sentences])
    batch = objective.view(Batch(ids=ids, reach=np.full_like(ids, 3)), rng)
    found = objective(backbone, batch.tensors())[kind]
    total, count = 0.0, 0
    for row, i, near in contexts(batch.but(valid=np.ones_like(ids), doc=np.zeros_like(ids))):
        inputs = model.wv.vectors[ids[row, near]]
        for vector in inputs if kind == "skipgram" else [inputs.mean(0)]:  # all look as far, so pairs go both ways
            points, code = (model.wv.get_vecattr(int(ids[row, i]), name) for name in ("point", "code"))
            total += sum(nll(s if c == 0 else -s) for s, c in zip(model.syn1[points] @ vector, code, strict=True))
            count += 1
    assert objective.counts(batch) == {kind: count} and found.count == count
    assert math.isclose(found.total.item(), total, rel_tol=1e-5)
    said = model.score(sentences, total_sentences=len(sentences))  # by a table of logarithms that lies 0.015 too high
    assert math.isclose(-said.sum(), total, rel_tol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_capitals_are_to_each_other_as_their_countries(kind, head, tmp_path, facts_text):
    from modeledge.data import Store, StoreWriter

    rng = np.random.default_rng(0)
    countries = 25
    text = facts_text(rng, countries=countries, sentences=20_000)
    words = ["<pad>", *sorted({w for s in text for w in s})]
    index = {w: i for i, w in enumerate(words)}
    flat = np.array([index[w] for s in text for w in s])
    with StoreWriter(tmp_path / "s") as writer:
        writer.ragged("tokens", np.uint16, flat, np.array([len(s) for s in text]))
        writer.finish(rows=len(text), meta={})
    counts = np.bincount(flat, minlength=len(words)).astype(float)
    backbone, objective = make(kind, vocab=len(words), width=50, counts=counts, head=head)
    part = find("data.sources", "windows")
    source = part(part.Config(kind="windows", length=96, window=5), Store.open(tmp_path / "s"), objective.facts)
    parameters = [backbone.embed.weight, objective.head.weight]
    optimizer, batch, epochs = torch.optim.Adagrad(parameters, lr=0.2), 32, 20
    for epoch in range(epochs):
        order = rng.permutation(len(source))
        for at in range(0, len(order), batch):
            rows = objective.view(source.rows(order[at : at + batch], rng), rng)
            for group in optimizer.param_groups:
                group["lr"] = 0.2 * (1 - epoch / epochs)
            optimizer.zero_grad()
            objective(backbone, rows.tensors())[kind].mean().backward()
            optimizer.step()
    vectors = WordVectors(backbone.embed.weight.detach().numpy()[1:], words[1:])
    pairs = [(i, j) for i in range(countries) for j in range(countries) if i != j]
    asked = [(f"country{i}", f"capital{i}", f"country{j}", f"capital{j}") for i, j in pairs]
    found = analogies(vectors, asked)
    assert found["n"] == len(asked) and found["accuracy"] >= 0.8, found
