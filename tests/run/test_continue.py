"""Going on from a trained model: with other text (a domain), and with labels as a second signal beside the text."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.core import InputError, find
from modeledge.data.prepare import prepare
from modeledge.run.evaluate import evaluate
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model
from modeledge.run.pretrain import pretrain

NOUNS = ["garden", "house", "river", "field"]
VERBS = ["sees", "hears", "likes", "follows"]


@pytest.fixture(scope="module")
def domain(tmp_path_factory, text_store):
    """Sentences of the same words that say other things, in the tokens of the first text."""
    folder, rng = tmp_path_factory.mktemp("domain"), np.random.default_rng(1)

    def sentence() -> str:
        verb = int(rng.integers(4))  # which decides about the nouns
        return f"The {NOUNS[verb]} {VERBS[verb]} the {NOUNS[(verb + 1) % 4]} in the dog."

    rows = [" ".join(sentence() for _ in range(5)) for _ in range(300)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    from modeledge.tokenizers import load_tokenizer

    prepare(folder / "text.jsonl", out=folder / "s", tokenizer=load_tokenizer(text_store), valid_fraction=0.1)
    return folder


def test_a_run_that_begins_with_a_model_begins_with_all_its_weights(train, domain, tmp_path, toy):
    train("first")
    sets = [*toy, "loop.steps=1", "optim.lr=0"]
    pretrain("bert", data=[str(domain / "s")], out=tmp_path / "next", init=tmp_path / "first", sets=sets, quiet=True)
    one, two = (load_model(tmp_path / n).model.state_dict() for n in ("first", "next"))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_text_in_other_ids_is_refused_even_if_there_are_as_many(train, domain, tmp_path, toy):
    train("first")
    vocab = load_model(tmp_path / "first").facts.vocab
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=vocab)
    prepare(domain / "text.jsonl", out=tmp_path / "other", tokenizer=config, valid_fraction=0)
    with pytest.raises(InputError, match=r"its ids are not those of .*/first/model: .*\n.*--tokenizer"):
        pretrain(
            "bert", data=[str(tmp_path / "other")], out=tmp_path / "x", init=tmp_path / "first", sets=toy, quiet=True
        )


@pytest.mark.slow
def test_going_on_with_a_domain_s_text_beats_the_first_model_and_as_many_steps_from_scratch(
    train, domain, tmp_path, toy
):
    train("first", steps=300, sets=["optim.lr=3e-3"])
    before = evaluate_model(tmp_path / "first", str(domain / "s"), task="loss", device="cpu")["mlm"]
    sets, found = [*toy, "loop.steps=60", "optim.lr=3e-3"], {}
    for name, init in (("on", tmp_path / "first"), ("scratch", None)):
        done = pretrain("bert", data=[str(domain / "s")], out=tmp_path / name, init=init, sets=sets, quiet=True)
        found[name] = done.done.result.valid["mlm"]
    assert found["on"] < before - 0.5 and found["on"] < found["scratch"] - 0.05, (before, found)


@pytest.mark.contract
def test_labels_are_a_second_signal_on_the_same_rows_in_one_pass(corpus, tmp_path, toy):
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    first = [r["text"].split(".")[0] for r in rows]  # The dog sees the cat in the garden
    labelled = [{"text": text, "label": text.split()[-1]} for text in first]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in labelled))
    both = [
        "data={text: null, rows: {kind: table, length: 48}}",
        "objectives=[{kind: mlm}, {kind: classify, pool: mean}]",
    ]
    sets = [*(s for s in toy if not s.startswith(("data", "objectives"))), *both, "loop.steps=120", "optim.lr=3e-3"]
    sets += ["tokenizer.vocab=200", "loop.batch=32"]
    done = pretrain("bert", data=[str(tmp_path / "t.jsonl")], out=tmp_path / "run", sets=sets, quiet=True).done
    assert set(done.result.losses) == {"mlm", "classify"}
    from modeledge.run.feed import Feed

    source = find("data.sources", "table")
    from modeledge.data.store import Store

    store = Store.open(next((tmp_path / "run" / "stores").iterdir()))
    made = source(done.recipe.data["rows"], store, done.facts)
    feed = Feed({"rows": made}, dict(done.model.each()), done.recipe.mix, batch=32, micro=32, seed=0, total=1)
    assert feed.groups(feed.active(0)) == [("mlm", "classify")]  # one batch, one pass
    valid = Feed(
        {"rows": made}, dict(done.model.each()), done.recipe.mix, batch=32, micro=32, seed=0, total=1, split="valid"
    )
    found = evaluate(done.model, valid, batches=4, device=torch.device("cpu"), precision="fp32")
    majority = max(np.mean([r["label"] == name for r in labelled]) for name in NOUNS)
    assert found["classify.accuracy"] > majority + 0.2 and found["mlm"] < done.baselines["mlm"]["unigram"], found
