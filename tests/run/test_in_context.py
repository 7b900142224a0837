"""Asking by examples: prompts token by token, scores against one forward pass a token, what is normalised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, InputError
from modeledge.run.in_context import Form, Writer, choose, rerank
from modeledge.run.keep import load_model
from modeledge.run.pretrain import pretrain
from modeledge.visibility import see
from modeledge.visibility.causal import causal

pytestmark = pytest.mark.contract  # whole stories of verbs

FORM = Form(question="{text} ? ", lead="so", answer=" {answer}", between=" . ")
SHOTS = [("the dog", "house"), ("the cat sees", "river"), ("a bird", "garden")]


@pytest.fixture(scope="module")
def gpt3(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("gpt3") / "run"
    trunk = ["backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.ffn.width=64"]
    sets = [*trunk, "tokenizer.vocab=400", "data.text.length=32", "loop.batch=8", "loop.steps=20", "optim.lr=1e-2"]
    sets += ["backbone.positions.max=40", "backbone.attention.bands=[null, 8]", "loop.precision=fp32"]
    pretrain("gpt3", data=[str(corpus)], out=out, size="tiny", sets=sets, quiet=True)
    return load_model(out)


def by_hand(gpt3, prompt, said):
    """log p of a continuation, one pass a token."""
    model, objective, total = gpt3.model.eval(), next(o for _, o in gpt3.model.each()), 0.0
    for i, token in enumerate(said):
        ids = torch.tensor([[*prompt, *said[:i]]])
        with torch.no_grad():
            states = model.backbone(Batch(ids=ids), see(causal, *ids.shape, device="cpu")).states
            total += float(objective.head(states[0, -1]).log_softmax(-1)[token])
    return total


def test_a_prompt_is_its_pieces_one_after_the_other(gpt3):
    writer = Writer(gpt3, FORM)
    prompt = writer.prompt("the fish", SHOTS[:1])
    pieces = ["the dog ? ", "so", " house", " . ", "the fish ? ", "so"]
    wanted = [gpt3.facts.special["eos"], *(i for p in pieces for i in gpt3.facts.tokenizer.encode_batch([p])[0])]
    assert prompt.ids == wanted and prompt.shots == 1
    assert gpt3.facts.tokenizer.decode(np.array(prompt.ids[1:])) == "".join(pieces)


def test_examples_that_do_not_fit_are_left_out_whole_from_the_front(gpt3):
    writer = Writer(gpt3, FORM)
    many = SHOTS * 5
    prompt = writer.prompt("the fish", many, room=3)
    assert 0 < prompt.shots < len(many) and len(prompt.ids) + 3 <= 40
    rest = writer.prompt("the fish", many[len(many) - prompt.shots :], room=3)
    assert rest == prompt
    one_more = writer.prompt("the fish", many[len(many) - prompt.shots - 1 :], room=0)
    assert len(one_more.ids) <= 40
    with pytest.raises(InputError, match="a shorter text"):
        writer.prompt("the fish " * 40)


@pytest.mark.parametrize("by", ["total", "length", "prior"])
def test_scores_are_those_of_one_pass_a_token(gpt3, by):
    queries, options = ["the fish", "a dog sees"], [["house", "the river"], ["garden", "a cat", "bird"]]
    found = choose(gpt3, queries, options, shots=SHOTS[:2], form=FORM, by=by)
    writer = Writer(gpt3, FORM)
    lead = [writer.start, *writer.encode("so")]
    for query, texts, chosen in zip(queries, options, found, strict=True):
        prompt = writer.prompt(query, SHOTS[:2]).ids
        said = [writer.answer(t) for t in texts]
        wanted = [by_hand(gpt3, prompt, s) for s in said]
        if by == "length":
            wanted = [w / len(s) for w, s in zip(wanted, said, strict=True)]
        if by == "prior":
            wanted = [w - by_hand(gpt3, lead, s) for w, s in zip(wanted, said, strict=True)]
        assert chosen.scores == pytest.approx(wanted, abs=1e-4)
        assert chosen.option == int(np.argmax(wanted)) and chosen.shots == 2


def test_options_of_the_same_tokens_are_refused(gpt3):
    with pytest.raises(InputError, match="the same tokens"):
        choose(gpt3, ["the fish"], [["house", "house"]], form=FORM)


def test_candidates_are_ranked_by_how_well_the_query_follows_from_them(gpt3):
    candidates = ["the house", "a river", "the dog sees"]
    writer = Writer(gpt3, FORM)
    back = [by_hand(gpt3, writer.prompt(c).ids, writer.answer("the fish")) for c in candidates]
    assert rerank(gpt3, "the fish", candidates, inverse=FORM) == np.argsort(-np.array(back)).tolist()
    raised = [50.0 if i == int(np.argmin(back)) else 0.0 for i in range(3)]
    assert rerank(gpt3, "the fish", candidates, inverse=FORM, scores=raised)[0] == int(np.argmin(back))


def test_where_the_query_follows_alike_from_all_the_order_stays(gpt3):
    said = rerank(gpt3, "the fish", ["dog", "dog", "dog"], inverse=FORM, scores=[1.0, 3.0, 2.0])
    assert said == [1, 2, 0] and rerank(gpt3, "the fish", ["dog"] * 3, inverse=FORM) == [0, 1, 2]
