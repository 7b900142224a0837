import math

import numpy as np
import pytest

from modeledge.core import RecipeError, build
from modeledge.data.store import Store
from modeledge.engine.processes import Ranks
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import Rampup, check
from modeledge.run.feed import Feed
from modeledge.run.known import facts_from
from modeledge.run.model import make_model
from modeledge.run.order import AHEAD, Batches, Order


class Rows:
    """A source whose rows have these sizes."""

    ordered = False

    def __init__(self, sizes, length):
        self.sizes = np.asarray(sizes)
        self.config = type("Config", (), {"length": length, "kind": "document"})()

    def __len__(self):
        return len(self.sizes)

    def tokens_of(self, index):
        return self.sizes[index]


def order_of(source, batch, unit="rows", **ramp):
    return Order(source, name="text", batches=Batches(batch, **ramp), seed=1, unit=unit)


def steps_of(order, count):
    return [order(i)[0] for i in range(count)]


@pytest.mark.parametrize("rows", [1, 700, 5000])
def test_steps_by_tokens_have_the_tokens_of_full_rows_and_every_row_once_an_epoch(rows):
    source = Rows(np.random.default_rng(0).integers(5, 65, rows), 64)
    steps = steps_of(order_of(source, 16, "tokens"), 4 * AHEAD)
    tokens = np.array([source.sizes[index].sum() for index in steps])
    assert abs(tokens.mean() / (16 * 64) - 1) < 0.02 and (abs(tokens / tokens.mean() - 1) < 0.2).all()
    read = np.concatenate(steps)
    assert len(read) > 4 * AHEAD * 16  # more rows than a batch of full ones
    whole = read[: len(read) // rows * rows].reshape(-1, rows)
    assert (np.sort(whole, axis=1) == np.arange(rows)).all()


def test_a_step_by_tokens_needs_no_step_before_it():
    source = Rows(np.random.default_rng(0).integers(5, 65, 900), 64)
    one, other = (order_of(source, 8, "tokens") for _ in range(2))
    steps = steps_of(one, 3 * AHEAD)
    for i in (2 * AHEAD + 5, 7, AHEAD, AHEAD - 1):
        assert (other(i)[0] == steps[i]).all()


def test_full_rows_are_read_alike_by_rows_and_by_tokens():
    source = Rows(np.full(333, 64), 64)
    by_rows, by_tokens = (order_of(source, 8, unit) for unit in ("rows", "tokens"))
    for i in range(2 * AHEAD):
        assert all((a == b).all() for a, b in zip(by_rows(i), by_tokens(i), strict=True))


@pytest.fixture
def feed_of(text_store):
    store = Store.open(text_store)

    def make(source, objectives="[{kind: mlm}]", **options):
        sets = ["backbone={width: 16, layers: 1, heads: 2, ffn: {width: 32}}", f"objectives={objectives}"]
        recipe = check(resolve("bert", sets=[*sets, f"data.text={source}"]))
        facts = facts_from({"text": store})
        sources = {"text": build("data.sources", recipe.data["text"], store, facts, "train")}
        objectives = dict(make_model(recipe, facts, seed=0).each())
        return Feed(sources, objectives, recipe.mix, batch=4, micro=2, seed=3, total=100, unit="tokens", **options)

    return make


@pytest.mark.parametrize("kind", ["doc_sentences", "full_sentences", "document"])
def test_sources_tell_the_tokens_their_rows_have(feed_of, kind):
    feed = feed_of(f"{{kind: {kind}, length: 32}}")
    source = feed.sources["text"]
    index = np.arange(len(source))
    assert (source.tokens_of(index) == source.rows(index, np.random.default_rng(0)).valid.sum(1)).all()
    assert np.mean([feed.step(i).tokens for i in range(AHEAD)]) == pytest.approx(4 * 32, rel=0.1)


def test_processes_share_the_rows_of_a_step_whatever_their_number(feed_of):
    source = "{kind: doc_sentences, length: 32}"
    whole = feed_of(source)
    parts = [feed_of(source, ranks=Ranks(r, 2)) for r in range(2)]
    odd = 0
    for i in range(20):
        read = whole.step(i).rows["text"]
        found = [int(r) for feed in parts for m in feed.step(i).works[0].micros for r in m.row]
        assert sorted(found) == sorted(read)
        odd += len(read) % 2
    assert odd


def test_what_cannot_be_read_by_tokens_is_refused(feed_of):
    with pytest.raises(RecipeError, match=r"loop.unit: tokens: data.text \(segment_pair\) does not tell"):
        feed_of("{kind: segment_pair, length: 32}")


@pytest.mark.parametrize(("start", "share", "total"), [(4, 0.5, 1000), (1, 1.0, 333), (16, 0.3, 50), (2, 0.01, 30)])
def test_a_batch_grows_in_equal_strides_over_its_share_of_the_run(start, share, total):
    batches = Batches(16, Rampup(start=start, share=share), total)
    rows = np.array([batches(i) for i in range(2 * total)])
    ramp = rows[: math.ceil(share * total)]
    lasts = np.bincount(ramp)[start::start]  # how many steps have each of the sizes
    assert (rows[len(ramp) :] == 16).all() and (np.diff(ramp) >= 0).all() and set(ramp) <= set(range(start, 17, start))
    assert ramp[0] == start and lasts.max() - lasts.min() <= 1
    assert abs(rows[batches.usual] - rows[:total].mean()) <= start


def test_a_growing_batch_reads_the_same_rows_in_the_same_order_from_any_step():
    source, grows = Rows(np.full(333, 64), 64), {"rampup": Rampup(start=2, share=0.5), "total": 300}
    steps, plain = steps_of(order_of(source, 8, **grows), 300), steps_of(order_of(source, 8), 300)
    read = np.concatenate(steps)
    assert (read == np.concatenate(plain)[: len(read)]).all()
    assert [len(index) for index in steps] == [Batches(8, **grows)(i) for i in range(300)]
    other = order_of(source, 8, **grows)
    for i in (2 * AHEAD + 5, 7, AHEAD, AHEAD - 1, 299):
        assert (other(i)[0] == steps[i]).all()


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["loop.rampup={start: 3}", "loop.batch=8"], "no multiple of rampup.start"),
        (["loop.rampup={start: 2}", "loop.batch=8", "loop.unit=tokens"], "unit tokens"),
        (["loop.rampup={start: 2}", "loop.batch=8", "data.text={kind: stream, streams: 8}"], "as many streams"),
        (["loop.rampup={start: 2, shares: 1}", "loop.batch=8"], "did you mean 'share'"),
        (["loop.rampup=8"], "loop.rampup: holds start, share; found 8"),
        (["loop.evaluate=8"], "loop.evaluate: holds every, batches, patience; found 8"),
    ],
)
def test_what_a_growing_batch_does_not_go_with_is_refused(sets, said):
    with pytest.raises(RecipeError, match=said):
        check(resolve("gpt2", sets=sets))
