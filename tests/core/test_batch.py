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


def test_trimming_leaves_out_the_columns_that_are_padding_in_every_row():
    ids = np.arange(60).reshape(3, 20)
    valid = np.arange(20) < np.array([[3], [9], [0]])
    batch = Batch(ids=ids, valid=valid, row=np.arange(3), is_next=np.zeros(3, int))
    assert batch.lengths().tolist() == [3, 9, 0]
    short = batch.trim()
    assert short.ids.tolist() == ids[:, :16].tolist() and short.row.tolist() == [0, 1, 2]
    assert batch.but(valid=np.ones_like(valid)).trim().ids.shape == (3, 20)
    full = batch.but(valid=np.broadcast_to(np.arange(20) < 8, (3, 20)))
    assert "valid" not in full.trim() and full.trim().ids.shape == (3, 8)
    several = Batch(ids=ids.reshape(3, 2, 10), valid=valid.reshape(3, 2, 10))
    assert several.lengths().tolist() == [3, 9, 0] and several.trim(1).ids.shape == (3, 2, 9)
    unknown = batch.but(decoder_ids=ids)  # as wide as the tokens by chance: whose columns are they?
    assert unknown.trim() is unknown and Batch(ids=ids).trim().ids is ids
