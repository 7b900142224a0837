"""Entities that a model knows, marked in the rows of a table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import Facts, InputError, find, keyed
from modeledge.data.tables import Table

KNOWN = ["Q1", "Q2", "Q3"]
FILE = [("the seine", "Q3"), ("small boat", "Q1"), ("moon", "Q9"), ("boat", "Q3")]


@pytest.fixture(scope="module")
def tokenizer():
    part = find("tokenizers", "wordpiece")
    return part(part.Config(kind="wordpiece", vocab=200, lowercase=True)).train(
        iter(["A small boat on the Seine under the moon. The boat ran high, and nobody had read the report."] * 3)
    )


@pytest.fixture
def rows(tmp_path, tokenizer):
    def make(*texts, names=KNOWN, file=FILE, **settings):
        lines = [t if isinstance(t, dict) else {"text": t} for t in texts]
        (tmp_path / "t.jsonl").write_text("".join(json.dumps({"label": "x"} | line) + "\n" for line in lines))
        (tmp_path / "e.tsv").write_text("".join("\t".join(pair) + "\n" for pair in file))
        part = find("data.sources", "table")
        facts = Facts(vocab=tokenizer.vocab, special=tokenizer.special, words=tokenizer.words, tokenizer=tokenizer)
        facts.names, facts.entities = list(names), len(names)
        keys = {"kind": "table", "length": 48, "entities": str(tmp_path / "e.tsv"), **settings}
        source = part(part.Config.model_validate(keys), Table.open(tmp_path / "t.jsonl"), facts)
        return source, source.rows(np.arange(len(source)), keyed("x"))

    return make


def spelled(tokenizer, batch, row):
    """(surface, name) of each mention of a row."""
    found, at = [], np.flatnonzero(batch.entity_starts[row])
    for place in at:
        end = place + 1
        while end < batch.ids.shape[1] and batch.entities[row, end] >= 0 and not batch.entity_starts[row, end]:
            end += 1
        found.append((tokenizer.decode(batch.ids[row, place:end]), KNOWN[batch.entities[row, place]]))
    return found


def test_mentions_have_the_numbers_of_the_model_and_what_it_does_not_know_is_left(rows, tokenizer):
    source, batch = rows("A small boat on the Seine under the moon.", "The boat ran high.", "Nobody had read it.")
    assert spelled(tokenizer, batch, 0) == [("small boat", "Q1"), ("the seine", "Q3")]
    assert spelled(tokenizer, batch, 1) == [("boat", "Q3")]
    assert (batch.entities[2] == -1).all() and not batch.entity_starts[2].any()
    assert (batch.entities[~batch.valid] == -1).all() and source.linker.found == 3


def test_mentions_of_a_pair_and_of_words_are_found_where_they_stand(rows, tokenizer):
    pair = {"text": "Nobody had read a small", "b": "boat on the Seine"}  # "small boat" lies across the two
    _, batch = rows(pair, second="b")
    assert spelled(tokenizer, batch, 0) == [("boat", "Q3"), ("the seine", "Q3")]
    words = {"text": ["a", "small", "boat", "ran"], "label": ["O", "B", "I", "O"]}
    _, batch = rows(words, form="words")
    assert spelled(tokenizer, batch, 0) == [("small boat", "Q1")]
    assert batch.entities.shape == batch.labels.shape == batch.ids.shape


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"names": []}, "this model knows no entities"),
        ({"names": ["Q7"]}, "none of these 3 entities is known to the model; it knows 'Q7' and 0 more"),
    ],
)
def test_a_model_that_cannot_know_them_is_told(rows, settings, told):
    with pytest.raises(InputError, match=told):
        rows("A boat.", **settings)
