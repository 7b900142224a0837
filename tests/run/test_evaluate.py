"""What is told of held-out rows: the losses and the averages of each objective, from one pass of the backbone."""

from __future__ import annotations

import json
import math

import pytest
import torch

from modeledge.core import build, find
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.evaluate import evaluate
from modeledge.run.feed import Feed
from modeledge.run.known import facts_from
from modeledge.run.model import make_model

PAIRS = ["data.text={kind: segment_pair, length: 32}", "objectives=[{kind: nsp}, {kind: mlm}]"]


@pytest.fixture
def make(text_store, toy):
    """make(sets) -> a model and the feed of its held-out rows."""

    def made(sets):
        store = Store.open(text_store)
        recipe = check(resolve("bert", sets=[*toy, *sets]))
        facts = facts_from({"text": store})
        model = make_model(recipe, facts, seed=0)
        sources = {"text": build("data.sources", recipe.data["text"], store, facts, "valid")}
        feed = Feed(
            sources, dict(model.each()), recipe.mix, batch=8, micro=8, seed=0, total=1, split="valid"
        )  # fmt: skip
        return model, feed

    return made


@torch.no_grad()
def test_figures_are_the_means_over_all_rows_and_the_backbone_runs_once_a_batch(make):
    model, feed = make(PAIRS)
    runs = []
    model.backbone.register_forward_pre_hook(lambda *args: runs.append(1))
    found = evaluate(model, feed, batches=3, device=torch.device("cpu"), precision="fp32")
    assert len(runs) == 3
    sums: dict[str, list[float]] = {}
    for number in range(3):
        (work,) = feed.step(number).works
        for batch in (micro.tensors() for micro in work.micros):
            told = dict(model(work.names, batch))
            for name in work.names:
                told |= {f"{name}.{k}": v for k, v in model.objectives[name].measure(model.backbone, batch).items()}
            for name, value in told.items():
                total, count = sums.get(name, (0.0, 0.0))
                sums[name] = [total + float(value.total), count + float(value.count)]
    assert found == pytest.approx({name: total / count for name, (total, count) in sums.items()}, rel=1e-6)
    assert {"mlm", "nsp", "mlm.accuracy", "nsp.accuracy"} == set(found)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["byte_bpe", "word"])
def test_bits_per_byte_are_those_of_the_text_and_whole_words_have_none(tmp_path, toy, kind):
    texts = [f"Der Fluß {n} ist länger als der Bach {n + 1}." for n in range(40)]
    for file, some in (("train", texts), ("valid", texts[:25])):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in some))
    tokenizer = find("tokenizers", kind).Config(kind=kind, vocab=300)
    prepare(tmp_path / "train.jsonl", valid=tmp_path / "valid.jsonl", out=tmp_path / "s", tokenizer=tokenizer)
    store = Store.open(tmp_path / "s")
    sets = [s for s in toy if not s.startswith(("data", "objectives"))]
    recipe = check(resolve("gpt2", sets=[*sets, "data.text={kind: document, length: 64}"]))
    facts = facts_from({"text": store})
    model = make_model(recipe, facts, seed=0)
    source = build("data.sources", recipe.data["text"], store, facts, "valid")
    feed = Feed({"text": source}, dict(model.each()), recipe.mix, batch=8, micro=8, seed=0, total=1, split="valid")
    found = evaluate(model, feed, batches=9, device=torch.device("cpu"), precision="fp32")
    if kind == "word":
        assert "clm.bits_per_byte" not in found
        return
    targets = sum(feed.step(n).counts["clm"] for n in range(4))  # what the loss was averaged over
    assert targets == len(store.valid["tokens"]) + 25  # and an end of each text
    size = sum(len(t.encode()) for t in texts[:25])
    assert found["clm.bits_per_byte"] == pytest.approx(found["clm"] / math.log(2) * targets / size, rel=1e-6)


@torch.no_grad()
def test_a_row_that_goes_on_is_judged_after_the_row_before_it_not_after_itself(make):
    """The averages of a recurrent model come from the same states as its loss."""
    sets = [
        "data.text={kind: stream, length: 16, streams: 8}",
        "objectives=[{kind: rnn_lm, memory: state}]",
        "backbone={kind: lstm, width: 16, layers: 1, directions: forward, embedding: tokens}",
    ]
    model, feed = make(sets)
    model.eval()
    objective, held = model.objectives["rnn_lm"], []
    backbone = model.backbone
    backbone.register_forward_pre_hook(
        lambda module, args, named: held.append(named["memory"][0].clone()), with_kwargs=True
    )
    ends = None
    for number in range(3):
        (work,) = feed.step(number).works
        model.judge(work.names, work.micros[0].tensors())
        assert len(held) == number + 1
        assert ends is None or torch.equal(held[-1], ends)
        ends = objective.held_out.waiting[-1][1].states[:, 0, 0].clone()
