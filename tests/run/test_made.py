"""Tables filled in from templates."""

from __future__ import annotations

import json

import pytest

from modeledge.core import DataError
from modeledge.run.made import Rows, make_table

ROWS = [
    {"words": ["a", "big", "red", "dog"], "first": 1, "end": 3, "name": f"n{i}", "told": f"t{i}"} for i in range(50)
]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    return tmp_path


def rows(file, *parts):
    made = make_table([Rows.model_validate({"file": "x.jsonl", **p}) for p in parts], file, file / "made" / "y.jsonl")
    return [json.loads(line) for line in made.read_text().splitlines()]


def test_columns_lists_and_parts_of_lists_are_filled_in(file):
    found = rows(
        file, {"columns": {"text": "{words} ({name})", "part": "<{words:first:end}>", "lang": "en"}, "rows": 2}
    )
    assert found == [{"text": f"a big red dog (n{i})", "part": "<big red>", "lang": "en"} for i in range(2)]


def test_parts_stand_one_after_the_other(file):
    found = rows(file, {"columns": {"text": "{name}"}, "rows": 2}, {"columns": {"text": "{told}"}, "rows": 1})
    assert [r["text"] for r in found] == ["n0", "n1", "t0"]


def test_shuffled_columns_keep_their_values_and_lose_their_rows(file):
    found = rows(file, {"columns": {"name": "{name}", "told": "{told}"}, "shuffle": ["told"]})
    assert [r["name"] for r in found] == [r["name"] for r in ROWS]
    assert sorted(r["told"] for r in found) == sorted(r["told"] for r in ROWS)
    assert sum(r["name"][1:] == r["told"][1:] for r in found) < 8  # one of fifty is expected to stay


def test_a_template_is_no_code(file):
    found = rows(file, {"columns": {"text": "{name.__class__} {name!r} {0}"}, "rows": 1})
    assert found[0]["text"] == "{name.__class__} {name!r} {0}"


def test_a_column_that_is_not_there_is_an_error(file):
    with pytest.raises(DataError, match="no row has a column 'nome'"):
        rows(file, {"columns": {"text": "{nome}"}})
    assert not (file / "made" / "y.jsonl").exists()
