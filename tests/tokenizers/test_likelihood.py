"""Pieces merged by likelihood, against the closed form on a toy and a loop that counts everything anew."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from modeledge.core import find
from modeledge.tokenizers._likelihood import learn

TOY = {"ac": 20, "cb": 20, "ab": 10, "qz": 6}


def plain(counts, most, least):
    """The pieces, by counting symbols and pairs of the whole corpus before every merge."""
    parts = {w: [c if i == 0 else f"##{c}" for i, c in enumerate(w)] for w in counts}
    made = []
    while len(made) < most:
        often, together = Counter(), Counter()
        for word, n in counts.items():
            for symbol in parts[word]:
                often[symbol] += n
            for pair in pairwise(parts[word]):
                together[pair] += n
        open_to = [pair for pair, n in together.items() if n >= least]
        if not open_to:
            break
        gain = {(a, b): Fraction(together[a, b], often[a] * often[b]) for a, b in open_to}
        best = min(open_to, key=lambda pair: (-gain[pair], -together[pair], pair))
        name = best[0] + best[1].removeprefix("##")
        for word, symbols in parts.items():
            out, i = [], 0
            while i < len(symbols):
                hit = tuple(symbols[i : i + 2]) == best
                out.append(name if hit else symbols[i])
                i += 1 + hit
            parts[word] = out
        made += [name] if name not in made else []
    return made


def test_the_pair_that_seldom_stands_apart_is_merged_first():
    """n(qz) / (n(q) n(z)) = 1/6; ac and cb have 20 / (30 * 20) = 1/30, ab 10 / (30 * 30)."""
    assert learn(TOY, most=4, least=1) == ["qz", "ac", "cb", "ab"]
    assert learn(TOY, most=9, least=7) == ["ac", "cb", "ab"]
    part = find("tokenizers", "wordpiece")
    text = [word for word, n in TOY.items() for _ in range(n)]
    pieces = {}
    for merge in ("frequency", "likelihood"):
        made = part(part.Config(kind="wordpiece", vocab=64, merge=merge)).train(iter(text))
        pieces[merge] = [p for p in made.pieces.tokens if len(p.removeprefix("##")) == 2 and p[0] != "["]
    assert pieces["frequency"][-1] == "qz" and pieces["likelihood"][0] == "qz"
    assert sorted(pieces["frequency"]) == sorted(pieces["likelihood"])


@pytest.mark.parametrize(("seed", "least"), [(0, 1), (1, 2), (2, 5), (3, 1)])
def test_merges_are_those_of_a_loop_that_counts_everything_anew(seed, least):
    rng = np.random.default_rng(seed)
    letters = np.array([*"aabcd"])
    counts = {"".join(rng.choice(letters, rng.integers(1, 9))): int(rng.integers(1, 9)) for _ in range(60)}
    assert learn(counts, most=50, least=least) == plain(counts, 50, least)


def test_the_longest_word_is_still_cut_into_pieces_of_the_vocabulary():
    part = find("tokenizers", "wordpiece")
    text = ["the cat sat on the mat"] * 9 + ["a hat for the Cat, a mat for the rat"] * 5
    made = part(part.Config(kind="wordpiece", vocab=70, merge="likelihood")).train(iter(text))
    for line in ("The cat sat,", "thematrat"):
        assert made.special["unk"] not in made.encode_batch([line])[0]
        assert made.decode(made.encode_batch([line])[0]).replace(" ", "") == line.lower().replace(" ", "")
