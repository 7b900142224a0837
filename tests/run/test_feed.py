import json

import numpy as np
import pytest

from modeledge.core import DataError, RecipeError
from modeledge.engine.processes import Ranks
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import Mix, check
from modeledge.run.feed import Feed
from modeledge.run.folder import read_metrics
from modeledge.run.known import facts_from
from modeledge.run.model import make_model
from modeledge.run.pretrain import pretrain

SMALL = [
    "backbone.width=16",
    "backbone.layers=1",
    "backbone.heads=2",
    "backbone.ffn.width=32",
    "backbone.positions.max=64",
]


@pytest.fixture
def make(text_store):
    from modeledge.core import build
    from modeledge.data.store import Store

    store = Store.open(text_store)

    def build_feed(
        sets=("objectives=[{kind: mlm}]",), source="{kind: full_sentences, length: 32}", mix=None, **options
    ):
        recipe = check(resolve("bert", sets=[*SMALL, f"data.text={source}", *sets]))
        facts = facts_from({"text": store})
        model = make_model(recipe, facts, seed=0)
        sources = {"text": build("data.sources", recipe.data["text"], store, facts, options.get("split", "train"))}
        settings = {"batch": 12, "micro": 4, "seed": 3, "total": 100, **options}
        return Feed(sources, dict(model.each()), mix or recipe.mix, **settings), model

    return build_feed


