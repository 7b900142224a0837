"""Triples to a store and back, and corrupted ones, held against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import DataError, InputError, find, keyed
from modeledge.data import Store, facts_of
from modeledge.data._triples import DESCRIBED
from modeledge.data.prepare import prepare
from modeledge.data.sources._graph import Graph

FACTS = [("paris", "capital of", "france"), ("lyon", "in", "france"), ("rome", "capital of", "italy"),
         ("paris", "in", "france"), ("lyon", "twin of", "rome")]  # fmt: skip


def lines(facts):
    return "".join("\t".join(fact) + "\n" for fact in facts)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "a.tsv").write_text(lines(FACTS[:4]))
    (tmp_path / "b.tsv").write_text(lines(FACTS[4:]))
    prepare(tmp_path / "a.tsv", out=tmp_path / "s", kind="triples", valid=tmp_path / "b.tsv")
    return Store.open(tmp_path / "s")


@pytest.mark.parametrize("header", ["", "head\trelation\ttail\n"])
def test_names_are_numbered_as_they_first_occur_with_and_without_a_header(tmp_path, header):
    (tmp_path / "a.tsv").write_text(header + lines(FACTS))
    prepare(tmp_path / "a.tsv", out=tmp_path / "s", kind="triples", valid_fraction=0)
    store = Store.open(tmp_path / "s")
    facts = facts_of(store)
    relations = (store.path / "relations.txt").read_text().splitlines()
    assert facts.names == ["paris", "france", "lyon", "rome", "italy"] and relations == ["capital of", "in", "twin of"]
    assert (facts.entities, facts.relations) == (5, 3)
    assert [(facts.names[h], relations[r], facts.names[t]) for h, r, t in store["triples"].tolist()] == FACTS


def test_held_out_files_share_the_numbers_and_other_columns_can_be_named(tmp_path, store):
    assert store.rows == 4 and store.valid.rows == 1
    names = facts_of(store).names
    assert [names[i] for i in store.valid["triples"][0, [0, 2]]] == ["lyon", "rome"]
    (tmp_path / "c.csv").write_text("s,p,o\na,r,b\n")
    prepare(tmp_path / "c.csv", out=tmp_path / "t", kind="triples", valid_fraction=0, head="s", relation="p", tail="o")
    assert facts_of(Store.open(tmp_path / "t")).names == ["a", "b"]


def test_a_line_that_is_no_triple_is_refused_with_its_place(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tr\tb\na\tr\n")
    with pytest.raises(DataError, match=r"a\.tsv:2: 2 values under a header of 3"):
        prepare(tmp_path / "a.tsv", out=tmp_path / "s", kind="triples")
    with pytest.raises(InputError, match="--entities: for --kind text"):
        prepare(tmp_path / "a.tsv", out=tmp_path / "s", kind="triples", entities=tmp_path / "a.tsv")


def random_graph(tmp_path, seed=0):
    rng = np.random.default_rng(seed)
    facts = {(f"e{h}", f"r{r}", f"e{t}") for h, r, t in rng.integers(0, [12, 3, 12], (150, 3))}
    (tmp_path / "g.tsv").write_text(lines(sorted(facts)))
    prepare(tmp_path / "g.tsv", out=tmp_path / "g", kind="triples", valid_fraction=0.2)
    store = Store.open(tmp_path / "g")
    true = {tuple(t) for part in (store, store.valid) for t in part["triples"].tolist()}
    return store, true


@pytest.mark.parametrize(("corrupt", "width"), [("either", 5), ("each", 10)])
def test_corrupted_triples_are_never_true_also_not_in_the_held_out_part(tmp_path, corrupt, width):
    store, true = random_graph(tmp_path)
    part = find("data.sources", "triples")
    source = part(part.Config(kind="triples", negatives=5, corrupt=corrupt), store, facts_of(store))
    sides = np.zeros(2)
    for step in range(40):
        index = np.arange(len(source))
        batch = source.rows(index, keyed("t", step))
        assert batch.side.shape == (len(source), width)
        for (h, t, *others), r, row in zip(
            batch.ids.tolist(), batch.relation.tolist(), batch.side.tolist(), strict=True
        ):
            assert (h, r, t) in true
            assert not any(
                (o if s == 0 else h, r, o if s == 1 else t) in true for o, s in zip(others, row, strict=True)
            )
        sides += np.bincount(batch.side.reshape(-1), minlength=2)
    assert abs(sides[0] / sides.sum() - 0.5) < 3 * 0.5 / sides.sum() ** 0.5


def test_the_last_false_entity_is_found_and_none_is_an_error(tmp_path):
    (tmp_path / "a.tsv").write_text(lines([("a", "r", f"b{i}") for i in range(40)]))
    prepare(tmp_path / "a.tsv", out=tmp_path / "s", kind="triples", valid_fraction=0)
    graph = Graph(Store.open(tmp_path / "s"))  # of 41 entities only `a` itself makes (a, r, ?) false
    triples, side = np.zeros((30, 3), np.int64), np.ones((30, 1), np.int64)
    triples[:, 2] = 1
    assert (graph.corrupt(triples, side, keyed("x")).other == 0).all()
    (tmp_path / "b.tsv").write_text(lines([("a", "r", "a"), ("a", "r", "b")]))
    prepare(tmp_path / "b.tsv", out=tmp_path / "t", kind="triples", valid_fraction=0)
    with pytest.raises(DataError, match="every entity is true"):
        Graph(Store.open(tmp_path / "t")).corrupt(np.zeros((1, 3), np.int64), np.ones((1, 1), np.int64), keyed("x"))


def test_known_lists_every_entity_that_makes_a_triple_true(tmp_path):
    store, true = random_graph(tmp_path, 1)
    graph, triples = Graph(store), np.asarray(store["triples"])
    for side in (0, 1):
        row, entity = graph.known(triples, side)
        wanted = {
            (i, e)
            for i, (h, r, t) in enumerate(triples.tolist())
            for e in range(graph.entities)
            if ((h, r, e) if side else (e, r, t)) in true
        }
        assert set(zip(row.tolist(), entity.tolist(), strict=True)) == wanted and len(row) == len(wanted)


def test_descriptions_are_rows_of_a_store_of_their_own_and_fill_the_batch(tmp_path, tokenizer):
    told = {"paris": "The committee met again.", "rome": "Nobody had read the report."}
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in told.items()))
    (tmp_path / "a.tsv").write_text(lines(FACTS))
    options = {"tokenizer": tokenizer, "descriptions": tmp_path / "d.tsv"}
    prepare(tmp_path / "a.tsv", out=tmp_path / "s", kind="triples", valid_fraction=0, **options)
    store, texts = Store.open(tmp_path / "s"), Store.open(tmp_path / "s" / DESCRIBED)
    facts, begins = facts_of(store, tokenizer), texts.offsets("tokens")
    for i, name in enumerate(facts.names):
        assert (
            texts["tokens"][begins[i] : begins[i + 1]].tolist()
            == tokenizer.encode_batch([told.get(name, name)])[0].tolist()
        )
    sources = {}
    for kind in ("triples", "described"):
        part = find("data.sources", kind)
        sources[kind] = part(part.Config(kind=kind), store, facts)
    numbers, batch = (sources[k].rows(np.arange(5), keyed("x")) for k in ("triples", "described"))
    cls, sep = tokenizer.special["cls"], tokenizer.special["sep"]
    for row, ids, valid in zip(numbers.ids, batch.ids, batch.valid, strict=True):
        for entity, text, real in zip(row, ids, valid, strict=True):
            assert text[real].tolist() == [cls, *texts["tokens"][begins[entity] : begins[entity + 1]].tolist(), sep]


def test_vectors_of_a_model_of_triples_are_matched_by_name(tmp_path, tokenizer):
    from safetensors.numpy import save_file

    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "entities.txt").write_text("Q1\nQ2\nQ3\n")
    save_file({"backbone.embed.weight": table}, tmp_path / "m" / "model.safetensors")
    (tmp_path / "e.tsv").write_text("the mill\tQ3\nthe river\tQ9\nriver\tQ9\n")
    (tmp_path / "t.txt").write_text("The river ran high. A small boat drifted past the mill.")
    lists = {"entities": tmp_path / "e.tsv", "vectors": tmp_path / "m"}
    prepare(tmp_path / "t.txt", out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0, **lists)
    facts = facts_of(Store.open(tmp_path / "s"))
    assert facts.names == ["Q3", "Q9"] and facts.vectors.tolist() == [[4, 5], [0, 0]]
    (tmp_path / "e.tsv").write_text("mill\tzzz\n")
    with pytest.raises(InputError, match="it knows none of the entities"):
        prepare(tmp_path / "t.txt", out=tmp_path / "u", tokenizer=tokenizer, **lists)
