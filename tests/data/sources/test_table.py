"""Rows of labelled tables against transformers' own way to encode them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from modeledge.core import IGNORE, DataError, find, keyed
from modeledge.data import Store, facts_of
from modeledge.data.prepare import prepare
from modeledge.data.tables import Table

TEXTS = ["The river ran high after the rain.", "Nobody asked.", "It was a very long way home, and it was late. " * 4]
OTHERS = ["A boat drifted past the old mill. " * 3, "Why?", "He left; she stayed, and the rain went on and on."]
TOLD = {"return_special_tokens_mask": True, "return_token_type_ids": True}
KINDS = {"wordpiece": {}, "byte_bpe": {}, "unigram": {"family": "xlnet"}}


@pytest.fixture(scope="module", params=KINDS)
def family(request, tmp_path_factory):
    """Our tokenizer of a family, and transformers' on the same folder."""
    part = find("tokenizers", request.param)
    ours = part(part.Config(kind=request.param, vocab=350, **KINDS[request.param])).train(iter(TEXTS + OTHERS))
    folder = tmp_path_factory.mktemp(request.param)
    ours.save(folder)
    return ours, AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def rows(tmp_path, family):
    """A source over rows given as columns."""

    def make(columns, held=None, split="train", **settings):
        for name, content in (("train", columns), ("valid", held)):
            if content is not None:
                lines = [
                    json.dumps(dict(zip(content, row, strict=True))) for row in zip(*content.values(), strict=True)
                ]
                (tmp_path / f"t.{name}.jsonl").write_text("\n".join(lines) + "\n")
        part = find("data.sources", "table")
        table = Table.open(tmp_path / "t.train.jsonl")
        return part(part.Config(kind="table", **settings), table, facts_of(None, family[0]), split)

    return make


def all_rows(source):
    return source.rows(np.arange(len(source)), keyed(0))


def compare(batch, made, row):
    """One row of a batch with one encoding of transformers, padding left out."""
    valid = batch.valid[row] if "valid" in batch else np.ones(batch.ids.shape[1], bool)
    assert batch.ids[row][valid].tolist() == made["input_ids"]
    assert batch.special[row][valid].tolist() == [bool(x) for x in made["special_tokens_mask"]]
    if "segments" in batch:
        assert batch.segments[row][valid].tolist() == made["token_type_ids"]


@pytest.mark.parametrize("length", [16, 33, 200])
def test_single_texts_are_framed_and_cut_as_transformers_does(rows, family, length):
    batch = all_rows(rows({"text": TEXTS, "label": [0, 1, 0]}, length=length))
    for row, text in enumerate(TEXTS):
        made = family[1](text, truncation=True, max_length=length, **TOLD)
        compare(batch, made, row)


@pytest.mark.parametrize("length", [17, 40, 200])
def test_pairs_are_framed_and_the_longer_text_gives_way(rows, family, length):
    batch = all_rows(rows({"a": TEXTS, "b": OTHERS, "label": [0, 1, 0]}, length=length, text="a", second="b"))
    for row, pair in enumerate(zip(TEXTS, OTHERS, strict=True)):
        made = family[1](*pair, truncation="longest_first", max_length=length, **TOLD)
        compare(batch, made, row)


def test_a_word_s_tag_stands_on_its_first_token(rows, family):
    words = [text.split() for text in TEXTS]
    tags = [[f"T{len(w) % 3}" for w in row] for row in words]
    source = rows({"text": words, "label": tags}, form="words", length=40)
    batch = all_rows(source)
    assert source.labels == ["T0", "T1", "T2"] and source.truncated == 1
    for row in range(3):
        found = {}
        for token, word in enumerate(batch.words[row]):
            if word >= 0 and word not in found:
                found[int(word)] = token
                assert source.labels[batch.labels[row, token]] == tags[row][word]
        untagged = np.setdiff1d(np.arange(batch.ids.shape[1]), list(found.values()))
        assert (batch.labels[row, untagged] == IGNORE).all()
        if row < 2:
            assert list(found) == list(range(len(words[row])))
            ids = [i for w in words[row] for i in family[1]((" " + w), add_special_tokens=False)["input_ids"]]
            assert batch.ids[row][batch.words[row] >= 0].tolist() == ids


