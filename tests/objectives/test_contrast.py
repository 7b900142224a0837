"""Contrast of pictures and texts on tiny towers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.backbones.dual import Dual
from modeledge.core import Batch, Facts
from modeledge.losses.contrastive import symmetric_info_nce
from modeledge.objectives.contrast import Contrast, keys, unit

FACTS = Facts(vocab=40, special={"pad": 0, "bos": 1, "eos": 2}, words=(3, 40), image=(8, 8, 3))
COMMON = {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "join": "pre", "init": "clip"}
TOWERS = {
    "text": {**COMMON, "pool": "last", "positions": {"kind": "learned", "max": 12}},
    "image": {
        **COMMON, "pool": "cls", "positions": "grid",
        "embedding": {"kind": "patches", "patch": 4, "size": 8, "bias": False, "norm": "layer", "pixels": "clip"},
    },
}  # fmt: skip


def make(facts=FACTS, **settings):
    torch.manual_seed(0)
    backbone = Dual(Dual.Config(kind="dual", width=16, towers=TOWERS), facts)
    return Contrast(Contrast.Config(kind="contrast", **settings), facts, backbone), backbone


def rows(b=8, t=9, seed=0):
    """Texts that end at different places, with whatever after their end."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 40, (b, t))
    ids[:, 0] = 1
    ids[np.arange(b), rng.integers(2, t, b)] = 2
    return Batch(image=rng.integers(0, 256, (b, 8, 8, 3), dtype=np.uint8), ids=ids)


def test_at_first_the_loss_is_near_the_logarithm_of_the_batch():
    objective, backbone = make(temperature=1.0)
    batch = rows(32)
    loss = objective(backbone, batch.tensors())["contrast"]
    assert loss.count == 32 == objective.counts(batch)["contrast"]
    assert abs(loss.mean() - math.log(32)) < 0.1


def test_the_batch_is_not_cut():
    assert Contrast.whole_batch


def test_exchanging_pictures_and_texts_leaves_the_loss_unchanged():
    objective, backbone = make()
    batch = rows().tensors()
    out = objective.run(backbone, batch)
    there = objective.loss(out, batch)["contrast"].total
    out.towers["image"], out.towers["text"] = out.towers["text"], out.towers["image"]
    torch.testing.assert_close(objective.loss(out, batch)["contrast"].total, there)


@pytest.mark.parametrize("sees", ["causal", "full"])
def test_tokens_after_the_end_do_not_matter(sees):
    objective, backbone = make(sees=sees)
    batch = rows(30)
    end = (batch.ids == 2).argmax(1)
    after = np.arange(9) > end[:, None]
    other = np.where(after, np.random.default_rng(1).integers(0, 40, batch.ids.shape), batch.ids)
    plain = objective.embed(backbone, batch.tensors())["text"]
    torch.testing.assert_close(objective.embed(backbone, batch.but(ids=other).tensors())["text"], plain)
    cut = objective.embed(backbone, Batch(ids=batch.ids[:1, : end[0] + 1]).tensors())["text"]
    torch.testing.assert_close(cut, plain[:1], atol=1e-5, rtol=0)
    before = batch.ids.copy()
    before[:, 1] = np.where(end > 1, 3 + (before[:, 1] - 2) % 37, before[:, 1])
    assert (objective.embed(backbone, batch.but(ids=before).tensors())["text"] - plain).abs().max() > 1e-4


def test_a_causal_text_needs_no_mask_and_a_full_one_hides_what_follows_its_end():
    batch = make()[0].until_end(rows().tensors())
    seen = []
    for sees in ("causal", "full"):
        objective, _ = make(sees=sees)
        catch = lambda batch, s, **_: seen.append(s["text"])  # noqa: E731
        objective.run(catch, batch)
    assert seen[0].mask is None and seen[0].causal
    assert torch.equal(seen[1].mask[:, 0, 0], batch.valid)


def test_where_one_token_begins_and_ends_a_text_the_first_is_no_end():
    objective, _ = make(Facts(vocab=40, special={"bos": 2, "eos": 2}, words=(3, 40), image=(8, 8, 3)))
    batch = objective.until_end(Batch(ids=torch.tensor([[2, 5, 6, 2, 2]])))
    assert batch.valid.tolist() == [[True, True, True, True, False]]


