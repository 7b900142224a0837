"""The examples by which textbooks explain sub-word vocabularies, against plain loops.

The corpus low x 5, lower x 2, newest x 6, widest x 3 is that of Sennrich et al., arXiv:1508.07909 §3.2. There the end
of a word is a symbol of its own; our `bpe` writes it on the last character, so here each word ends with a letter `ω`,
which then is that symbol."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest

from modeledge.core import find
from modeledge.tokenizers import load_tokenizer
from modeledge.tokenizers._unigram import lattice, words_of
from modeledge.tokenizers.bpe import cut

END = "ω"
WORDS = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
COUNTS = [9, 9, 9, 7, 7, 6, 6, 6, 5, 3, 3, 3]


def replace(symbols, pair):
    """The symbols of a word with each occurrence of the pair made one, from the left."""
    out, i = [], 0
    while i < len(symbols):
        both = tuple(symbols[i : i + 2]) == pair
        out.append("".join(pair) if both else symbols[i])
        i += 1 + both
    return out


def plain_bpe(words, rank):
    """[(pair, count, live symbols)] of merging the commonest pair, over and over, by recounting everything; `rank`
    decides among equals (smallest first), given the pair and the order in which pairs were first met."""
    parts = {w: [*w, END] for w in words}
    known = dict.fromkeys(s for w in parts.values() for s in w)
    steps = []
    while True:
        counts = Counter()
        for word, n in words.items():
            for pair in pairwise(parts[word]):
                counts[pair] += n
        if not counts or max(counts.values()) < 2:
            return steps
        most = max(counts.values())
        met = {pair: i for i, pair in enumerate(counts)}
        best = min((p for p in counts if counts[p] == most), key=lambda p: rank(p, met, list(known)))
        parts = {w: replace(s, best) for w, s in parts.items()}
        known["".join(best)] = None
        steps.append((best, most, len({s for w in parts.values() for s in w})))


def first_met(pair, met, known):
    return met[pair]


def trained(vocab=60):
    part = find("tokenizers", "bpe")
    text = [word + END for word, n in WORDS.items() for _ in range(n)]
    return part(part.Config(kind="bpe", vocab=vocab)).train(iter(text))


def merges(tokenizer):
    said = json.loads(tokenizer.inner.to_str())["model"]["merges"]
    return [tuple(s.replace("</w>", "") for s in pair) for pair in said]


def test_ours_merges_by_the_counts_of_the_table_down_to_whole_words():
    """Our merges, applied one after the other to the corpus: how often each finds its pair, and what is left."""
    parts, counts = {word: [*word, END] for word in WORDS}, []
    for pair in merges(trained())[:12]:
        counts.append(sum(n * list(pairwise(parts[word])).count(pair) for word, n in WORDS.items()))
        parts = {word: replace(symbols, pair) for word, symbols in parts.items()}
    assert counts == COUNTS
    assert [len(symbols) for symbols in parts.values()] == [1, 4, 1, 1]  # low, low + e + r + ω, newest, widest


def test_the_loop_with_the_first_met_among_equals_gives_the_table():
    steps = plain_bpe(WORDS, first_met)
    told = "e+s es+t est+ω l+o lo+w n+e ne+w new+estω low+ω w+i wi+d wid+estω".split()
    assert ["+".join(pair) for pair, _, _ in steps[:12]] == told
    assert [count for _, count, _ in steps[:12]] == COUNTS
    # the live symbols stay, fall and rise (both parts gone, one, none), and never exceed the eleven of the start
    assert [live for _, _, live in steps[:12]] == [11, 10, 10, 9, 9, 9, 9, 9, 10, 9, 8, 7]


def test_ours_merges_like_the_loop_where_smaller_ids_go_first_among_equals():
    tokenizer = trained()
    vocabulary = tokenizer.inner.get_vocab()
    ids = {s.replace(END + "</w>", END): i for s, i in vocabulary.items()}
    steps = plain_bpe(WORDS, lambda pair, met, known: tuple(ids[s] for s in pair))
    assert merges(tokenizer) == [pair for pair, _, _ in steps]
    assert [count for _, count, _ in steps[:12]] == COUNTS


def test_words_are_encoded_as_the_loop_stands_after_as_many_merges():
    whole = merges(trained())
    for vocab in range(36, 44):
        tokenizer = trained(vocab)
        found = merges(tokenizer)
        assert found == whole[: len(found)]
        for word in WORDS:
            parts = [*word, END]
            for pair in found:
                parts = replace(parts, pair)
            if all(p + "</w>" * (p[-1] == END) in tokenizer.inner.get_vocab() for p in parts):
                pieces = tokenizer.inner.encode(word + END, add_special_tokens=False).tokens
                assert [p.replace("</w>", "") for p in pieces] == parts


def test_the_order_of_the_corpus_changes_nothing():
    part = find("tokenizers", "bpe")
    text = [word + END for word, n in WORDS.items() for _ in range(n)]
    one, two = (part(part.Config(kind="bpe", vocab=60)).train(iter(t)) for t in (text, text[::-1]))
    assert merges(one) == merges(two)


def test_merges_are_applied_in_their_order_and_not_the_longest_piece_first():
    """Textbooks show the longest piece first, which would find `bcd`; `a` and `b` were merged before it was learnt."""
    part, around = find("tokenizers", "bpe"), [(x, y) for x in "pqr" for y in "pqr"]
    text = [f"{x}ab{y}" for x, y in around] * 5 + [f"{x}bcd{y}" for x, y in around] * 3
    tokenizer = part(part.Config(kind="bpe", vocab=60)).train(iter(text))
    pieces = tokenizer.inner.encode("pabcdq", add_special_tokens=False).tokens
    assert "bcd" in tokenizer.inner.get_vocab()
    assert "ab" in "".join(pieces) and not any("bc" in p for p in pieces)


def test_wordpiece_takes_the_longest_piece_of_a_given_vocabulary():
    tokenizers = pytest.importorskip("tokenizers")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "##a", "una"]
    part = find("tokenizers", "wordpiece")
    wordpiece = part(part.Config(kind="wordpiece"))
    inner = wordpiece.blank()
    inner.model = tokenizers.models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]")
    shown = [inner.encode(w, add_special_tokens=False).tokens for w in ("unable", "unaffable", "unaffabl", "Unable")]
    # `una` is longer than `un`, but nothing goes on from it: the whole word is unknown, no piece is taken back
    assert shown == [["[UNK]"], ["[UNK]"], ["[UNK]"], ["[UNK]"]]
    inner.model = tokenizers.models.WordPiece({p: i for i, p in enumerate(pieces[:-1])}, unk_token="[UNK]")
    shown = [inner.encode(w, add_special_tokens=False).tokens for w in ("unaffable", "unaffabl", "Unable")]
    assert shown == [["un", "##aff", "##able"], ["[UNK]"], ["un", "##able"]]


def test_unigram_expects_of_the_worked_example_what_enumerating_the_cuts_gives():
    """The probabilities of the survey's pieces, by all ways to cut each word."""
    pieces = [*"lowernstid", "es", "est", "low", "new", "wid", "er"]
    words = words_of({w: float(n) for w, n in WORDS.items()})
    graph = lattice(words, pieces)
    score = {p: math.log((1 + len(p)) / 60) for p in pieces}
    expected: Counter[str] = Counter()
    for word, n in WORDS.items():
        cuts = []
        for ends in product((False, True), repeat=len(word) - 1):
            parts, begin = [], 0
            for i, end in enumerate((*ends, True), 1):
                if end:
                    parts.append(word[begin:i])
                    begin = i
            if all(p in score for p in parts):
                cuts.append((math.exp(sum(score[p] for p in parts)), parts))
        total = sum(p for p, _ in cuts)
        for p, parts in cuts:
            for part in parts:
                expected[part] += n * p / total
    found = graph.expected(np.array([score[p] for p in pieces]), words.weights)
    assert dict(zip(pieces, found, strict=True)) == pytest.approx({p: expected[p] for p in pieces})


