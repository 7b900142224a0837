"""What a stage does with held-out rows that cannot be read."""

from __future__ import annotations

import json

import pytest

from modeledge.core import DataError
from modeledge.data.prepare import prepare
from modeledge.run.pretrain import pretrain
from modeledge.tokenizers import load_tokenizer


def test_held_out_rows_that_are_wrong_stop_a_run_and_too_few_of_them_are_told(
    text_store, corpus, tmp_path, toy, capsys
):
    sets = [s for s in toy if not s.startswith(("data", "objectives"))] + ["loop.steps=1"]
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": "The dog sees the cat. It runs."}) + "\n")
    tokenizer = load_tokenizer(text_store)
    prepare(corpus, out=tmp_path / "s", tokenizer=tokenizer, valid=tmp_path / "one.jsonl", processes=1)
    pairs = ["data.text={kind: segment_pair, length: 32}", "objectives=[{kind: mlm}]"]
    pretrain("bert", data=[str(tmp_path / "s")], out=tmp_path / "first", sets=[*sets, *pairs])
    assert "no held-out loss" in (said := capsys.readouterr()).err + said.out
    for name, label in (("train", "yes"), ("valid", "yse")):
        rows = [json.dumps({"text": "The dog sees the cat.", "label": x}) + "\n" for x in [label, "no"] * 8]
        (tmp_path / f"x.{name}.jsonl").write_text("".join(rows))
    table = ["data={text: null, rows: {kind: table, length: 32}}", "objectives=[{kind: classify, on: rows, pool: cls}]"]
    with pytest.raises(DataError, match=r"x.valid.jsonl:1: the label 'yse' .*; did they mean 'yes'"):
        pretrain(
            "bert", data=[str(tmp_path / "x.train.jsonl")], out=tmp_path / "second", init=tmp_path / "first",
            sets=[*sets, *table], quiet=True,
        )  # fmt: skip
