"""Two channels against plain loops over tokens and entities, and against the Transformer they extend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf

from modeledge.core import Batch, Facts, InputError, build, find

SETTINGS = {"width": 12, "layers": 3, "heads": 2, "ffn": {"kind": "mlp", "width": 20}, "pool": "first",
            "embedding": {"kind": "tokens", "norm": "layer"}, "positions": {"kind": "learned", "max": 32}}  # fmt: skip
OWN = {"knowledge": 2, "entity_width": 8, "entity_heads": 4}
E = 6


def make(kind="two_channel", seed=0, **changes):
    torch.manual_seed(seed)
    facts = changes.pop("facts", None) or Facts(vocab=40, entities=E)
    own = OWN if kind == "two_channel" else {}
    config = find("backbones", kind).Config.model_validate({"kind": kind, **SETTINGS, **own, **changes})
    backbone = build("backbones", config, facts).eval()
    with torch.no_grad():
        for p in backbone.parameters():
            p.normal_(std=0.4)
    return backbone


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    entities = np.full((2, 9), -1)
    entities[0, [1, 4, 5]], entities[1, [2]] = [3, 0, 0], 5
    starts = np.ones((2, 9), bool)
    starts[0, 5] = False  # the second token of a mention: nothing stands there
    return Batch(ids=rng.integers(0, 40, (2, 9)), entities=entities, entity_starts=starts).tensors()


def numbers(module):
    return {n: p.detach().double().numpy() for n, p in module.named_parameters()}


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def norm(x, w, name):
    x = x - x.mean()
    return x / np.sqrt((x**2).mean() + 1e-5) * w[f"{name}.norm.weight"] + w[f"{name}.norm.bias"]


def attend(q_of, k_of, states, w, name, heads):
    """What place q_of reads from the places k_of, by loops over heads and keys."""
    q, width = linear(states[q_of], w, f"{name}.to_q"), states[q_of].shape[0] // heads
    out = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = [q[part] @ linear(states[k], w, f"{name}.to_k")[part] / np.sqrt(width) for k in k_of]
        p = np.exp(scores - np.max(scores))
        values = [linear(states[k], w, f"{name}.to_v")[part] for k in k_of]
        out.append(sum(a * v for a, v in zip(p / p.sum(), values, strict=True)))
    return linear(np.concatenate(out), w, f"{name}.to_out")


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def test_an_upper_layer_is_the_papers_aggregator_place_by_place(batch):
    backbone = make()
    with torch.no_grad():
        out = backbone(batch, keep=("blocks.0", "blocks.*", "knowledge.*"))
    for row in range(2):
        x = list(out.kept["blocks.0"][row].double().numpy())  # after the one layer of text alone
        at = [i for i in range(9) if batch.entities[row, i] >= 0 and batch.entity_starts[row, i]]
        e = {i: backbone.entity.weight[batch.entities[row, i]].detach().double().numpy() for i in at}
        for layer in (0, 1):
            w, k = numbers(backbone.blocks[layer + 1]), numbers(backbone.knowledge[layer])
            x = [norm(x[i] + attend(i, range(9), x, w, "attention", 2), w, "join_attention") for i in range(9)]
            e = {i: norm(e[i] + attend(i, at, e, k, "attention", 4), k, "join_attention") for i in at}
            fused = [gelu(linear(x[i], w, "ffn.up") + (linear(e[i], k, "up") if i in e else 0.0)) for i in range(9)]
            x = [norm(x[i] + linear(fused[i], w, "ffn.down"), w, "join_ffn") for i in range(9)]
            e = {i: norm(e[i] + linear(fused[i], k, "down"), k, "join_fused") for i in at}
            np.testing.assert_allclose(out.kept[f"blocks.{layer + 1}"][row].numpy(), np.stack(x), atol=2e-5)
            for i in at:
                np.testing.assert_allclose(out.kept[f"knowledge.{layer}"][row, i].numpy(), e[i], atol=2e-5)


@pytest.mark.parametrize("hidden", ["no field", "all hidden"])
def test_without_entities_it_is_the_transformer_it_extends(batch, hidden):
    plain, backbone = make("transformer"), make()
    lost = backbone.load_state_dict(plain.state_dict(), strict=False)
    assert not lost.unexpected_keys and {n.split(".")[0] for n in lost.missing_keys} == set(backbone.added)
    bare = Batch(ids=batch.ids) if hidden == "no field" else batch.but(entities=torch.full_like(batch.entities, -1))
    with torch.no_grad():
        one, two = plain(batch), backbone(bare)
    torch.testing.assert_close(one.states, two.states)
    torch.testing.assert_close(one.pooled, two.pooled)


def test_gradients_reach_the_entities_channel_only_where_entities_stand(batch):
    backbone = make(vectors="learnt")
    backbone(batch).states.square().sum().backward()
    used = sorted({3, 0, 5})
    assert [i for i in range(E) if backbone.entity.weight.grad[i].abs().sum() > 0] == used
    backbone.zero_grad()
    backbone(batch.but(entities=torch.full_like(batch.entities, -1))).states.square().sum().backward()
    for name, p in backbone.knowledge.named_parameters():
        assert p.grad is None or not p.grad.any(), name


def test_vectors_of_the_store_are_taken_and_stay_as_they_are():
    vectors = np.random.default_rng(0).standard_normal((E, 8)).astype(np.float32)
    config = find("backbones", "two_channel").Config.model_validate({"kind": "two_channel", **SETTINGS, **OWN})
    backbone = build("backbones", config, Facts(vocab=40, entities=E, names=["x"] * E, vectors=vectors))
    assert np.array_equal(backbone.entity.weight.detach().numpy(), vectors) and not backbone.entity.weight.requires_grad
    with pytest.raises(InputError, match="entity_width: 8, but the store's vectors of entities are 5 wide"):
        build("backbones", config, Facts(vocab=40, entities=E, vectors=vectors[:, :5]))
    with pytest.raises(InputError, match="no vectors of entities"):
        build("backbones", config, Facts(vocab=40, entities=E, names=["x"] * E, counts=np.ones(40)))
    build("backbones", config, Facts(vocab=40, entities=E, names=["x"] * E))  # a model that is read again


def test_padding_changes_nothing(batch):
    backbone = make()
    from modeledge.visibility import see
    from modeledge.visibility.valid import valid

    real = torch.arange(9)[None] < torch.tensor([[6], [9]])
    seen = see(valid(real), 2, 9, device="cpu")
    with torch.no_grad():
        one = backbone(batch.but(valid=real), seen).states[0, :6]
        other = batch.but(ids=batch.ids.masked_fill(~real, 7), valid=real)
        torch.testing.assert_close(backbone(other, seen).states[0, :6], one)
        alone = backbone(Batch({k: v[:1, :6] for k, v in batch.items()})).states[0]
        torch.testing.assert_close(alone, one)
