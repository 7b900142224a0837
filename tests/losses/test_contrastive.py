"""Contrast against closed forms and Hugging Face's CLIP loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from modeledge.losses.contrastive import info_nce, spread, symmetric_info_nce


def vectors(b=6, d=8, seed=0):
    torch.manual_seed(seed)
    return F.normalize(torch.randn(b, d, dtype=torch.float32), dim=1), F.normalize(torch.randn(b, d), dim=1)


def test_the_symmetric_loss_is_that_of_hugging_face():
    image, text = vectors()
    ours = symmetric_info_nce(image, text, torch.arange(6), scale=14.3)
    theirs = image_text_contrastive_loss(14.3 * text @ image.T)
    assert ours.count == 6
    torch.testing.assert_close(ours.mean(), theirs, atol=1e-6, rtol=0)


def test_exchanging_the_sides_leaves_the_loss_unchanged():
    image, text = vectors()
    there = symmetric_info_nce(image, text, torch.arange(6), scale=5.0)
    back = symmetric_info_nce(text, image, torch.arange(6), scale=5.0)
    torch.testing.assert_close(there.total, back.total, atol=1e-6, rtol=0)


def test_equal_vectors_cost_the_logarithm_of_the_batch():
    same = F.normalize(torch.ones(9, 4), dim=1)
    loss = symmetric_info_nce(same, same, torch.arange(9), scale=100.0)
    assert abs(loss.mean() - math.log(9)) < 1e-5


def test_one_positive_spread_out_is_the_plain_target():
    image, text = vectors()
    plain = info_nce(image, text, torch.arange(6), scale=7.0)
    shared = info_nce(image, text, spread(torch.eye(6, dtype=torch.bool)), scale=7.0)
    torch.testing.assert_close(plain.total, shared.total)


def test_several_positives_cost_the_mean_over_them():
    image, text = vectors()
    positive = torch.eye(6, dtype=torch.bool)
    positive[0, 3] = positive[3, 0] = True
    logp = (7.0 * image @ text.T).log_softmax(1)
    wanted = sum(-logp[i][positive[i]].mean() for i in range(6))
    torch.testing.assert_close(info_nce(image, text, spread(positive), scale=7.0).total, wanted)


def test_half_precision_around_the_loss_does_not_reach_into_it():
    image, text = vectors()
    plain = info_nce(image, text, torch.arange(6), scale=100.0).total
    with torch.autocast("cpu", torch.bfloat16):
        assert (image @ text.T).dtype == torch.bfloat16
        assert torch.equal(info_nce(image, text, torch.arange(6), scale=100.0).total, plain)


def test_rows_of_other_processes_are_further_keys_only():
    image, text = vectors(8)
    full = symmetric_info_nce(image, text, torch.arange(8), scale=3.0)
    parts = [
        symmetric_info_nce(image[s], text[s], torch.arange(8)[s], scale=3.0, all_left=image, all_right=text)
        for s in (slice(0, 4), slice(4, 8))
    ]
    assert sum(p.count for p in parts) == full.count
    torch.testing.assert_close(sum(p.total for p in parts), full.total)
