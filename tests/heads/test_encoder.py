"""A task's encoder against torch's LSTM row by row, and what it lets into a task where."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from modeledge.core import Batch, Facts, Output, RecipeError, find

D, V, T = 6, 20, 7
PLACES = {"none": (), "input": ("input",), "output": ("output",), "both": ("input", "output")}


def make(features="both", **settings):
    torch.manual_seed(0)
    part = find("heads", "encoder")
    backbone = SimpleNamespace(width=D, config=SimpleNamespace(layers=2))
    settings = {"words": 5, "width": 4} | settings
    made = part(part.Config(kind="encoder", features=features, **settings), Facts(vocab=V), backbone)
    with torch.no_grad():
        for n, mix in enumerate(made.mixes.values()):  # so that the two are not alike
            mix.weights.copy_(torch.tensor([0.5, -0.3, 0.2]) * (n + 1))
            mix.gamma.fill_(1.5 - n)
    return made.eval()


def some_batch(lengths=(7, 3, 5)):
    ids = torch.randint(1, V, (len(lengths), T), generator=torch.Generator().manual_seed(1))
    valid = torch.arange(T) < torch.tensor(lengths)[:, None]
    kept = {n: torch.randn(len(lengths), T, D, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(NAMES)}
    return Output(kept=kept), Batch(ids=ids, valid=valid)


NAMES = ("embedding", "blocks.0", "blocks.1")


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("features", PLACES)
def test_each_row_is_what_torchs_lstm_makes_of_it_alone(features, layers):
    made = make(features, layers=layers)
    out, batch = some_batch()
    found = made(out, batch)
    plain = nn.LSTM(made.lstm.input_size, 4, layers, bidirectional=True)
    plain.load_state_dict(made.lstm.state_dict())
    for row, size in enumerate((7, 3, 5)):
        mixed = {}
        for place, mix in made.mixes.items():
            shares = mix.weights.softmax(0)
            mixed[place] = mix.gamma * sum(w * out.kept[n][row, :size] for w, n in zip(shares, NAMES, strict=True))
        read = [made.words.weight[batch.ids[row, :size]]] + [mixed[p] for p in ("input",) if p in mixed]
        states, _ = plain(torch.cat(read, -1)[:, None])
        wanted = torch.cat([states[:, 0], *(mixed[p] for p in ("output",) if p in mixed)], -1)
        torch.testing.assert_close(found[row, :size], wanted)
    assert found.shape[-1] == made.width == 8 + D * ("output" in PLACES[features])
    assert made.reads == (NAMES if PLACES[features] else ())


def test_rows_without_padding_need_no_mask():
    made = make()
    out, batch = some_batch((7, 7, 7))
    torch.testing.assert_close(made(out, batch), made(out, Batch(ids=batch.ids)))


def test_what_stands_at_padding_reaches_no_real_token():
    made = make()
    out, batch = some_batch()
    before = made(out, batch)
    for kept in out.kept.values():
        kept[~batch.valid] = 1e3
    found = made(out, batch.but(ids=batch.ids.where(batch.valid, 0)))
    assert torch.equal(found[batch.valid], before[batch.valid])


def test_each_place_has_weights_of_its_own_and_both_are_pulled_to_the_mean():
    made = make(mix={"kind": "scalar_mix", "penalty": 0.1})
    before, after = made.mixes["input"].weights, made.mixes["output"].weights
    assert before is not after
    torch.testing.assert_close(made.penalty(), 0.1 * (before.square().sum() + after.square().sum()))
    assert make("none").penalty() == 0


def test_an_encoder_that_would_read_nothing_is_refused():
    make("input", words=0)
    for features in ("none", "output"):
        with pytest.raises(RecipeError, match=f"{features}: without words the encoder has nothing to read"):
            make(features, words=0)


def task(kind, features, rule):
    """A frozen backbone, and a task on top that needs what only the backbone, or only the order of words, tells."""
    torch.manual_seed(0)
    facts = Facts(vocab=V, special={"pad": 0}, labels={"label": ["x", "y", "z"]})
    lstm = find("backbones", "lstm")
    backbone = lstm(lstm.Config(kind="lstm", width=D, cell=8, embedding={"kind": "tokens"}), facts)
    part = find("objectives", kind)
    mix = {"kind": "encoder", "features": features, "words": 8, "width": 8}
    pool = {"pool": {"kind": "mean"}} if kind == "classify" else {}
    made = part(part.Config(kind=kind, train="head", mix=mix, **pool), facts, backbone)
    ids = np.random.default_rng(0).integers(1, V, (32, T))
    labels = {"labels": rule(ids)} if kind == "tag" else {"label": rule(ids)}
    batch = made.finish(made.view(Batch(ids=ids, **labels), np.random.default_rng(0))).tensors()
    return backbone, made, batch


@pytest.mark.parametrize("features", PLACES)
@pytest.mark.parametrize("kind", ["tag", "classify"])
def test_tasks_learn_with_features_at_any_place_and_leave_the_backbone_alone(kind, features):
    rule = (lambda ids: (ids + np.roll(ids, 1, axis=1)) % 3) if kind == "tag" else (lambda ids: ids[:, 2] % 3)
    backbone, made, batch = task(kind, features, rule)
    before = {n: p.clone() for n, p in backbone.named_parameters()}
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=0.03)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(made(backbone, batch)[kind].mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in backbone.named_parameters())
    learnt = {n.split(".")[2] for n, p in made.named_parameters() if n.startswith("mix.mixes") and p.grad is not None}
    assert learnt == set(PLACES[features])