def test_the_scale_is_held_below_its_largest_and_keeps_its_gradient():
    objective, backbone = make()
    assert abs(objective.scale().item() - 1 / 0.07) < 1e-4
    with torch.no_grad():
        objective.log_scale.fill_(9.0)
    objective.after_step(0)
    assert abs(objective.scale().item() - 100) < 1e-3
    objective(backbone, rows().tensors())["contrast"].total.backward()
    assert objective.log_scale.grad.abs() > 1e-3
    with torch.no_grad():
        objective.log_scale.fill_(-1.0)
    objective.after_step(1)
    assert objective.log_scale.item() == -1.0


def test_equal_captions_and_equal_pictures_are_positives_when_asked():
    objective, backbone = make(positives="same")
    plain, _ = make()
    batch = rows(6)
    batch["ids"][4] = batch["ids"][1]
    batch["image"][3] = batch["image"][0]
    shown = objective.view(batch, np.random.default_rng(0)).tensors()
    targets = objective.targets(shown, 0, lambda x: x)
    positive = torch.eye(6, dtype=torch.bool)
    for i, j in ((1, 4), (0, 3)):
        positive[i, j] = positive[j, i] = True
    assert torch.equal(targets > 0, positive)
    out = objective.run(backbone, shown)
    vectors = unit(out)
    wanted = symmetric_info_nce(vectors["image"], vectors["text"], targets, scale=objective.scale())
    torch.testing.assert_close(objective.loss(out, shown)["contrast"].total, wanted.total)
    # equal captions have equal vectors, so over all rows it comes to the same; vectors that differ are drawn together
    torch.testing.assert_close(plain.loss(out, shown)["contrast"].total, wanted.total)
    apart = [torch.nn.functional.normalize(torch.randn(6, 8), dim=-1) for _ in range(2)]
    told, alone = (symmetric_info_nce(*apart, t, scale=torch.tensor(5.0)) for t in (targets, torch.eye(6)))
    assert abs(told.total - alone.total) > 0.1


def test_equal_rows_have_equal_keys_in_every_process():
    ids = np.array([[1, 2, 3], [1, 2, 4], [1, 2, 3]])
    found = keys(ids)
    assert found[0] == found[2] != found[1]
    assert (keys(ids[:, ::-1][:, ::-1]) == found).all()  # whatever lies how in memory
    assert found[0] == -5405627362230748553  # said by another process: Python's own hash would differ


def test_padding_that_every_text_has_is_cut_and_changes_nothing():
    objective, backbone = make()
    batch = rows(6, t=12)
    batch["valid"] = np.arange(12) <= (batch.ids == 2).argmax(1)[:, None]
    batch["ids"][:, 6:] = 0
    batch["ids"][:, 5] = 2
    batch["valid"][:, 6:] = False
    short = batch.trim()
    assert short.ids.shape[1] == 8
    vectors = [objective.embed(backbone, b.tensors())["text"] for b in (batch, short)]
    torch.testing.assert_close(vectors[0], vectors[1])


def test_without_duplicates_both_choices_of_positives_agree():
    (own, backbone), (same, _) = make(), make(positives="same")
    shown = same.view(rows(), np.random.default_rng(0)).tensors()
    out = own.run(backbone, shown)
    torch.testing.assert_close(own.loss(out, shown)["contrast"].total, same.loss(out, shown)["contrast"].total)


def test_training_and_evaluation_give_the_same_loss_when_alone():
    objective, backbone = make()
    batch = rows().tensors()
    out = objective.run(backbone, batch)
    trained = objective.loss(out, batch)["contrast"].total
    torch.testing.assert_close(objective.eval().loss(out, batch)["contrast"].total, trained)


def test_figures_count_the_rows_whose_partner_is_first():
    objective, backbone = make()
    batch = rows(20).tensors()
    out = objective.run(backbone, batch)
    out.towers["text"].pooled = out.towers["image"].pooled.clone()
    out.towers["text"].pooled[:5] = -out.towers["text"].pooled[:5]
    figures = objective.metrics(out, batch)
    scores = unit(out)["image"] @ unit(out)["text"].T
    assert figures["image_to_text"].total == sum(scores[i].argmax() == i for i in range(20)) == 15
    assert figures["text_to_image"].total == sum(scores[:, i].argmax() == i for i in range(20))
