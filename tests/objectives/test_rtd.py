"""Replaced-token detection: who gets which gradient, what counts as a fake, and ELECTRA's two losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from modeledge.core import IGNORE, Batch
from modeledge.objectives.rtd import draw, put
from modeledge.run.health import judge

PARTS = {
    "embedding": {"kind": "tokens", "types": {"segments": 2}, "width": 8, "norm": "layer"},
    "positions": {"kind": "learned", "max": 64},
}


@pytest.fixture
def electra(lab):
    backbone = lab.backbone(**PARTS, pool="first")
    return backbone, lab.objective("rtd", backbone, generator=0.5)


def test_the_generator_is_the_model_in_small_over_the_same_tables(lab, electra):
    backbone, objective = electra
    small = objective.generator
    assert (small.config.width, small.config.heads, small.config.ffn.width) == (8, 1, 12)
    assert small.config.layers == 2 and small.config.pool is None
    for mine, his in zip(
        (small.embed.weight, small.positions.table.weight, small.embedding.types["segments"].weight,
         small.embedding.norm.weight),
        (backbone.embed.weight, backbone.positions.table.weight, backbone.embedding.types["segments"].weight,
         backbone.embedding.norm.weight), strict=True):  # fmt: skip
        assert mine.data_ptr() == his.data_ptr()
    assert objective.mask.head.table().data_ptr() == backbone.embed.weight.data_ptr()
    untied = lab.objective("rtd", backbone, generator=0.5, tie="none").generator
    assert untied.embed.weight.data_ptr() != backbone.embed.weight.data_ptr()


def test_the_generator_of_the_base_model_has_a_third_of_its_width(lab):
    wide = lab.backbone(width=24, heads=3, ffn={"kind": "mlp", "width": 96})
    small = lab.objective("rtd", wide, generator=0.3333).generator
    assert (small.config.width, small.config.heads, small.config.ffn.width) == (8, 1, 32)
    assert small.embed.weight.shape == (60, 24) and small.embedding.project.weight.shape == (8, 24)


def test_detection_trains_the_shared_tables_and_nothing_else_of_the_generator(lab, electra):
    backbone, objective = electra
    batch = lab.ready(objective, lab.rows(), 1)
    objective(backbone, batch)["rtd"].total.backward()
    shared = {p.data_ptr() for p in backbone.parameters()}
    own = [p for p in objective.generator.parameters() if p.data_ptr() not in shared]
    assert own and all(p.grad is None for p in [*own, *objective.mask.parameters()])
    assert backbone.embed.weight.grad.abs().sum() > 0
    backbone.zero_grad()
    objective(backbone, batch)["rtd_generator"].total.backward()
    assert all(p.grad is not None for p in own)
    assert backbone.blocks[0].ffn.up.weight.grad is None and backbone.embed.weight.grad.abs().sum() > 0


def test_only_hidden_places_are_filled_and_right_guesses_are_no_fakes(lab, electra):
    backbone, objective = electra
    rows = lab.rows(64)
    view = lab.view(objective, rows, 1)
    batch = objective.finish(view).tensors()
    filled, replaced, _ = objective.fill(batch)
    hidden, original = torch.from_numpy(view.labels != IGNORE), torch.from_numpy(rows.ids).long()
    assert (view.ids == 4).sum() == hidden.sum()  # the mask stands at every chosen place
    assert torch.equal(filled.ids[~hidden], original[~hidden]) and not replaced[~hidden].any()
    assert torch.equal(replaced, filled.ids != original) and not (filled.ids == 4)[hidden].all()
    wrong = objective.measure(backbone, batch)
    assert 0 < float(wrong["replaced"].mean()) < 0.2


def test_the_share_of_fakes_is_the_masked_share_times_the_generators_mistakes(lab, electra):
    backbone, objective = electra
    batch = lab.ready(objective, lab.rows(400), 1)
    with torch.no_grad():
        out = objective.generator(batch, seen=objective_seen(objective, batch))
        real = batch.targets != IGNORE
        p = objective.mask.scores(out, batch)[real].softmax(-1)
        right = p.gather(-1, batch.targets[real][:, None])[:, 0]
        _, replaced, _ = objective.fill(batch)
    expected, spread = (1 - right).sum().item(), (right * (1 - right)).sum().sqrt().item()
    assert abs(replaced.sum().item() - expected) < 3 * spread + 1


def objective_seen(objective, batch):
    from modeledge.visibility import see

    return see(objective.visible(batch), *batch.ids.shape, device="cpu")


def test_tokens_are_sampled_from_the_softmax_not_taken_at_their_best():
    scores = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(40_000, 1)
    counts = torch.bincount(draw(scores), minlength=4)
    for found, p in zip(counts.tolist(), scores[0].softmax(-1).tolist(), strict=True):
        assert abs(found - 40_000 * p) < 3 * math.sqrt(40_000 * p * (1 - p))


def test_spare_targets_write_nothing_even_where_the_first_place_is_a_target():
    batch = Batch(
        ids=torch.tensor([[4, 11], [12, 4]]), target_at=torch.tensor([0, 3, 0, 0]),
        targets=torch.tensor([10, 13, IGNORE, IGNORE]),
    )  # fmt: skip
    filled, wrong = put(batch, torch.tensor([10, 20, 30, 31]))
    assert filled.ids.tolist() == [[10, 11], [12, 20]]
    assert wrong.tolist() == [[False, False], [False, True]]


def test_the_loss_is_taken_over_all_valid_tokens_and_weighs_fifty(lab, electra):
    backbone, objective = electra
    view = lab.view(objective, lab.rows(), 1)
    assert objective.counts(view) == {"rtd": view.valid.sum(), "rtd_generator": (view.labels != IGNORE).sum()}
    assert objective.weights(0, 10) == {"rtd": 50.0, "rtd_generator": 1.0}


def test_at_first_it_knows_nothing(lab, electra):
    backbone, objective = electra
    with torch.no_grad():
        sums = objective(backbone, lab.ready(objective, lab.rows(64), 1))
    assert sums["rtd"].mean().item() == pytest.approx(math.log(2), rel=0.05)
    assert sums["rtd_generator"].mean().item() == pytest.approx(math.log(60), rel=0.05)


def test_calling_everything_original_is_not_called_learnt(lab, electra):
    """With one fake in ten tokens that costs 0.33 nats, far below the ln 2 of a coin."""
    backbone, objective = electra
    with torch.no_grad():
        objective.head.out.bias.fill_(-math.log(9))
        objective.head.out.weight.zero_()
        sums = objective(backbone, lab.ready(objective, lab.rows(64), 1))
    blind = sums["rtd"].mean().item()
    (found,) = judge([{"loss": {"rtd": blind}}], {"rtd": objective.baselines(lab.facts)})
    assert blind < 0.6 and found.state == "unknown"


def test_a_uniform_generator_has_no_loss_and_draws_ordinary_tokens(lab):
    backbone = lab.backbone(**PARTS)
    objective = lab.objective("rtd", backbone, generator="uniform")
    batch = lab.ready(objective, lab.rows(200), 1)
    filled, replaced, losses = objective.fill(batch)
    assert objective.losses == ("rtd",) and losses == [] and objective.generator is None
    drawn = filled.ids.flatten()[batch.target_at[batch.targets != IGNORE]]
    assert drawn.min() == 7 and drawn.max() == 49
    share = 1 - replaced.sum().item() / len(drawn)
    assert abs(share - 1 / 43) < 3 * math.sqrt(1 / 43 / len(drawn))


@torch.no_grad()
def test_both_losses_are_those_of_transformers_on_the_same_sample(lab, adopt):
    sizes = dict(vocab_size=60, embedding_size=8, num_hidden_layers=2, max_position_embeddings=64)
    sizes |= dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3)
    large = ElectraConfig(**sizes, hidden_size=16, num_attention_heads=2, intermediate_size=24)
    small = ElectraConfig(**sizes, hidden_size=8, num_attention_heads=1, intermediate_size=12)
    judge, maker = ElectraForPreTraining(large).eval(), ElectraForMaskedLM(small).eval()
    for name, p in judge.electra.embeddings.named_parameters():  # as in pre-training: one set of tables
        maker.electra.embeddings.get_parameter(name).data = p.data
    backbone, heads = adopt(judge)
    generator, masks = adopt(maker)
    objective = lab.objective("rtd", backbone, generator=0.5)
    objective.head = heads["rtd"].head
    objective.generator, objective.mask = generator, masks["mlm"]
    rows = lab.rows()
    view = lab.view(objective, rows, 1)
    batch = objective.finish(view).tensors()
    torch.manual_seed(5)
    sums = objective(backbone, batch)
    torch.manual_seed(5)
    filled, replaced, _ = objective.fill(batch)
    mask = batch.valid.long()
    labels = torch.from_numpy(view.labels)
    made = maker(batch.ids, mask, batch.segments, labels=labels).loss.item()
    judged = judge(filled.ids, mask, batch.segments, labels=replaced.long()).loss.item()
    found = objective.weights(0, 1)
    assert sums["rtd_generator"].mean().item() == pytest.approx(made, abs=1e-5)
    assert sums["rtd"].mean().item() == pytest.approx(judged, abs=1e-5)
    joint = sum(found[k] * sums[k].mean().item() for k in sums)
    assert joint == pytest.approx(made + 50 * judged, rel=1e-5)
    assert np.isfinite(joint)


def test_the_weight_of_what_hides_tokens_is_that_of_the_generators_loss(lab, electra):
    _, objective = electra
    objective.mask.config = objective.mask.config.model_copy(update={"weight": 0.5})
    assert objective.weights(0, 10) == {"rtd": 50.0, "rtd_generator": 0.5}
