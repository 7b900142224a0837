"""What holds for every kind of tokenizer."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from modeledge.core import DataError, InputError, find, kinds
from modeledge.tokenizers import load_tokenizer, role_id

ROOT = Path(__file__).parents[2]
TRICKY = [
    "",
    " ",
    "Hello, don't worry!",
    "naïve café 1984",
    "今天天气很好。",
    "a\nb\tc",
    "[MASK] <s> </s> [SEP]",
    "x" * 500,
]


def test_every_kind_is_trained_here_or_tested_on_a_folder():
    elsewhere = {"trigrams"}  # has a file of tests of its own
    known = {"wordpiece", "bpe", "byte_bpe", "unigram", "word", "chars", "folder"}
    assert set(kinds("tokenizers")) == known | elsewhere


def test_ids_are_those_of_transformers_on_the_saved_folder(tokenizer, texts, tmp_path):
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    plain = texts[:20] + [t for t in TRICKY if "[" not in t and "<" not in t]
    for text, ids in zip(plain, tokenizer.encode_batch(plain), strict=True):
        assert ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"], text
    for role, number in tokenizer.special.items():
        assert getattr(theirs, f"{role}_token_id") == number


def test_the_frame_is_what_transformers_puts_around_texts(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    one, two = (i.tolist() for i in tokenizer.encode_batch(["he was there", "not now"]))
    for pair in (False, True):
        made = theirs("he was there", *(["not now"] if pair else []))
        frame = tokenizer.frame(pair=pair)
        if not made["input_ids"][len(one) + (len(two) if pair else 0) :]:
            continue  # the family has no template
        expected = [*frame.before, *one, *([*frame.between, *two] if pair else []), *frame.after]
        assert made["input_ids"] == expected
        before, between, after = frame.segments
        first, second = [frame.texts[0]] * len(one), [frame.texts[1]] * len(two)
        segments = [*before, *first, *([*between, *second] if pair else []), *after]
        assert made.get("token_type_ids", segments) == segments


def test_a_saved_tokenizer_comes_back_the_same(tokenizer, texts, tmp_path):
    tokenizer.save(tmp_path)
    back = load_tokenizer(tmp_path)
    assert type(back) is type(tokenizer) and back.config == tokenizer.config
    assert (back.fingerprint, back.vocab, back.words) == (tokenizer.fingerprint, tokenizer.vocab, tokenizer.words)
    assert (back.special, back.sentinels) == (tokenizer.special, tokenizer.sentinels)
    assert back.decode(back.encode_batch(texts[:1])[0]) == tokenizer.decode(tokenizer.encode_batch(texts[:1])[0])


def test_a_copy_for_another_process_encodes_the_same(tokenizer, texts):
    copy = pickle.loads(pickle.dumps(tokenizer))
    some = texts[:5] + TRICKY
    assert all((a == b).all() for a, b in zip(copy.encode_batch(some), tokenizer.encode_batch(some), strict=True))


def test_words_are_ordinary_ids_only(tokenizer):
    first, end = tokenizer.words
    special = {*tokenizer.special.values(), *tokenizer.sentinels}
    assert not special & set(range(first, end))
    assert end - first > tokenizer.vocab - len(special) - 12


def test_text_that_spells_special_tokens_does_not_become_them(tokenizer):
    ids = np.concatenate(tokenizer.encode_batch(["[MASK] [SEP] <s> </s> <pad> <|endoftext|> <extra_id_0> [PAD]"]))
    unknown = {tokenizer.special.get("unk")}
    assert not (set(ids.tolist()) - unknown) & ({*tokenizer.special.values(), *tokenizer.sentinels} - unknown)


def test_the_three_ways_to_encode_agree(tokenizer, texts):
    some = texts[:10] + TRICKY
    for text, ids, spans in zip(some, tokenizer.encode_batch(some), tokenizer.encode_spans(some), strict=True):
        assert (ids == spans.ids).all()
        assert len(spans.spans) == len(ids) == len(spans.word_starts)
        assert all(0 <= a <= b <= len(text) for a, b in spans.spans)
    flat, lengths = tokenizer.encode_flat(some)
    assert flat.tolist() == [i for ids in tokenizer.encode_batch(some) for i in ids] and len(lengths) == len(some)


def test_every_word_has_a_token_and_tokens_stay_with_their_word(tokenizer):
    words = ["He", "didn't", "\u200b", "open", "(houses)", "今天"]
    made = tokenizer.encode_words([words, [], ["the"]])
    assert sorted(set(made[0].words.tolist())) == list(range(6)) and (np.diff(made[0].words) >= 0).all()
    assert len(made[1].ids) == 0 and set(made[2].words.tolist()) == {0}


def test_lone_surrogates_become_the_replacement_character(tokenizer):
    one, other = tokenizer.encode_batch(["he \ud800 was", "he \ufffd was"])
    assert one.tolist() == other.tolist()


def test_training_in_a_fresh_process_gives_the_same_ids(make):
    kinds_ = ("wordpiece", "bpe", "byte_bpe", "unigram", "word")
    code = (
        "import sys; sys.path.insert(0, 'tests/tokenizers'); from conftest import trained, SETTINGS\n"
        f"for kind in {kinds_}: print(trained(SETTINGS.index((kind, {{}}))).fingerprint)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.split()
    assert told == [make(kind).fingerprint for kind in kinds_]


def test_fingerprints_tell_permuted_ids_apart(make):
    prints = {make("byte_bpe").fingerprint, make("byte_bpe", family="gpt2").fingerprint, make("bpe").fingerprint}
    assert len(prints) == 3


def test_an_unknown_role_names_the_ones_there_are(make):
    with pytest.raises(InputError, match="mask.*\n.*bos, eos"):
        role_id(make("byte_bpe", family="gpt2"), "mask")


def test_empty_texts_cannot_be_learnt_from():
    part = find("tokenizers", "wordpiece")
    with pytest.raises(DataError, match="nothing to learn"):
        part(part.Config(vocab=100)).train(iter(["", "  "]))


def test_special_tokens_stand_where_the_families_have_them(make):
    assert make("wordpiece").special == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 2, "eos": 3}
    roberta = make("byte_bpe")
    assert [roberta.special[r] for r in ("cls", "pad", "sep", "unk", "mask")] == [0, 1, 2, 3, roberta.vocab - 1]
    gpt2 = make("byte_bpe", family="gpt2")
    assert gpt2.special == {"bos": gpt2.vocab - 1, "eos": gpt2.vocab - 1} and gpt2.words == (0, gpt2.vocab - 1)
    t5 = make("unigram", family="t5", sentinels=10)
    assert t5.special["pad"] == 0 and t5.special["eos"] == 1
    assert t5.sentinels == list(range(t5.vocab - 1, t5.vocab - 11, -1))
    xlnet = make("unigram", family="xlnet").special
    assert (xlnet["cls"], xlnet["sep"], xlnet["pad"], xlnet["mask"]) == (3, 4, 5, 6)
