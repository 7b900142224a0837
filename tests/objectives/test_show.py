"""Pictures as they are shown in training and plainly."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.objectives._show import Show, show

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("cut", ["whole", "shift", "area"])
def test_nothing_is_drawn_outside_training(cut):
    config = Show(cut=cut, mirror=0.5)
    assert show(PICTURES, np.random.default_rng(0), config, training=False) is PICTURES


@pytest.mark.parametrize("cut", ["whole", "shift", "area"])
@pytest.mark.parametrize("training", [True, False])
def test_every_cut_gives_the_asked_size(cut, training):
    got = show(PICTURES, np.random.default_rng(0), Show(cut=cut, size=8, mirror=0.5), training=training)
    assert got.shape == (5, 8, 8, 3) and got.dtype == np.uint8


def test_training_pictures_differ_and_the_same_generator_shows_the_same():
    config = Show(cut="shift", mirror=0.5)
    one, same, other = (show(PICTURES, np.random.default_rng(s), config, training=True) for s in (0, 0, 1))
    assert (one == same).all() and (one != other).any() and (one != PICTURES).any()