def longest_first(word, pieces):
    """By going through the pieces from the longest down, the end of a word ($) counting as a character."""
    written = [p.replace("</w>", "$") for p in pieces]
    parts = [(f"{word}$", False)]
    for size in range(max(map(len, written)), 0, -1):
        rule = "|".join(re.escape(p) for p in written if len(p) == size)
        found = re.compile(rf"({rule})(?!\$$)") if rule else re.compile("(?!)")
        parts = [
            (text, known or i % 2 == 1)
            for whole, known in parts
            for i, text in enumerate([whole] if known else found.split(whole))
            if text
        ]
    single = [[text] if known else re.findall(r".\$?", text) for text, known in parts]
    return [text.replace("$", "</w>") for texts in single for text in texts]


@pytest.mark.parametrize(
    ("word", "wanted"), [("the", ["the</w>"]), ("highest", ["high", "est</w>"]), ("mountain", ["moun", "tain</w>"])]
)
def test_the_textbook_cuts_at_the_longest_piece_first(word, wanted):
    pieces = ["errrr</w>", "tain</w>", "moun", "est</w>", "high", "the</w>", "a</w>"]
    assert cut([*word, "</w>"], dict.fromkeys(pieces, 0), 8) == wanted == longest_first(word, pieces)


def test_the_longest_piece_first_is_another_way_to_cut_than_by_merges(tmp_path):
    part, rng = find("tokenizers", "bpe"), np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), rng.integers(2, 9))) for _ in range(400)]
    made = [part(part.Config(kind="bpe", vocab=60, encode=e)).train(iter(texts)) for e in ("longest", "merges")]
    assert made[0].pieces.tokens == made[1].pieces.tokens
    made[0].save(tmp_path)
    again, pieces = load_tokenizer(tmp_path), made[0].pieces.tokens[5:]
    assert again.config.encode == "longest" and not again.portable
    words = [*texts, "qab", "é", "".join(rng.choice(list("abcdq"), 5000))]
    for tokenizer in (made[0], again):
        ids = [[pieces[i - 5] if i != 1 else "?" for i in row] for row in tokenizer.encode_batch(words)]
        wanted = [[p if p in pieces else "?" for p in longest_first(w, pieces)] for w in words]
        assert ids == wanted
    both = zip(made[0].encode_batch(texts), made[1].encode_batch(texts), strict=True)
    assert 20 < sum(a.tolist() != b.tolist() for a, b in both) < 400


def test_the_longest_piece_first_knows_where_each_piece_stands():
    part = find("tokenizers", "bpe")
    text = "  Été, abab x"
    tokenizer = part(part.Config(kind="bpe", vocab=40, encode="longest", lowercase=True)).train(iter([text] * 3))
    found = tokenizer.encode_spans([text])[0]
    assert found.ids.tolist() == tokenizer.encode_batch([text])[0].tolist()
    shown = [tokenizer.pieces.tokens[i].removesuffix("</w>") for i in found.ids]
    assert [text[a:b].lower() for a, b in found.spans] == shown
    assert tokenizer.decode(found.ids) == "été , abab x"
