"""Where sentences begin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.data._split import split_sentences


def stripped(text):
    return [s.strip() for s in split_sentences(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["He left.", "She stayed!", "Why?", "Nobody knew."],
        ["Mr. Smith met Dr. J. K. Brown at 3.50 p.m. on Jan. 5.", "They talked."],
        ["He lives in the U.S. Army base, e.g. at home, i.e. there.", "It is in the U.S.", "The end."],
        ['"Stop!" he cried.', '"Why?"', "(It was late.)", "Then it rained..."],
        ["See Fig. 3 and pp. 5-7 of vol. 2, etc. and so on.", "Good."],
        ["Version 2.0 of a.b.c is out.", "Use it."],
        ["今天天气好。", "我们去吧！", "“好的。”", "他说：不？", "对"],
        ["It was I.", "He agreed."],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(sentences):
    gap = "" if "天" in sentences[0] else " "
    assert stripped(gap.join(sentences)) == sentences


def test_a_line_end_is_a_boundary_unless_the_text_is_wrapped():
    assert stripped("A title\n" + "A long paragraph " * 10 + "ends.\nAnother one") == [
        "A title", "A long paragraph " * 10 + "ends.", "Another one",
    ]  # fmt: skip
    assert stripped("It was a text\nthat somebody wrapped.\nSo it\nwent on.\n\nNew part") == [
        "It was a text\nthat somebody wrapped.", "So it\nwent on.", "New part",
    ]  # fmt: skip
    assert stripped("床前明月光\n疑是地上霜") == ["床前明月光", "疑是地上霜"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.sampled_from(list("ab.!? \n\t\"'()A1。天")), max_size=80))
def test_nothing_is_lost_between_sentences(text):
    pieces = split_sentences(text)
    assert "".join(pieces) == text.strip() and all(pieces)


def test_very_long_sentences_are_cut():
    pieces = split_sentences("word " * 5000)
    assert "".join(pieces) == ("word " * 5000).strip() and max(map(len, pieces)) <= 8192
    assert max(map(len, split_sentences("x" * 20_000))) == 8192
