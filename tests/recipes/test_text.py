"""What the text recipes promise beyond the contract: the papers' numbers, mixes and lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.core import Batch, keyed
from modeledge.recipe.compare import diff
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.explain import explain, stand_in_facts
from modeledge.run.feed import Feed
from modeledge.run.model import Model

MILLIONS = {
    ("bert", "large"): 335.14,
    ("albert", "large"): 17.7,
    ("albert", "xlarge"): 58.7,
    ("albert", "xxlarge"): 222.6,
    ("gpt2", "medium"): 354.8,
    ("gpt2", "large"): 774.0,
    ("gpt2", "xl"): 1557.6,
    ("xlnet", "large"): 360.3,
    ("t5", "small"): 60.5,
    ("t5", "large"): 737.7,
    ("t5", "3b"): 2851.6,
    ("t5", "11b"): 11307.3,
}


@pytest.mark.parametrize(("name", "size"), MILLIONS)
def test_the_papers_other_sizes_have_their_parameters(name, size):
    found = explain(resolve(name, size=size)).parameters["backbone parameters"]
    assert found / 1e6 == pytest.approx(MILLIONS[name, size], abs=0.06)


ALBERT = {  # millions with E = 64, 128, 256 and 768, by what the layers share
    "all": (9.68, 11.68, 15.69, 31.71),
    "attention": (61.65, 63.65, 67.65, 83.67),
    "ffn": (35.68, 37.69, 41.69, 57.71),
    "none": (87.65, 89.65, 93.65, 109.67),
}


@pytest.mark.parametrize("share", ALBERT)
def test_albert_counts_for_every_width_of_the_embedding_and_every_sharing(share):
    for width, wanted in zip((64, 128, 256, 768), ALBERT[share], strict=True):
        told = explain(resolve("albert", sets=[f"backbone.share={share}", f"backbone.embedding.width={width}"]))
        assert told.parameters["backbone parameters"] / 1e6 == pytest.approx(wanted, abs=0.0051)


def test_electra_small_and_its_generator():
    tree = resolve("electra", size="small")
    recipe = check(tree)
    with torch.device("meta"):
        model = Model(recipe, stand_in_facts(recipe))
    judge = [*model.backbone.parameters(), *model.objectives["rtd"].head.parameters()]
    assert sum(p.numel() for p in judge) / 1e6 == pytest.approx(13.5, abs=0.06)
    small = model.objectives["rtd"].generator.config
    assert (small.width, small.heads, small.ffn.width, small.layers) == (64, 1, 256, 12)


def test_roberta_is_at_most_fifteen_lines_of_difference():
    lines = dict((path, (a, b)) for path, a, b in diff(resolve("bert"), resolve("roberta")))
    assert len(lines) <= 15
    assert any("nsp" in path for path in lines) and any(path.startswith("tokenizer") for path in lines)


def test_gpt2_begins_with_narrow_branches():
    recipe = check(resolve("gpt2", size="mini", sets=["backbone.layers=12", "tokenizer.vocab=300"]))
    model = Model(recipe, stand_in_facts(recipe))
    block = model.backbone.blocks[5]
    for layer in (block.attention.to_out, block.ffn.down):
        assert layer.weight.std().item() == pytest.approx(0.02 / math.sqrt(24), rel=0.03)
    assert block.attention.to_q.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert not any(p.requires_grad and "embedding.norm" in n for n, p in model.backbone.named_parameters())
    assert sum(1 for n, _ in model.backbone.named_parameters() if n.startswith("norm.")) == 2  # a norm ends the stack


def view_of(name, batch, **changes):
    recipe = check(resolve(name, sets=[f"{k}={v}" for k, v in changes.items()]))
    facts = stand_in_facts(recipe)
    with torch.device("meta"):
        model = Model(recipe, facts)
    first = next(iter(model.objectives.values()))
    return first.view(batch(facts), keyed("paper")), facts


def test_xlnet_predicts_85_of_512():
    def rows(facts):
        ids = keyed("xl").integers(*facts.words, (4, 512)).astype(np.int32)
        return Batch(ids=ids, special=np.zeros(ids.shape, bool), fresh=np.ones(4, bool))

    view, _ = view_of("xlnet", rows, **{"loop.batch": 8, "data.text.streams": 8})
    assert (view.predicted.sum(1) == 85).all() and view.predicted[:, :256].sum(1).tolist() == [43] * 4


def test_t5_reads_512_and_writes_114():
    view, _ = view_of("t5", lambda facts: Batch(ids=keyed("t5").integers(*facts.words, (4, 568))))
    assert view.ids.shape == (4, 512) and ((view.decoder_labels >= 0).sum(1) == 114).all()


def test_albert_may_hide_as_many_as_its_rate_asks_for_at_512():
    def rows(facts):
        ids = keyed("al").integers(*facts.words, (40, 512))
        number = {"row": np.arange(40), "epoch": np.zeros(40, np.int64)}
        return Batch(ids=ids, word_starts=np.ones(ids.shape, bool), special=np.zeros(ids.shape, bool), **number)

    view, _ = view_of("albert", rows)
    assert (view.labels >= 0).mean() == pytest.approx(0.15, abs=0.002)


class Rows:
    """A source of nothing, for the order of objectives."""

    ordered = False

    def __len__(self):
        return 1000


def test_unilm_draws_its_visibilities_two_to_two_to_one_to_one_and_next_sentences_only_in_both_directions():
    recipe = check(resolve("unilm"))
    with torch.device("meta"):
        model = Model(recipe, stand_in_facts(recipe))
    named = dict(model.each())
    feed = Feed({"pairs": Rows(), "text": Rows()}, named, recipe.mix, batch=8, micro=8, seed=0, total=10**6)
    drawn = ["+".join(feed.active(step)) for step in range(6000)]
    shares = {"both+nsp": 1 / 3, "sequence": 1 / 3, "left_to_right": 1 / 6, "right_to_left": 1 / 6}
    assert set(drawn) == set(shares)
    for name, p in shares.items():
        assert abs(drawn.count(name) - 6000 * p) < 3 * math.sqrt(6000 * p * (1 - p))
    assert feed.groups(["both", "nsp"]) == [("both", "nsp")]  # one pass of the model
    heads = {id(o.head) for n, o in named.items() if n != "nsp"}
    assert len(heads) == 1
    assert [named[n].config.visible.rule for n in ("both", "sequence", "left_to_right", "right_to_left")] == [
        "full", "prefix", "causal", "anticausal",
    ]  # fmt: skip
