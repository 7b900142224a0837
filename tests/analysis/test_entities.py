"""Entities counted by hand."""

from __future__ import annotations

import sys

import pytest

from modeledge.analysis.entities import is_iob2, tagging
from modeledge.core import InputError

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def test_f1_counts_whole_entities():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER", "B-PER"]]
    said = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-PER", "O"]]
    found = tagging(said, gold, names=NAMES)  # said 3, two of them right; asked 4
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(2 / 4)
    assert found["f1"] == pytest.approx(2 * 2 / 7) and found["accuracy"] == pytest.approx(5 / 7)


def test_an_entity_with_one_wrong_end_is_wrong():
    assert tagging([["B-LOC", "O"]], [["B-LOC", "I-LOC"]], names=NAMES)["f1"] == 0


def test_an_inside_tag_that_continues_nothing_is_no_entity():
    assert tagging([["O", "I-LOC"]], [["O", "B-LOC"]], names=NAMES)["recall"] == 0


def test_tags_that_are_no_entities_have_an_accuracy_only():
    assert not is_iob2(["NOUN", "VERB"])
    assert tagging([["NOUN", "VERB"]], [["NOUN", "NOUN"]], names=["NOUN", "VERB"]) == {"accuracy": 0.5}


def test_tags_beside_o_that_are_no_entities_are_counted_one_by_one():
    gold, said = [["O", "x", "x", "y", "O"]], [["x", "x", "O", "x", "O"]]  # said 3, one of them right; asked 3
    found = tagging(said, gold, names=["O", "x", "y"])
    assert found == pytest.approx({"accuracy": 2 / 5, "precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3})


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "seqeval.metrics.v1", None)
    with pytest.raises(InputError, match=r"F1 of entities needs seqeval.*extra `eval`") as error:
        tagging([["O"]], [["O"]], names=NAMES)
    assert "pip install 'modeledge[eval]'" in str(error.value)
