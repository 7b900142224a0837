"""Tables and their held-out parts."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError
from modeledge.data import Store, StoreWriter
from modeledge.data.readers import Wanted
from modeledge.data.tables import Table, open_data

TEXT = Wanted({"text": (str,)})


@pytest.mark.parametrize(
    ("train", "held"),
    [("a.train.jsonl", "a.valid.jsonl"), ("a.train.csv", "a.dev.csv"), ("set/train.parquet", "set/validation.parquet")],
)
def test_the_held_out_part_is_found_beside_the_training_part(write, train, held):
    one, two = write(train, ["x", "y"]), write(held, ["z"])
    table = Table.open(one.parent if "/" in train else one)
    assert [r.value["text"] for r in table.read(TEXT)] == ["x", "y"] and table.files == [one]
    assert table.part("valid").files == [two] and table.valid.train is table


def test_every_shard_of_the_held_out_part_is_read(write):
    for number in range(2):
        write(f"set/train-{number}-of-2.parquet", ["x"])
        folder = write(f"set/validation-{number}-of-2.parquet", [f"held {number}"]).parent
    assert [r.value["text"] for r in Table.open(folder).part("valid").read(TEXT)] == ["held 0", "held 1"]


def test_no_held_out_part_is_an_error_only_when_it_is_wanted(write):
    table = Table.open(write("a.jsonl", ["x"]))
    assert table.part("train") is table
    with pytest.raises(DataError, match="(?s)no held-out rows.*validation"):
        table.part("valid")
    assert Table.open(write("b.jsonl", ["x"]), valid=write("c.jsonl", ["y"])).valid is not None


def test_changed_files_show_in_what_the_table_says_of_itself(write):
    before = Table.open(write("a.jsonl", ["x"])).meta
    assert Table.open(write("a.jsonl", ["x"])).meta == before
    assert Table.open(write("a.jsonl", ["y"])).meta != before


def test_bad_rows_and_empty_tables_are_told(write, tmp_path):
    path = write("a.jsonl", ["x", "y"])
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(DataError, match="a.jsonl:3: malformed"):
        Table.open(path).read(TEXT)
    (tmp_path / "b.csv").write_text("text,label\n")
    with pytest.raises(DataError, match="no rows"):
        Table.open(tmp_path / "b.csv").read(TEXT)


def test_data_at_a_path_is_a_store_or_a_table(write, tmp_path):
    with StoreWriter(tmp_path / "s") as writer:
        writer.column("label", np.int32).append(np.arange(2))
        writer.finish(rows=2, meta={})
    assert isinstance(open_data(tmp_path / "s"), Store)
    assert isinstance(open_data(write("a.jsonl", ["x"])), Table)
