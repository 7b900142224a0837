"""Turns against the papers' table and a plain count."""

from collections import Counter

import numpy as np
import pytest

from modeledge.run.turns import Turns, ramp


def test_the_ramp_of_four_tasks_is_the_papers_table():
    wanted = [[20, 0, 0, 0], [10, 30, 0, 0], [10, 10, 40, 0], [10, 10, 10, 50]]
    assert (ramp([1] * 4, 200_000) == np.array(wanted) * 1000).all()


@pytest.mark.parametrize("rates", [[1], [1, 1], [3, 1, 2], [1] * 7, [0.5, 2, 1, 1, 4]])
def test_a_ramp_gives_every_task_its_share_of_the_steps_whatever_the_number_of_tasks(rates):
    for total in (1000, 99991):
        table = ramp(rates, total)
        wanted = np.array(rates) / sum(rates) * total
        assert table.sum() == total and (abs(table.sum(0) - wanted) <= 1).all()
        assert (table[np.triu_indices(len(rates), 1)] == 0).all() and (np.diagonal(table) > 0).all()


def test_turns_are_numbered_as_they_come_and_need_no_history():
    blocks = np.array([[3, 0], [2, 5]])
    turns, seen = Turns(blocks, 4), Counter()
    for step in range(3 + 7 * 3):  # the last block three times
        task, nth = Turns(blocks, 4)(step)
        assert (task, nth) == turns(step) == (task, seen[task])
        seen[task] += 1
    assert seen == {0: 3 + 6, 1: 15}


def test_tasks_on_one_source_go_on_through_its_rows():
    turns = Turns(np.array([[4, 2, 3]]), 4, reads=[1, 0, 1])
    found = [turns(step) for step in range(18)]
    assert [nth for task, nth in found if task != 1] == list(range(14))
    assert [nth for task, nth in found if task == 1] == list(range(4))
