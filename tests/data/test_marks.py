"""Marks that records bring along, held against the character offsets that `tokenizers` itself gives."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from modeledge.core import DataError, InputError, find, keyed
from modeledge.data import Store, facts_of
from modeledge.data.prepare import prepare

TEXTS = [
    "  The river ran high. Nobody had read it!",
    "Was there anything?\n\nIt was déjà vu: 100% of us.",
    "\x1a\n\nA mill.",
]


def lines(file, rows):
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def some_words(text: str, rng: np.random.Generator) -> list[list[int]]:
    """About a third of the words of a text."""
    return [[m.start(), m.end()] for m in re.finditer(r"\w+", text) if rng.random() < 0.35]


@pytest.fixture
def marked(tmp_path, document):
    rng = np.random.default_rng(0)
    rows = [{"text": t, "marks": some_words(t, rng)} for t in [*TEXTS, *map(document, range(40))]]
    return lines(tmp_path / "t.jsonl", rows), rows


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe", "unigram", "bpe"])
def test_a_token_is_marked_if_a_character_of_it_is(tmp_path, marked, kind):
    file, rows = marked
    part = find("tokenizers", kind)
    trained = part(part.Config(kind=kind, vocab=400)).train(iter([row["text"] for row in rows]))
    prepare(file, out=tmp_path / "s", tokenizer=trained, valid_fraction=0, marks="marks")
    store = Store.open(tmp_path / "s")
    wanted, ids = [], []
    for row in rows:
        inside = {place for begin, end in row["marks"] for place in range(begin, end)}
        encoding = trained.inner.encode(row["text"].strip(), add_special_tokens=False)
        moved = len(row["text"]) - len(row["text"].lstrip())
        wanted += [any(place + moved in inside for place in range(a, b)) for a, b in encoding.offsets]
        ids += encoding.ids
    assert store["tokens"].tolist() == ids and store["marked"].tolist() == wanted
    assert 0.2 < np.mean(wanted) < 0.6


def test_processes_and_the_split_change_nothing_about_the_marks(tmp_path, marked, tokenizer, monkeypatch):
    monkeypatch.setattr("modeledge.data._text.CHUNK", 200)
    for name, processes in (("a", 1), ("b", 2)):
        options = {"processes": processes, "marks": "marks", "valid_fraction": 0.3}
        prepare(marked[0], out=tmp_path / name, tokenizer=tokenizer, **options)
    one, two = (Store.open(tmp_path / name) for name in "ab")
    assert all(np.array_equal(one[c], two[c]) for c in one.columns)
    assert one.valid["marked"].shape == one.valid["tokens"].shape and one.valid["marked"].any()


def test_lists_of_parquet_are_marks_too(tmp_path, marked, tokenizer):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(marked[1]), tmp_path / "t.parquet")
    for name, file in (("a", marked[0]), ("b", tmp_path / "t.parquet")):
        prepare(file, out=tmp_path / name, tokenizer=tokenizer, valid_fraction=0, marks="marks")
    assert np.array_equal(Store.open(tmp_path / "a")["marked"], Store.open(tmp_path / "b")["marked"])


def test_batches_carry_the_marks_and_none_at_special_tokens(tmp_path, marked, tokenizer):
    prepare(marked[0], out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0, marks="marks")
    store = Store.open(tmp_path / "s")
    facts = facts_of(store, tokenizer)
    part = find("data.sources", "doc_sentences")
    source = part(part.Config(kind="doc_sentences", length=64), store, facts)
    batch = source.rows(np.arange(len(source)), keyed("x"))
    assert not batch.marked[batch.special].any()
    assert batch.ids[~batch.special].tolist() == store["tokens"].tolist()  # every row in turn
    assert batch.marked[~batch.special].tolist() == store["marked"].tolist()


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([[0, 99]], r"found \[0, 99\]"),
        ([[2, 2]], r"found \[2, 2\]"),
        ([[-1, 2]], r"found \[-1, 2\]"),
        ([[0, 1, 2]], r"found \[0, 1, 2\]"),
        ([3], "found 3"),
        ([[0, 1.5]], r"found \[0, 1.5\]"),
        ([[False, True]], r"found \[False, True\]"),
    ],
)
def test_wrong_marks_are_refused_with_their_place(tmp_path, tokenizer, marks, said):
    file = lines(tmp_path / "t.jsonl", [{"text": "A mill.", "marks": [[2, 6]]}, {"text": "A mill.", "marks": marks}])
    with pytest.raises(DataError, match=rf"t\.jsonl:2: field 'marks': expected pairs .* <= 7, {said}"):
        prepare(file, out=tmp_path / "s", tokenizer=tokenizer, marks="marks")
    summary = prepare(file, out=tmp_path / "s", tokenizer=tokenizer, marks="marks", on_bad="skip", valid_fraction=0)
    assert summary.rows == 1 and summary.counts["rejected"] == 1


def test_marks_that_are_no_list_or_nowhere_are_refused(tmp_path, tokenizer, write):
    rows = [{"text": "A mill.", "marks": "2-6"}]
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps(rows[0]))
    with pytest.raises(DataError, match=r"t\.jsonl:1: field 'marks': expected a list, found text"):
        prepare(file, out=tmp_path / "s", tokenizer=tokenizer, marks="marks")
    with pytest.raises(DataError, match=r"t\.txt:1: field 'marks': a file of text alone has none"):
        prepare(write("t.txt", ["A mill."]), out=tmp_path / "s", tokenizer=tokenizer, marks="marks")
    with pytest.raises(InputError, match="--column marks=marks: for --kind text"):
        prepare(file, out=tmp_path / "s", tokenizer=tokenizer, marks="marks", kind="table")
