"""Queries against passages of the batch: the loss against plain loops, who is a negative, gradients, DPR's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import DPRConfig, DPRContextEncoder, DPRQuestionEncoder

from modeledge.backbones.dual import Dual
from modeledge.core import Batch, Facts, RecipeError
from modeledge.objectives.match import Match

FACTS = Facts(vocab=40, special={"pad": 0, "cls": 1, "sep": 2}, words=(3, 40))
TOWER = {
    "kind": "transformer", "width": 16, "layers": 2, "heads": 2, "pool": "cls", "ffn": {"kind": "mlp", "width": 24},
    "embedding": {"kind": "tokens", "norm": {"kind": "layer", "eps": 1e-12}}, "norm": {"kind": "layer", "eps": 1e-12},
    "positions": {"kind": "learned", "max": 12},
}  # fmt: skip
BAG = {"kind": "bag", "widths": (12, 12, 8)}


def make(query=TOWER, passage=TOWER, width=None, **settings):
    torch.manual_seed(0)
    towers = {"query": query} | ({"passage": passage} if passage else {})
    backbone = Dual(Dual.Config(kind="dual", towers=towers, width=width), FACTS).eval()
    return Match(Match.Config(kind="match", **settings), FACTS, backbone), backbone


def rows(b=8, seed=0):
    rng = np.random.default_rng(seed)
    batch = Batch(passage=np.arange(b))
    for name, t in (("", 9), ("query_", 6)):
        size = rng.integers(2, t + 1, b)[:, None]
        valid = np.arange(t) < size
        batch[name + "ids"] = np.where(valid, rng.integers(3, 40, (b, t)), 0)
        batch[name + "valid"] = valid
    return batch


def ready(objective, batch):
    return objective.view(batch, np.random.default_rng(0)).tensors()


def test_the_loss_is_that_of_a_loop_over_pairs():
    objective, backbone = make(width=10, temperature=2.0)
    batch = ready(objective, rows())
    found = {name: x.detach() for name, x in objective.embed(backbone, batch).items()}
    total = 0.0
    for i in range(8):
        scores = [float(found["query"][i] @ found["passage"][j]) / 2 for j in range(8)]
        total += math.log(sum(map(math.exp, scores))) - scores[i]
    loss = objective(backbone, batch)["match"]
    assert loss.total.item() == pytest.approx(total, rel=1e-5) and loss.count == 8 == objective.counts(batch)["match"]


def test_rows_of_the_same_passage_are_no_negatives():
    objective, _ = make()
    among = objective.view(rows(6).but(passage=np.array([3, 5, 3, -1, -1, 4])), np.random.default_rng(0)).among
    for i, j in ((0, 2), (2, 0), (3, 4), (4, 3)):
        assert not among[i, j]
    assert among.sum() == 36 - 4 and among.diagonal().all()


def test_drawn_negatives_are_as_many_as_asked_and_evenly_spread():
    objective, _ = make(negatives=4)
    batch, rng = rows(12), np.random.default_rng(0)
    n = 400
    among = np.mean([objective.view(batch, rng).among for _ in range(n)], axis=0)
    assert (objective.view(batch, rng).among.sum(1) == 5).all() and (among.diagonal() == 1).all()
    p = 4 / 11
    off = among[~np.eye(12, dtype=bool)]
    assert (abs(off - p) < 4.5 * math.sqrt(p * (1 - p) / n)).all()  # 132 of them
    assert objective.baselines(FACTS) == {"uniform": math.log(5)}


def test_cosines_of_one_network_are_the_same_when_query_and_passage_change_places():
    objective, backbone = make(BAG, None, similarity="cosine", temperature=0.1)
    batch = rows()
    swapped = Batch(ids=batch.query_ids, valid=batch.query_valid, query_ids=batch.ids, query_valid=batch.valid)
    there = objective.embed(backbone, ready(objective, batch))
    back = objective.embed(backbone, swapped.tensors())
    torch.testing.assert_close(there["query"] @ there["passage"].T, (back["query"] @ back["passage"].T).T)
    assert (there["query"].norm(dim=1) - 1).abs().max() < 1e-5


def test_at_first_the_loss_is_near_the_logarithm_of_the_batch():
    objective, backbone = make(BAG, BAG, similarity="cosine")
    objective.prepare(8)
    uniform = objective.baselines(FACTS)["uniform"]
    assert uniform == math.log(8)
    assert objective(backbone, ready(objective, rows()))["match"].mean().item() == pytest.approx(uniform, rel=0.1)


def test_both_towers_learn_and_padding_says_nothing():
    objective, backbone = make()
    batch = ready(objective, rows())
    objective(backbone, batch)["match"].total.backward()
    assert all(p.grad is not None for p in backbone.parameters())
    noise = {n + "ids": torch.where(batch[n + "valid"], batch[n + "ids"], 7) for n in ("", "query_")}
    other = batch.but(**noise)
    one, two = (objective.embed(backbone, x) for x in (batch, other))
    for name in one:
        torch.testing.assert_close(one[name], two[name])


def test_towers_come_in_pairs():
    with pytest.raises(ValueError, match="query and passage"):
        Dual.Config(kind="dual", towers={"query": TOWER, "image": TOWER})
    with pytest.raises(RecipeError, match="shared space"):
        make(TOWER, BAG)


def test_the_towers_are_those_of_dpr():
    config = DPRConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    objective, backbone = make()
    batch = ready(objective, rows())
    theirs = {}
    for name, kind, end in (("query", DPRQuestionEncoder, "question"), ("passage", DPRContextEncoder, "ctx")):
        model = kind(config).eval()
        body = getattr(model, f"{end}_encoder").bert_model
        with torch.no_grad():
            body.embeddings.token_type_embeddings.weight.zero_()
        adopt(backbone.towers[name], body.state_dict())
        prefix = "query_" if name == "query" else ""
        theirs[name] = model(batch[prefix + "ids"], batch[prefix + "valid"].long()).pooler_output
    ours = objective.embed(backbone, batch)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-5)
    wanted = torch.nn.functional.cross_entropy(theirs["query"] @ theirs["passage"].T, torch.arange(8))
    torch.testing.assert_close(objective(backbone, batch)["match"].mean(), wanted)


def adopt(tower, state):
    """BERT's weights by name into one of our towers."""
    names = {
        "embeddings.word_embeddings": "embedding.word", "embeddings.position_embeddings": "positions.table",
        "embeddings.LayerNorm": "embedding.norm",
    }  # fmt: skip
    for i in range(2):
        at, mine = f"encoder.layer.{i}.", f"blocks.{i}."
        for x, letter in (("query", "q"), ("key", "k"), ("value", "v")):
            names[f"{at}attention.self.{x}"] = f"{mine}attention.to_{letter}"
        names |= {
            f"{at}attention.output.dense": f"{mine}attention.to_out", f"{at}intermediate.dense": f"{mine}ffn.up",
            f"{at}attention.output.LayerNorm": f"{mine}join_attention.norm", f"{at}output.dense": f"{mine}ffn.down",
            f"{at}output.LayerNorm": f"{mine}join_ffn.norm",
        }  # fmt: skip
    ours = {}
    for name, tensor in state.items():
        stem, end = name.rsplit(".", 1)
        if stem in names:
            ours[f"{names[stem]}.{end}"] = tensor
    tower.load_state_dict(ours)