def test_each_row_comes_once_an_epoch_in_another_order_each_time(make):
    feed, _ = make()
    n = len(feed.sources["text"])
    rows = np.concatenate([feed.step(i).rows["text"] for i in range(-(-2 * n // 12))])
    assert sorted(rows[:n]) == sorted(rows[n : 2 * n]) == list(range(n))
    assert (rows[:n] != rows[n : 2 * n]).mean() > 0.9


def test_a_step_is_the_same_whatever_came_before_and_for_any_number_of_workers(make):
    feed, _ = make()
    alone = feed.step(7)
    for workers in (0, 1, 2):
        steps = list(make()[0].steps(5, 9, workers=workers))
        assert [s.number for s in steps] == [5, 6, 7, 8]
        for a, b in zip(alone.works[0].micros, steps[2].works[0].micros, strict=True):
            assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_ranks_and_micro_batches_cut_one_global_batch(make):
    """Rows of like length share a micro-batch, so they are told apart by their number."""
    whole = make(micro=12)[0].step(4).works[0].micros[0]
    wanted = {row: ids.tolist() for row, ids in zip(whole.row, whole.ids, strict=True)}
    for size, micro in ((1, 4), (2, 3), (3, 4)):
        steps = [make(micro=micro, ranks=Ranks(r, size))[0].step(4) for r in range(size)]
        parts = [m for step in steps for m in step.works[0].micros]
        found = {row: ids.tolist() for m in parts for row, ids in zip(m.row, m.ids, strict=True)}
        assert {row: ids + [0] * (32 - len(ids)) for row, ids in found.items()} == wanted
        assert all(step.counts == {"mlm": float((whole.targets >= 0).sum())} for step in steps)


def test_another_seed_is_another_order_and_other_masks(make):
    a, b = make(seed=1)[0].step(0), make(seed=2)[0].step(0)
    assert (a.rows["text"] != b.rows["text"]).any()


def test_the_counts_before_the_model_are_the_counts_after_it(make):
    feed, model = make(sets=["objectives=[{kind: mlm}, {kind: nsp}]"], source="{kind: segment_pair, length: 32}")
    step = feed.step(0)
    found = {}
    for work in step.works:
        for micro in work.micros:
            for name, value in model(work.names, micro.tensors()).items():
                found[name] = found.get(name, 0.0) + float(value.count)
    assert found == step.counts and set(found) == {"mlm", "nsp"}


def test_summed_objectives_on_one_source_share_one_pass(make):
    feed, _ = make(sets=["objectives=[{kind: nsp}, {kind: mlm}]"], source="{kind: segment_pair, length: 32}")
    assert feed.groups(["nsp", "mlm"]) == [("mlm", "nsp")]  # the one with a view of its own decides who sees whom


def test_a_sampled_mix_draws_by_its_rates(make):
    sets = ["objectives=[{kind: mlm, name: a}, {kind: mlm, name: b}]"]
    feed, _ = make(sets=sets, mix=Mix(kind="sample", rates={"a": 3.0, "b": 1.0}))
    share = np.mean([feed.active(i) == ["a"] for i in range(4000)])
    assert abs(share - 0.75) < 3 * (0.75 * 0.25 / 4000) ** 0.5
    assert [feed.active(i) for i in range(50)] == [feed.active(i) for i in range(50)]


THREE = ["objectives=[{kind: mlm, name: a}, {kind: mlm, name: b}, {kind: mlm, name: c}]"]


def test_a_ramp_lets_objectives_join_one_after_the_other_with_a_set_number_of_steps_each(make):
    feed, _ = make(sets=THREE, mix=Mix(kind="ramp"), total=240)
    names = [feed.active(i)[0] for i in range(240)]
    stages = ["".join(names[a:b]) for a, b in ((0, 40), (40, 120), (120, 240))]
    counts = [[stage.count(name) for name in "abc"] for stage in stages]
    assert counts == [[40, 0, 0], [20, 60, 0], [20, 20, 80]]  # 2/4, 1/4, 1/4; 3/4, 1/4; 4/4 of 80 each
    assert names[40:60] != ["a"] * 20 and set(names[120:160]) == set("abc")  # shuffled inside a stage
    again, _ = make(sets=THREE, mix=Mix(kind="ramp"), total=240)
    assert [again.active(i)[0] for i in (200, 3, 77)] == [names[i] for i in (200, 3, 77)]


def test_the_order_and_the_rates_of_a_ramp_are_the_mixs(make):
    feed, _ = make(sets=THREE, mix=Mix(kind="ramp", rates={"c": 3.0, "a+b": 1.0}), total=120)
    names = ["+".join(feed.active(i)) for i in range(120)]
    assert names[:60] == ["c"] * 60 and names.count("c") == 90 and names.count("a+b") == 30


class Numbers:
    """A source of so many rows, for the order of steps."""

    ordered = False

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return self.rows


@pytest.fixture
def of_sizes(make):
    """A feed whose objectives a, b read sources of 100 and 30 rows, with batches of 12."""

    def build(names, kind):
        known = make(sets=THREE)[0].objectives
        objectives = {n: type("Asks", (), {"config": known[n].config.model_copy(update={"on": n})})() for n in names}
        sources = {n: Numbers({"a": 100, "b": 30}[n]) for n in names}
        return Feed(sources, objectives, Mix(kind=kind), batch=12, micro=12, seed=3, total=100)

    return build


def test_a_union_is_the_shuffled_batches_of_all_each_once_an_epoch(of_sizes):
    feed = of_sizes("ab", "union")
    for epoch in (0, 1, 5):
        steps = range(12 * epoch, 12 * epoch + 12)
        assert sorted(feed.active(i)[0] for i in steps) == ["a"] * 9 + ["b"] * 3
    orders = ["".join(feed.active(i)[0] for i in range(12 * e, 12 * e + 12)) for e in range(6)]
    assert len(set(orders)) > 1
    for name, rows in (("a", 100), ("b", 30)):
        mine = [i for i in range(240) if feed.active(i) == [name]]
        read = np.concatenate([feed.order(name, i)[0] for i in mine])[: 2 * rows]
        assert sorted(read[:rows]) == sorted(read[rows:]) == list(range(rows))  # no row twice before each came once


def test_a_union_of_one_is_that_one_alone(of_sizes):
    alone, union = of_sizes("a", "sum"), of_sizes("a", "union")
    for step in (0, 8, 9, 40, 700):
        assert union.active(step) == alone.active(step) == ["a"]
        assert all(np.array_equal(x, y) for x, y in zip(union.order("a", step), alone.order("a", step), strict=True))


def test_held_out_rows_come_once_in_order_with_the_same_masks(make):
    feed, _ = make(split="valid")
    n = len(feed.sources["text"])
    steps = [feed.step(i) for i in range(-(-n // 12))]
    assert np.concatenate([s.rows["text"] for s in steps]).tolist() == list(range(n))
    again = feed.step(0).works[0].micros[0]
    assert np.array_equal(again.targets, steps[0].works[0].micros[0].targets)


def test_what_has_held_out_rows_is_judged_beside_what_has_none(text_store, toy, tmp_path, capsys):
    rows = [json.dumps({"text": f"The {w} sees the river.", "label": w}) + "\n" for w in ("dog", "cat") * 20]
    for split in ("train", "valid"):
        (tmp_path / f"kept.{split}.jsonl").write_text("".join(rows))
    (tmp_path / "asked.jsonl").write_text("".join(rows))
    sets = [*toy, "loop.steps=2", "mix.kind=ramp", "backbone.embedding.types={segments: 2, task: 4}"]
    sets += ["data={asked: {kind: table, length: 16}, kept: {kind: table, length: 16}}", "data.text.length=32"]
    tasks = [f"{{kind: classify, name: {name}, on: {name}}}" for name in ("asked", "kept")]
    sets += [f"objectives=[{', '.join(tasks)}, {{kind: mlm}}]"]
    data = [f"text={text_store}", f"asked={tmp_path / 'asked.jsonl'}", f"kept={tmp_path / 'kept.train.jsonl'}"]
    pretrain("bert", data=data, out=tmp_path / "run", sets=sets)
    assert "no held-out loss of data.asked: no rows held out" in capsys.readouterr().err
    (judged,) = [r["valid"] for r in read_metrics(tmp_path / "run") if "valid" in r]
    assert {name.split(".")[0] for name in judged} == {"kept", "mlm"}


def test_an_objective_keeps_its_number_where_others_are_not_judged(make):
    sets = ["objectives=[{kind: nsp, on: pairs}, {kind: mlm, on: text}]", "data.pairs={kind: segment_pair, length: 32}"]
    feed, _ = make(sets=sets, split="valid", mix=Mix(kind="ramp"), first="pairs")
    assert feed.active(0) == ["mlm"] and feed.task_of("mlm") == 1
    assert (feed.step(0).works[0].micros[0].task == 1).all()


def test_fewer_rows_than_a_batch_is_an_error_that_says_what_to_do(make):
    with pytest.raises(
        DataError, match=r"train rows, fewer than one batch of 5000\n  next: more data, --set loop.batch="
    ):
        make(batch=5000)


def test_a_batch_the_processes_cannot_share_is_refused(make):
    with pytest.raises(DataError, match="12 rows cannot be shared evenly by 5 processes"):
        make(ranks=Ranks(0, 5))


@pytest.mark.contract
def test_static_masks_return_with_the_row_and_dynamic_ones_do_not(make):
    def targets(sets, epochs):
        feed, _ = make(sets=sets, batch=1, micro=1)
        n, out = len(feed.sources["text"]), {}
        for step in range(epochs * n):
            made = feed.step(step)
            micro = made.works[0].micros[0]
            out.setdefault(int(made.rows["text"][0]), []).append(tuple(micro.target_at[micro.targets >= 0]))
        return list(out.values())

    assert all(a == c and b == d for a, b, c, d in targets(["objectives=[{kind: mlm, static: 2}]"], 4))
    assert np.mean([a == b for a, b in targets(["objectives=[{kind: mlm}]"], 2)]) < 0.1


def test_an_objective_whose_field_the_source_lacks_is_named_with_both(make):
    with pytest.raises(RecipeError, match=r"objectives.nsp: reads 'is_next', which data.text \(full_sentences\)"):
        make(sets=["objectives=[{kind: mlm}, {kind: nsp}]"])[0].step(0)


def test_micro_batches_hold_rows_of_like_length_and_no_column_of_padding(make):
    pairs = "{kind: segment_pair, length: 64}"
    feed, _ = make(source=pairs, micro=4)
    whole, _ = make(source=pairs, micro=12)
    (work,), (one,) = feed.step(1).works, whole.step(1).works
    shapes = [micro.ids.shape[1] for micro in work.micros]
    assert shapes == sorted(shapes) and shapes[0] < shapes[-1] <= 64 and all(t % 8 == 0 for t in shapes)
    assert all(micro.lengths().max() > t - 8 for micro, t in zip(work.micros, shapes, strict=True) if "valid" in micro)
    assert sorted(r for micro in work.micros for r in micro.row) == sorted(one.micros[0].row)
    told = [sum((m.labels != -100).sum() for m in w.micros) for w in (work, one)]
    assert told[0] == told[1] == whole.step(1).counts["mlm"]


def test_one_that_asks_for_the_whole_batch_gets_it_in_whatever_company(make):
    """Wherever it stands, `micro` changes neither the loss nor who is compared with whom; both are finished."""
    source = "{kind: segment_pair, length: 32}"
    for order in ("[{kind: mlm}, {kind: nsp}]", "[{kind: nsp}, {kind: mlm}]"):
        feed, _ = make(sets=[f"objectives={order}"], source=source, micro=4)
        assert [m.size for m in feed.step(0).works[0].micros] == [4, 4, 4]
        feed.objectives["nsp"].whole_batch = True
        feed.objectives["nsp"].__class__ = finishing(feed.objectives["nsp"])
        (work,) = feed.step(0).works
        assert work.names == ("mlm", "nsp") and [m.size for m in work.micros] == [12]
        assert (work.micros[0].twice == 2 * work.micros[0].is_next).all() and "targets" in work.micros[0]


def finishing(objective):
    """The objective's class with a finish of its own."""
    return type("Finishing", (type(objective),), {"finish": lambda self, batch: batch.but(twice=2 * batch.is_next)})
