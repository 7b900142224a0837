"""Where sentences begin in running text, by rule: English and its relatives, and Chinese.

A text is cut into pieces whose concatenation is the text (less outer blanks); the blanks between two sentences go with
the second, so that byte-level tokens do not change. Not here: words (the tokenizer's pieces, _chinese.py)."""

from __future__ import annotations

import re

_CUT = re.compile(r"\n\s*|[.!?…]+[\"'”’)\]»]*(?=\s+(?![a-z]))|[。！？]+[”’」』）)]*")
_WORD_BEFORE = re.compile(r"[\w.]*$")
_NEXT = re.compile(r"\s*[\"'“‘(\[«—-]*(\w*)")
_ENDED = re.compile(r"[.!?…:;。！？：；…][\"'”’)\]»」』）]*$")
_CHINESE = re.compile(r"[\u3000-\u9fff\uff00-\uffef]")
_SHORT_WORDS = frozenset(
    "mr mrs ms dr prof rev hon gen col lt capt sgt maj gov sen rep pres st sr jr messrs mme mlle vs etc cf al ed eds "
    "vol no nos pp fig figs eq sec ch art op inc ltd co corp dept univ jan feb mar apr jun jul aug sep sept oct nov "
    "dec e.g i.e viz approx est ca ibid".split()
)
_STARTERS = frozenset(
    "a an and but he her his i if in it its my on our she so that the then there these they this we what when "
    "you".split()
)
_WRAPPED = 120  # if no line is longer, a line end alone does not end a sentence
_MOST = 8192


def split_sentences(text: str) -> list[str]:
    """The sentences of a text. A piece of more than 8192 characters is cut up, at a blank if there is one."""
    text = text.strip()
    wrapped = "\n" in text and max(map(len, text.split("\n"))) <= _WRAPPED
    cuts = [0]
    for match in _CUT.finditer(text):
        mark = match.group()
        if mark[0] == "\n":
            at = match.start()
            while text[at - 1] in " \t\r":
                at -= 1
            if _line_ends(text, at, mark, wrapped):
                cuts.append(at)
        elif mark[0] in "。！？" or _sentence_ends(text, match.start(), match.end()):
            cuts.append(match.end())
    cuts.append(len(text))
    pieces = [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False) if a < b]
    if max(map(len, pieces), default=0) > _MOST:
        return [part for piece in pieces for part in _cut_long(piece)]
    return pieces


def _line_ends(text: str, at: int, mark: str, wrapped: bool) -> bool:
    before = text[max(0, at - 8) : at]
    if not wrapped or mark.count("\n") > 1 or _ENDED.search(before):
        return True
    return bool(_CHINESE.match(before[-1:]))


def _sentence_ends(text: str, start: int, end: int) -> bool:
    """Whether the stop at text[start:end], which blanks follow, ends a sentence."""
    following = _NEXT.match(text, end).group(1)
    if following[:1].islower():
        return False
    if text[start] != "." or end - start > 1 and text[start + 1] == ".":
        return True
    word = _WORD_BEFORE.search(text, max(0, start - 12), start).group()
    if len(word) == 1 and word.isalpha() and word != "I":
        return False  # an initial: J. Smith
    if "." in word and word.replace(".", "").isupper():
        return not following or following.lower() in _STARTERS  # U.S. Army, but: in the U.S. He
    return word.lower() not in _SHORT_WORDS or not following


def _cut_long(piece: str) -> list[str]:
    parts = []
    while len(piece) > _MOST:
        at = piece.rfind(" ", _MOST // 2, _MOST)
        at = at if at > 0 else _MOST
        parts.append(piece[:at])
        piece = piece[at:]
    return [*parts, piece]
