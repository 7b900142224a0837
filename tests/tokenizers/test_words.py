"""Which tokens begin a word, and encoding word by word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.core import RecipeError, find


def split(tokenizer, text):
    """The words of a text as the tokenizer's pieces tell them."""
    made = tokenizer.encode_spans([text])[0]
    begins = [int(s[0]) for s, starts in zip(made.spans, made.word_starts, strict=True) if starts]
    return [text[a:b].strip() for a, b in zip(begins, [*begins[1:], len(text)], strict=True)]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "word", "chars"])
def test_words_are_the_pre_tokens_of_the_pipeline(make, kind):
    tokenizer = make(kind)
    text = "He didn't open (different) houses: 1984!"
    told = [text[a:b] for _, (a, b) in tokenizer.inner.pre_tokenizer.pre_tokenize_str(text)]
    assert split(tokenizer, text) == told


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram"])
def test_spaces_and_changes_of_class_begin_words_where_pieces_carry_the_space(make, kind):
    words = split(make(kind), "He opened (different) houses: 1984!")
    assert words == ["He", "opened", "(", "different", ")", "houses", ":", "1984", "!"]


def test_chinese_characters_stand_alone_in_wordpiece(make):
    assert split(make("wordpiece"), "我们去公园 ok") == ["我", "们", "去", "公", "园", "ok"]


def test_continues_marks_inner_pieces_of_wordpiece_only(make):
    tokenizer = make("wordpiece")
    told = [t.startswith("##") for t in tokenizer.pieces.tokens]
    assert tokenizer.continues.tolist() == told and any(told)
    assert make("byte_bpe").continues is None


def test_a_longest_match_is_taken_first(make):
    tokenizer = make("wordpiece")
    ids = tokenizer.encode_batch(["unaffable"])[0]
    rest, greedy, head = "unaffable", [], True
    while rest:
        vocabulary = tokenizer.inner.get_vocab()
        ends = [n for n in range(len(rest), 0, -1) if ("" if head else "##") + rest[:n] in vocabulary]
        greedy.append(vocabulary[("" if head else "##") + rest[: ends[0]]])
        rest, head = rest[ends[0] :], False
    assert ids.tolist() == greedy


def test_a_word_with_a_letter_that_was_never_seen_is_unknown_as_a_whole(make):
    tokenizer = make("wordpiece")
    assert tokenizer.encode_batch(["thезe"])[0].tolist() == [tokenizer.special["unk"]]


@pytest.mark.contract
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.text(
        st.one_of(st.characters(codec="utf-8"), st.sampled_from("the of,.!'\t\n [MASK]éÉ\u0301天\u00a0\u2028")),
        max_size=60,
    )
)
def test_encoding_word_by_word_gives_the_ids_of_the_whole_pipeline(make, text):
    for kind in ("wordpiece", "bpe", "word", "chars"):
        tokenizer = make(kind)
        whole = tokenizer.inner.encode(text, add_special_tokens=False).ids
        assert tokenizer.cache is not None and tokenizer.encode_batch([text])[0].tolist() == whole


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_byte_level_decoding_gives_back_any_text(make, text):
    tokenizer = make("byte_bpe")
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text


def test_nfc_and_nfd_are_one_text_for_uncased_wordpiece_and_unigram(make):
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    for kind in ("wordpiece", "unigram"):
        one, other = make(kind).encode_batch([nfc, nfd])
        assert one.tolist() == other.tolist()
    one, other = make("byte_bpe").encode_batch([nfc, nfd])
    assert one.tolist() != other.tolist()


def test_characters_are_elmo_s(make):
    tokenizer = make("chars")
    table = tokenizer.characters
    assert table.shape == (tokenizer.vocab, 50) and table.dtype == np.uint16 and table.max() <= 261
    row = table[tokenizer.inner.token_to_id("café")]
    inside = list("café".encode())
    assert row.tolist() == [x + 1 for x in [258, *inside, 259] + [260] * (48 - len(inside))]
    assert table[tokenizer.special["bos"]][:4].tolist() == [259, 257, 260, 261]
    assert table[tokenizer.special["eos"]][1] == 258
    assert (table[tokenizer.special["pad"]] == 0).all()


def test_a_long_word_keeps_its_end_mark():
    from modeledge.tokenizers.chars import characters_of

    row = characters_of(["x" * 200])[0]
    assert row[-1] == 260 and row[-2] == ord("x") + 1 and (row != 261).all()


def test_word_vocabularies_leave_out_rare_words():
    part = find("tokenizers", "word")
    tokenizer = part(part.Config(vocab=100, least=2)).train(iter(["a a b b c"]))
    assert tokenizer.pieces.tokens[5:] == ["a", "b"]


def test_a_vocabulary_that_special_tokens_fill_is_refused():
    part = find("tokenizers", "byte_bpe")
    with pytest.raises(RecipeError, match=r"vocab: 16 ids .* of which 100 are sentinels\n  next: a larger vocab"):
        part(part.Config(kind="byte_bpe", vocab=16, sentinels=100)).train(iter(["some words"]))
