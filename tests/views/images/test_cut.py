"""Cuts of pictures against slices, Pillow and statistics."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modeledge.views.images.cut import cut_area, cut_centre, mirror, resize, shift


def pictures(b=6, height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (b, height, width, 3), dtype=np.uint8)


def test_a_share_of_the_pictures_is_mirrored_and_the_rest_untouched():
    x = pictures(4000, 2, 3)
    y = mirror(x, np.random.default_rng(0), rate=0.3)
    turned = (y == x[:, :, ::-1]).all((1, 2, 3))
    assert (turned | (y == x).all((1, 2, 3))).all()
    assert abs(turned.mean() - 0.3) < 3 * np.sqrt(0.3 * 0.7 / 4000)


def test_a_shift_is_a_window_of_the_padded_picture_and_all_offsets_occur():
    x = pictures(2000, 5, 4)
    y = shift(x, np.random.default_rng(0), pad=2)
    seen = np.zeros((5, 5), int)
    for before, after in zip(x, y, strict=True):
        framed = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        hits = [(i, j) for i in range(5) for j in range(5) if (framed[i : i + 5, j : j + 4] == after).all()]
        assert len(hits) == 1
        seen[hits[0]] += 1
    assert (abs(seen / 2000 - 1 / 25) < 4 * np.sqrt(1 / 25 / 2000)).all()


def test_the_whole_area_at_the_own_size_is_the_picture_itself():
    x = pictures(3, 8, 8)
    assert (cut_area(x, np.random.default_rng(0), size=8, area=(1.0, 1.0), aspect=1.0) == x).all()


def test_cut_areas_have_the_asked_share_and_aspect():
    # a picture whose red grows to the right and whose green grows downwards tells where each corner came from
    ramp = np.linspace(0, 250, 64).round().astype(np.uint8)
    one = np.zeros((64, 64, 3), np.uint8)
    one[..., 0], one[..., 1] = ramp[None, :], ramp[:, None]
    cut = cut_area(np.repeat(one[None], 500, 0), np.random.default_rng(0), size=16, area=(0.2, 0.6), aspect=1.5)
    cut = cut.astype(float) / 250
    wide = (cut[:, 0, -1, 0] - cut[:, 0, 0, 0]) * 16 / 15  # between the centres of the outer pixels
    high = (cut[:, -1, 0, 1] - cut[:, 0, 0, 1]) * 16 / 15
    share, aspect = wide * high * (63 / 64) ** 2, wide / high
    assert 0.19 < share.min() < 0.22 and 0.58 < share.max() < 0.62
    assert abs(share.mean() - 0.4) < 3 * 0.4 / np.sqrt(12 * 500) + 0.01
    assert 1 / 1.55 < aspect.min() and aspect.max() < 1.55


@pytest.mark.parametrize("size", [7, 24, 50])
def test_resizing_agrees_with_pillow_within_a_level(size):
    smooth = np.asarray(Image.fromarray(pictures(1, 6, 6)[0]).resize((30, 40), Image.Resampling.BICUBIC))
    got = resize(smooth[None], size=size)[0].astype(int)
    wanted = np.asarray(Image.fromarray(smooth).resize((size, size), Image.Resampling.BILINEAR)).astype(int)
    assert abs(got - wanted).max() <= 1


def test_resizing_to_the_own_size_copies_nothing():
    x = pictures()
    assert resize(x, size=8) is x


def test_the_centre_is_cut_and_a_small_picture_refused():
    x = pictures(2, 8, 6)
    assert (cut_centre(x, size=4) == x[:, 2:6, 1:5]).all()
    with pytest.raises(ValueError, match="8 x 6 pixels have no middle of 7 x 7"):
        cut_centre(x, size=7)


def test_the_same_generator_cuts_the_same():
    x = pictures()
    first, second = (cut_area(x, np.random.default_rng(5), size=4) for _ in range(2))
    assert (first == second).all() and first.shape == (6, 4, 4, 3) and first.dtype == np.uint8