def test_windows_of_a_passage_are_those_of_transformers(rows, family):
    passage = TEXTS[2] + OTHERS[0]
    answer = "old mill"
    columns = {"q": ["Nobody asked why?"], "p": [passage], "answers": [[answer]], "starts": [[passage.index(answer)]]}
    source = rows(columns, form="span", text="q", second="p", label="answers", length=64, stride=16)
    made = family[1](
        columns["q"][0], passage, truncation="only_second", max_length=64, stride=16, return_overflowing_tokens=True,
        return_offsets_mapping=True, **TOLD,
    )  # fmt: skip
    assert len(source) == len(made["input_ids"]) > 1
    batch, inside = all_rows(source), 0
    for row in range(len(source)):
        compare(batch, {k: made[k][row] for k in made if k not in ("overflow_to_sample_mapping",)}, row)
        spans = batch.passage_spans[row][batch.ids[row] >= 0]
        begin, end = batch.begins[row], batch.ends[row]
        if (begin, end) == (0, 0):
            assert not any(passage[a:b] == "mill" for a, b in spans if a >= passage.index(answer))
        else:
            inside += 1
            assert passage[spans[begin][0] : spans[end][1]] == answer
    assert inside >= 1 and (batch.row == 0).all()


def test_an_unanswerable_question_points_at_the_first_token(rows):
    columns = {"q": ["Why?"], "p": [TEXTS[0]], "answers": [{"text": [], "answer_start": []}]}
    batch = all_rows(rows(columns, form="span", text="q", second="p", label="answers", length=64))
    assert batch.begins.tolist() == batch.ends.tolist() == [0]


def test_an_answer_without_its_place_stands_where_the_passage_has_it_first(rows):
    passage = TEXTS[2] + TEXTS[2]
    answer = passage.split()[1]
    span = {"form": "span", "text": "q", "second": "p", "label": "answers", "length": 64}
    batch = all_rows(rows({"q": ["Which ?"], "p": [passage], "answers": [[answer]]}, **span))
    begin, end = batch.begins[0], batch.ends[0]
    assert passage[batch.passage_spans[0, begin, 0] : batch.passage_spans[0, end, 1]] == answer
    assert batch.passage_spans[0, begin, 0] == passage.index(answer)
    with pytest.raises(DataError, match="'a yak' does not stand in the passage; leave it empty"):
        rows({"q": ["Which ?"], "p": [passage], "answers": ["a yak"]}, **span)
    with pytest.raises(
        DataError, match=r"field 'answers': expected an answer or a list of answers, found \[\[1, 3\]\]"
    ):
        rows({"q": ["Which ?"], "p": [passage], "answers": [[[1, 3]]]}, **span)


def test_options_are_read_with_their_context(rows, family):
    columns = {"text": TEXTS[:2], "a": ["one", "two"], "b": ["three", "four"], "label": ["B", "a"]}
    batch = all_rows(rows(columns, form="choice", choices=("a", "b"), length=40))
    assert batch.ids.shape[:2] == (2, 2) and batch.label.tolist() == [1, 0]
    made = family[1](TEXTS[0], "three", max_length=40, truncation=True)
    assert batch.ids[0, 1][batch.valid[0, 1]].tolist() == made["input_ids"]
    listed = {"text": TEXTS[:2], "options": [["one", "three"], ["two", "four"]], "label": [2, 1]}
    assert all_rows(rows(listed, form="choice", choices=("options",), length=40)).label.tolist() == [1, 0]


def test_options_are_numbered_as_the_training_rows_say(rows):
    def numbers(train, held=None, **settings):
        columns = [
            n and {"text": ["x"] * len(n), "a": ["b"] * len(n), "b": ["c"] * len(n), "label": n} for n in (train, held)
        ]
        settings |= {"form": "choice", "choices": ("a", "b"), "length": 16, "split": "valid" if held else "train"}
        return all_rows(rows(*columns, **settings)).label.tolist()

    assert numbers([1, 1, 1]) == [1, 1, 1] and numbers(["0", "1"]) == [0, 1] and numbers([1, 2]) == [0, 1]
    assert numbers([0, 1], [1, 1]) == [1, 1] and numbers([2, 1], [1, 1]) == [0, 0]
    assert numbers([1], labels=("1", "2")) == [0]
    for train, held in (([0, 1], [2]), ([1, 2], [0]), ([0, 2], None)):
        with pytest.raises(DataError, match="names none of 2 options"):
            numbers(train, held)


def test_separate_texts_stand_side_by_side(rows, family):
    columns = {"a": TEXTS, "b": OTHERS, "score": [0.5, 1.0, 4.25]}
    batch = all_rows(rows(columns, form="separate", target="number", text="a", second="b", label="score", length=50))
    assert batch.ids.shape[:2] == (3, 2) and batch.label.tolist() == [0.5, 1.0, 4.25]
    made = family[1](OTHERS[1], max_length=50)["input_ids"]
    assert batch.ids[1, 1][batch.valid[1, 1]].tolist() == made


