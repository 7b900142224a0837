"""The judging of SQuAD on hand-made cases, and the best span against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.analysis.answers import best_spans, exact, f1, normalise, score


def test_normalising_drops_case_punctuation_articles_and_spaces():
    assert normalise("  The  Eiffel-Tower, a  landmark. ") == "eiffeltower landmark"


def test_exact_match_needs_one_of_the_references():
    assert exact("the Tower", ["A tower.", "Paris"]) == 1 and exact("tower of Paris", ["tower"]) == 0


def test_f1_is_the_best_over_references():
    # said 3 words, the second reference has 2, both said: precision 2/3, recall 1
    assert f1("big red tower", ["blue house", "red tower"]) == pytest.approx(0.8)


def test_repeated_words_count_as_often_as_both_have_them():
    assert f1("tower tower", ["tower"]) == pytest.approx(2 * 1 / 3)


def test_no_answer_is_right_only_if_there_is_none():
    assert f1("", [""]) == 1 and f1("tower", [""]) == 0 and f1("", ["tower"]) == 0
    assert score(["", "x"], [[], ["x"]]) == {"exact_match": 1.0, "f1": 1.0}


def test_a_chinese_character_is_a_word():
    assert f1("北京大学", ["北京"]) == pytest.approx(2 * 2 / 6)


def test_best_spans_equal_a_loop():
    rng = np.random.default_rng(0)
    starts, ends = rng.normal(size=(2, 7, 12))
    allowed = rng.random((7, 12)) < 0.7
    found = best_spans(starts, ends, allowed, most=4)
    for row in range(7):
        pairs = [(i, j) for i in range(12) for j in range(i, min(i + 4, 12)) if allowed[row, i] and allowed[row, j]]
        best = max(pairs, key=lambda p: starts[row, p[0]] + ends[row, p[1]])
        assert (found.first[row], found.last[row]) == best
        assert found.score[row] == pytest.approx(starts[row, best[0]] + ends[row, best[1]])


def test_a_window_without_a_free_place_has_no_span():
    assert best_spans(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3), bool), most=3).score[0] == -np.inf
