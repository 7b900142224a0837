"""A model that fills blanks, taught to write: the target becomes the blank behind the source."""

from __future__ import annotations

import numpy as np

from modeledge.core import IGNORE, Batch

CLS, SEP, MASK, START, END = 2, 3, 4, 59, 58


def batch():
    ids = np.array([[CLS, 7, 8, SEP, 0], [CLS, 9, 10, 11, SEP]])
    target = np.array([[20, 21, SEP], [30, SEP, 0]])
    return Batch(ids=ids, valid=ids > 0, target_ids=target, target_valid=target > 0)


def made(lab):
    backbone = lab.backbone(embedding={"kind": "tokens", "types": {"inner": 40}})
    return lab.objective("blank_target", backbone)


def test_the_target_is_written_behind_a_mask_and_ends_with_the_end_of_the_blank(lab):
    view = lab.view(made(lab), batch(), 0)
    expected = [
        ([CLS, 7, 8, SEP, MASK, START, 20, 21], [20, 21, END], [0, 1, 2, 3, 4, 4, 4, 4], [0] * 5 + [1, 2, 3]),
        ([CLS, 9, 10, 11, SEP, MASK, START, 30], [30, END], [0, 1, 2, 3, 4, 5, 5, 5], [0] * 6 + [1, 2]),
    ]
    for row, (ids, labels, positions, inner) in enumerate(expected):
        n = len(ids)
        assert view.ids[row, :n].tolist() == ids and (view.valid[row].sum() if "valid" in view else n) == n
        asked = view.labels[row] != IGNORE
        assert view.labels[row][asked].tolist() == labels
        assert np.flatnonzero(asked).tolist() == list(range(ids.index(START), n))
        assert view.positions[row, :n].tolist() == positions and view.inner[row, :n].tolist() == inner
        assert view.prefix[row] == ids.index(START)


def test_a_row_to_be_answered_is_what_a_taught_row_shows_before_it_writes(lab):
    objective = made(lab)
    asked, view = objective.told(batch()), lab.view(objective, batch(), 0)
    for row in range(2):
        shown = asked.ids[row] if "valid" not in asked else asked.ids[row][asked.valid[row]]
        assert shown.tolist() == view.ids[row, : view.prefix[row]].tolist()
