"""Inputs and labels one step apart."""

import numpy as np

from modeledge.core import IGNORE
from modeledge.views.arrange.shift import next_tokens, shift_right


def test_the_label_is_the_next_token_and_the_last_place_has_none():
    assert next_tokens(np.array([[5, 6, 7]])).tolist() == [[6, 7, IGNORE]]


def test_padding_is_neither_input_nor_label():
    valid = np.array([[True, True, False, False]])
    assert next_tokens(np.array([[5, 6, 0, 0]]), valid=valid).tolist() == [[6, IGNORE, IGNORE, IGNORE]]


def test_no_label_crosses_into_another_document_when_they_are_kept_apart():
    doc = np.array([[0, 0, 1, 1]])
    assert next_tokens(np.array([[5, 6, 7, 8]]), doc=doc).tolist() == [[6, IGNORE, 8, IGNORE]]


def test_shifting_right_is_that_of_t5_and_bart():
    assert shift_right(np.array([[0, 5, 6, 2]]), start=2).tolist() == [[2, 0, 5, 6]]