def test_target_texts_end_with_the_end_token(rows, family):
    batch = all_rows(rows({"text": TEXTS, "label": ["It ran.", ["No.", "Never."], "Far."]}, form="generate"))
    end = family[0].special["eos"]
    for row, text in enumerate(["It ran.", "No.", "Far."]):
        told = family[1](text, add_special_tokens=False)["input_ids"] + [end]
        assert batch.target_ids[row][batch.target_valid[row]].tolist() == told


def test_classes_are_those_of_training_and_a_new_one_is_an_error(rows):
    train = {"text": TEXTS, "label": [10, 9, 10]}
    source = rows(train, {"text": ["x"], "label": [9]}, split="valid", length=16)
    assert source.labels == ["9", "10"] and all_rows(source).label.tolist() == [0]
    with pytest.raises(DataError, match=r"(?s)t\.valid\.jsonl:1: the label '90' .*did they mean '9'"):
        rows(train, {"text": ["x"], "label": [90]}, split="valid", length=16)
    fixed = rows({"text": ["a"], "label": ["no"]}, labels=("yes", "no"), length=16)
    assert all_rows(fixed).label.tolist() == [1]


def test_a_label_is_one_class_however_it_is_written(rows):
    source = rows({"text": TEXTS, "label": [1, "1", 0]}, length=16)
    assert source.labels == ["0", "1"] and all_rows(source).label.tolist() == [1, 1, 0]
    assert rows({"text": TEXTS, "label": [1, float("inf"), 0]}, length=16).labels == ["0", "1", "inf"]


def test_a_store_without_labels_is_no_table_to_learn_from(tmp_path, family):
    (tmp_path / "a.jsonl").write_text('{"text": "It ran."}\n')
    prepare(tmp_path / "a.jsonl", out=tmp_path / "s", kind="table", tokenizer=family[0], label=None, valid_fraction=0)
    part, store = find("data.sources", "table"), Store.open(tmp_path / "s")
    with pytest.raises(DataError, match="these rows have no label\n  next: prepare with --column label=COLUMN"):
        part(part.Config(kind="table", length=16), store, facts_of(store, family[0]))
    assert len(part(part.Config(kind="table", length=16, target="none"), store, facts_of(store, family[0]))) == 1


def test_rows_to_predict_need_no_label(rows):
    batch = all_rows(rows({"text": TEXTS}, target="none", length=16))
    assert "label" not in batch and batch.row.tolist() == [0, 1, 2]


def test_a_limit_draws_rows_by_its_seed(rows):
    columns = {"text": [f"it was {n}" for n in range(50)], "label": [n % 2 for n in range(50)]}
    drawn = [all_rows(rows(columns, limit={"rows": 10, "seed": s}, length=16)).row.tolist() for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) == 10


@pytest.mark.parametrize(
    ("columns", "settings", "why"),
    [
        ({"text": ["a"], "lable": ["x"]}, {}, "field 'label' is missing; it has text, lable"),
        ({"text": ["a"], "label": ["x"]}, {"target": "number"}, "expected a finite number, found 'x'"),
        (
            {"text": ["a"] * 2, "label": [1, float("nan")]},
            {"target": "number"},
            r"jsonl:2: .* a finite number, found 'nan'",
        ),
        ({"text": ["a"], "label": [float("inf")]}, {"target": "number"}, "a finite number, found 'inf'"),
        (
            {"text": ["a"], "a": ["b"], "b": ["c"], "label": [float("inf")]},
            {"form": "choice", "choices": ("a", "b")},
            "names none of 2 options",
        ),
        ({"text": [["a", "b"]], "label": [["x"]]}, {"form": "words"}, "2 words but 1 tags"),
        ({"text": ["a"], "label": [0]}, {"form": "choice"}, "0 options"),
        (
            {"text": ["a"], "a": ["b"], "b": ["c"], "label": ["q"]},
            {"form": "choice", "choices": ("a", "b")},
            "names none",
        ),
        ({"text": ["a"], "label": ["x"]}, {"form": "separate"}, "`second`"),
        (
            {"text": ["q"], "p": ["the rain"], "label": [["rain"]], "starts": [[3]]},
            {"form": "span", "second": "p"},
            "'rain' does not stand at character 3",
        ),
    ],
)
def test_wrong_tables_are_told_with_file_and_line(rows, columns, settings, why):
    with pytest.raises(DataError, match=why):
        rows(columns, **settings)
