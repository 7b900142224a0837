import numpy as np
import pytest
import torch

from modeledge.core import Batch


def test_fields_are_attributes_and_a_missing_one_is_named():
    batch = Batch(ids=np.zeros((2, 3), np.uint16))
    assert batch.ids.shape == (2, 3) and batch.size == 2
    with pytest.raises(AttributeError, match="no field 'labels'; it has ids"):
        _ = batch.labels


def test_rows_cut_every_field_and_but_leaves_the_original():
    batch = Batch(ids=np.arange(6).reshape(3, 2), label=np.array([0, 1, 2]))
    part = batch.rows(slice(1, 3))
    assert part.ids.tolist() == [[2, 3], [4, 5]] and part.label.tolist() == [1, 2]
    assert "label" not in batch.but(label=None) and "label" in batch


def test_tensors_widen_integers_and_keep_the_rest():
    out = Batch(ids=np.zeros(2, np.uint16), valid=np.ones(2, bool), image=np.zeros((2, 4), np.uint8)).tensors()
    assert out.ids.dtype is torch.int64 and out.valid.dtype is torch.bool and out.image.dtype is torch.uint8
