"""What the recipes about knowledge promise beyond the contract."""

from __future__ import annotations

import pytest

from modeledge.data.prepare import prepare
from modeledge.run.predict import evaluate_model
from modeledge.run.pretrain import pretrain


@pytest.mark.slow
def test_transe_finds_the_missing_end_of_held_out_facts_of_a_small_graph(data, tmp_path):
    import pyarrow.parquet as pq

    rows = pq.read_table(data("kg/umls.parquet")).to_pylist()
    for name, splits in (("train", ("train",)), ("held", ("valid", "test"))):
        chosen = [f"{r['head']}\t{r['relation']}\t{r['tail']}\n" for r in rows if r["split"] in splits]
        (tmp_path / f"{name}.tsv").write_text("".join(chosen))
    prepare(tmp_path / "train.tsv", out=tmp_path / "s", kind="triples", valid=tmp_path / "held.tsv")
    sets = ["loop.steps=1500", "loop.batch=256"]
    pretrain("transe", data=[str(tmp_path / "s")], out=tmp_path / "run", size="tiny", sets=sets, quiet=True)
    found = evaluate_model(tmp_path / "run", str(tmp_path / "s"), task="links", device="cpu")
    assert found["hits@10"] > 0.9 and found["mrr"] > 0.7  # of 135 entities; chance 0.07
