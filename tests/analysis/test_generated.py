"""Figures of generated text on cases one can count."""

from __future__ import annotations

import sys

import pytest

from modeledge.analysis.generated import bleu, matches, rouge
from modeledge.core import InputError


def test_a_reference_scores_full_marks_whichever_it_is():
    text = "the quick brown fox jumps over the lazy dog"
    found = bleu([text, text], [["something else entirely", text], [text]])
    assert found["bleu"] == pytest.approx(100) and found["chrf"] == pytest.approx(100)
    assert rouge([text], [["something else", text]]) == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}


def test_rouge_counts_common_words_pairs_and_the_longest_order():
    found = rouge(["a b c d"], [["a c b d"]])
    assert found["rouge1"] == 1.0 and found["rouge2"] == 0.0 and found["rougeL"] == pytest.approx(3 / 4)


def test_chinese_is_cut_into_characters():
    assert bleu(["我 爱 北京 天安 门"], [["我爱北京天安门"]], language="zh")["bleu"] == pytest.approx(100)


def test_matches_ignore_outer_and_repeated_spaces():
    assert matches([" a  b ", "c"], [["a b"], ["d"]]) == 0.5


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(InputError, match=r"BLEU needs sacrebleu.*extra `eval`"):
        bleu(["a"], [["a"]])
