"""What is written down stays, whatever happens in the middle of a line."""

from __future__ import annotations

import pytest

from modeledge.core import InputError
from modeledge.run.ledger import Ledger


def test_finished_cells_are_found_again_by_their_key(tmp_path):
    Ledger(tmp_path / "a" / "cells.jsonl").add({"value": 0.5}, who="x", seed=1)
    again = Ledger(tmp_path / "a" / "cells.jsonl")
    assert again.find(seed=1, who="x")["value"] == 0.5
    assert again.find(seed=2, who="x") is None and again.find(seed="1", who="x") is None


def test_a_line_that_was_cut_off_counts_as_not_done_and_spoils_nothing(tmp_path):
    file = tmp_path / "cells.jsonl"
    ledger = Ledger(file)
    ledger.add({"value": 1}, seed=0)
    ledger.add({"value": 2}, seed=1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    cut = Ledger(file)
    assert cut.find(seed=0)["value"] == 1 and cut.find(seed=1) is None
    cut.add({"value": 3}, seed=1)
    assert [Ledger(file).find(seed=s)["value"] for s in (0, 1)] == [1, 3]


def test_a_folder_in_its_place_is_refused(tmp_path):
    with pytest.raises(InputError, match="this is a folder"):
        Ledger(tmp_path)
