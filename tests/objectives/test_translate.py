"""Translation between entities: distances by plain loops, the unit sphere, texts as entities, a toy graph learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, RecipeError, build, find


@pytest.fixture
def graph(lab):
    """Ten entities, three relations; a table of entities and rows of six triples with four corrupted ones each."""
    lab.facts.entities, lab.facts.relations = 10, 3
    config = find("backbones", "table").Config(kind="table", width=8, of="entities")
    rng = np.random.default_rng(0)
    batch = Batch(
        ids=rng.integers(0, 10, (6, 6)), relation=rng.integers(0, 3, 6), side=rng.integers(0, 2, (6, 4)).astype(np.int8)
    )
    return build("backbones", config, lab.facts), batch


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("loss", ["margin", "logistic"])
def test_the_loss_is_that_of_a_loop_over_triples(lab, graph, norm, loss):
    backbone, batch = graph
    objective = lab.objective("translate", backbone, norm=norm, loss=loss, margin=2.0)
    table, relations = (w.detach().double().numpy() for w in (backbone.embed.weight, objective.relations.weight))
    total = 0.0
    for (h, t, *others), r, sides in zip(batch.ids, batch.relation, batch.side, strict=True):
        true = np.linalg.norm(table[h] + relations[r] - table[t], norm)
        pairs = [(h, o) if s else (o, t) for o, s in zip(others, sides, strict=True)]
        false = np.array([np.linalg.norm(table[a] + relations[r] - table[b], norm) for a, b in pairs])
        if loss == "margin":
            total += np.maximum(0, 2.0 + true - false).sum()
        else:
            total += (np.log1p(np.exp(true - 2.0)) + np.log1p(np.exp(2.0 - false)).mean()) / 2
    found = objective(backbone, objective.finish(batch).tensors())["translate"]
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-5)
    assert (
        objective.counts(batch) == {"translate": float(found.count)} == {"translate": 24.0 if loss == "margin" else 6.0}
    )


def test_entities_return_to_the_sphere_after_every_step_and_relations_only_start_there(lab, graph):
    backbone, _ = graph
    objective = lab.objective("translate", backbone)
    for table in (backbone.embed, objective.relations):
        torch.testing.assert_close(table.weight.norm(dim=1), torch.ones(len(table.weight)))
    with torch.no_grad():
        backbone.embed.weight.mul_(3.0)
        objective.relations.weight.mul_(3.0)
    objective.after_step(0)
    torch.testing.assert_close(backbone.embed.weight.norm(dim=1), torch.ones(10))
    torch.testing.assert_close(objective.relations.weight.norm(dim=1), torch.full((3,), 3.0))


def test_free_relations_start_within_the_margin_over_the_width(lab, graph):
    backbone, _ = graph
    lab.facts.relations = 4000
    before = backbone.embed.weight.detach().clone()
    objective = lab.objective("translate", backbone, space="free", margin=4.0)
    found, reach = objective.relations.weight.detach(), (4.0 + 2.0) / 8
    assert float(found.abs().max()) <= reach and float(found.std()) == pytest.approx(reach / 3**0.5, rel=0.02)
    objective.after_step(0)
    assert torch.equal(backbone.embed.weight, before)


def test_entities_given_as_texts_are_the_encoded_texts_whatever_their_padding(lab):
    lab.facts.relations = 3
    backbone = lab.backbone()
    objective = lab.objective(
        "translate", backbone, space="free", loss="logistic", margin=4.0, norm=2, pool={"kind": "cls"}
    )
    rows = lab.rows(8, 12)
    texts = {k: rows[k].reshape(2, 4, 12) for k in ("ids", "valid", "special", "word_starts")}
    batch = Batch(**texts, relation=np.array([0, 2]), side=np.tile(np.array([0, 1], np.int8), (2, 1)))
    with torch.no_grad():
        found = objective(backbone, objective.finish(batch).tensors())["translate"]
        total = 0.0
        for i in range(2):
            v = []
            for j in range(4):
                ids = texts["ids"][i, j][texts["valid"][i, j]]
                v.append(backbone(Batch(ids=ids[None]).tensors()).states[0, 0])
            r = objective.relations.weight[int(batch.relation[i])]
            true, *false = ((a + r - b).norm() for a, b in ((v[0], v[1]), (v[2], v[1]), (v[0], v[3])))
            wrong = torch.stack([torch.sigmoid(d - 4).log() for d in false]).mean()
            total -= float(torch.sigmoid(4 - true).log() + wrong) / 2
    assert float(found.total) == pytest.approx(total, rel=1e-4) and int(found.count) == 2


def test_data_without_relations_is_refused(lab):
    with pytest.raises(RecipeError, match="the data has no relations"):
        lab.objective("translate", lab.backbone(), space="free")


def test_an_encoder_trained_with_facts_is_exported_as_the_roberta_it_is(lab):
    from transformers import AutoModelForMaskedLM, RobertaConfig

    from modeledge.interop import to_hf

    slots = {"embedding": {"kind": "tokens", "types": {"segments": 1}, "norm": {"kind": "layer", "eps": 1e-5}},
             "positions": {"kind": "learned", "max": 40, "offset": 1},
             "norm": {"kind": "layer", "eps": 1e-5}}  # fmt: skip
    lab.facts.relations = 3
    backbone = lab.backbone(**slots)
    mlm = lab.objective("mlm", backbone)
    translate = {"kind": "translate", "space": "free", "loss": "logistic", "pool": {"kind": "cls"}}
    state = {f"backbone.{n}": t for n, t in backbone.state_dict().items()}
    state |= {f"objectives.mlm.{n}": t for n, t in mlm.state_dict().items()}
    facts = lab.objective(**translate, backbone=backbone)
    state |= {f"objectives.translate.{n}": t for n, t in facts.state_dict().items()}
    tree = {"backbone": backbone.config.model_dump(), "objectives": [{"kind": "mlm"}, translate]}
    facts = {"vocab": 60, "special": lab.facts.special}
    config, tensors = to_hf(tree, state, facts)
    assert config["model_type"] == "roberta" and config["architectures"] == ["RobertaForMaskedLM"]
    theirs = AutoModelForMaskedLM.from_config(RobertaConfig(**config)).eval()
    assert not theirs.load_state_dict(tensors, strict=False).unexpected_keys
    theirs.tie_weights()
    ids = torch.randint(7, 50, (2, 12))
    with torch.no_grad():
        ours = mlm.head(backbone(Batch(ids=ids)).states)
        torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-4, atol=1e-5)
