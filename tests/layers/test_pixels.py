"""Normalisation against Hugging Face's image processors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from modeledge.layers.pixels import normalise

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
PUBLISHED = {
    "half": (IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD),
    "imagenet": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    "clip": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
}


@pytest.mark.parametrize("pixels", PUBLISHED)
def test_pixels_are_scaled_and_centred_by_the_published_numbers(pixels):
    mean, deviation = PUBLISHED[pixels]
    wanted = ((PICTURES / 255 - mean) / deviation).transpose(0, 3, 1, 2)
    got = normalise(torch.from_numpy(PICTURES), pixels).numpy()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_floats_count_as_normalised_and_only_turn():
    floats = torch.randn(2, 5, 4, 3)
    assert torch.equal(normalise(floats, "clip")[:, 1], floats[..., 1])


def test_grey_pictures_are_refused_by_name():
    with pytest.raises(ValueError, match="1 channels; the normalisation 'imagenet' is for 3"):
        normalise(torch.zeros(1, 4, 4, 1, dtype=torch.uint8), "imagenet")
