"""Text with blanks and their contents behind it: GLM's example, and a loop over the spans."""

from __future__ import annotations

import numpy as np

from modeledge.core import IGNORE, keyed
from modeledge.views.arrange.blanks import append_blanks

MASK, START, END, PAD = 90, 91, 92, 0


class Later(np.random.Generator):
    """Draws that put the second span first."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def random(self, shape):
        return np.broadcast_to(np.array([0.9, 0.1] + [0.5] * (shape[1] - 2)), shape)


def test_the_papers_example_comes_out_token_by_token():
    """Spans {x3} and {x5 x6} of x1 ... x6, the second one first; our positions count from 0."""
    ids = np.array([[1, 2, 3, 4, 5, 6]])
    hidden = np.array([[0, 0, 1, 0, 1, 1]], bool)
    real = np.ones_like(hidden)
    made = append_blanks(ids, hidden, real, Later(), mask=MASK, start=START, end=END, pad=PAD, multiple=1)
    assert made.ids.tolist() == [[1, 2, MASK, 4, MASK, START, 5, 6, START, 3]]
    assert (made.positions + 1).tolist() == [[1, 2, 3, 4, 5, 5, 5, 5, 3, 3]]
    assert made.inner.tolist() == [[0, 0, 0, 0, 0, 1, 2, 3, 1, 2]]
    assert made.labels.tolist() == [[IGNORE] * 5 + [5, 6, END, 3, END]]
    assert made.prefix.tolist() == [5] and made.valid.all()


def by_hand(ids, hidden, real, made):
    """One row by a loop; the order of the spans is read off the result."""
    spans, part_a, at = [], [], {}
    for i in range(len(ids)):
        if not real[i]:
            break
        if not hidden[i]:
            part_a.append(ids[i])
        elif i == 0 or not hidden[i - 1]:
            spans.append([i])
            at[len(spans) - 1] = len(part_a)
            part_a.append(MASK)
        else:
            spans[-1].append(i)
    rows = {"ids": list(part_a), "labels": [IGNORE] * len(part_a), "positions": list(range(len(part_a)))}
    rows["inner"] = [0] * len(part_a)
    begins = [j for j in range(len(part_a), len(made.ids)) if made.ids[j] == START]
    order = [next(s for s in at if at[s] == made.positions[j]) for j in begins]
    assert sorted(order) == list(range(len(spans)))
    for s in order:
        tokens = [ids[i] for i in spans[s]]
        rows["ids"] += [START, *tokens]
        rows["labels"] += [*tokens, END]
        rows["positions"] += [at[s]] * (len(tokens) + 1)
        rows["inner"] += range(1, len(tokens) + 2)
    return rows, order


def test_every_row_is_what_a_loop_over_its_spans_makes():
    rng = keyed("blanks")
    ids = rng.integers(1, 80, (40, 30))
    n = rng.integers(20, 31, 40)[:, None]
    real = np.arange(30) < n
    hidden = (rng.random((40, 30)) < 0.3) & real
    made = append_blanks(ids, hidden, real, keyed("order"), mask=MASK, start=START, end=END, pad=PAD)
    orders = []
    for b in range(40):
        row = type(made)(*(x[b] for x in made))
        wanted, order = by_hand(ids[b], hidden[b], real[b], row)
        size = len(wanted["ids"])
        for name, values in wanted.items():
            assert getattr(row, name)[:size].tolist() == values, (b, name)
        assert row.valid.sum() == size and (row.ids[size:] == PAD).all() and (row.labels[size:] == IGNORE).all()
        orders.append(order)
    assert any(o != sorted(o) for o in orders)
    spans = (hidden & ~np.pad(hidden[:, :-1], ((0, 0), (1, 0)))).sum()
    assert (made.labels != IGNORE).sum() == hidden.sum() + spans  # span tokens and an end for each
