"""Records as typed entities, held against a plain walk over the records and against Hugging Face's BERT."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, DataError, Facts, InputError, build, find, keyed
from modeledge.data import Store, facts_of
from modeledge.data.prepare import prepare

FIELDS = ["title", "authors", "venue"]
RECORDS = [
    {"title": "The river ran high after the rain.", "authors": ["Mr. Brown", "She said"], "venue": "market"},
    {"title": "A small boat drifted past the mill.", "authors": [], "venue": None},
    {"title": "Nobody had read the report.", "authors": "the committee", "venue": "market"},
    {"authors": ["Brown", "nobody", "the mill"]},
]


@pytest.fixture
def store(tmp_path, tokenizer):
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    options = {"kind": "fields", "fields": FIELDS, "tokenizer": tokenizer, "valid_fraction": 0}
    prepare(tmp_path / "r.jsonl", out=tmp_path / "s", **options)
    return Store.open(tmp_path / "s")


@pytest.fixture(scope="module")
def tokenizer():
    part = find("tokenizers", "wordpiece")
    return part(part.Config(kind="wordpiece", vocab=200, lowercase=True)).train(iter([json.dumps(RECORDS)] * 3))


def source(store, tokenizer, **settings):
    part = find("data.sources", "typed_entities")
    return part(part.Config(kind="typed_entities", **{"length": 64, **settings}), store, facts_of(store, tokenizer))


def wanted(record, tokenizer):
    """The entities of a record: (type from 1, ids)."""
    for number, name in enumerate(FIELDS, start=1):
        value = record.get(name)
        for text in value if isinstance(value, list) else [value] if value else []:
            yield number, tuple(tokenizer.encode_batch([text])[0].tolist())


def runs(batch, i):
    """The entities of a row as they stand in it: (type, ids), checking place and position on the way."""
    real = ~batch.special[i]
    places = sorted(set(batch.order[i][real].tolist()))
    assert places == list(range(1, len(places) + 1))
    for place in places:
        at = np.flatnonzero(real & (batch.order[i] == place))
        assert (np.diff(at) == 1).all() and batch.positions[i][at].tolist() == list(range(len(at)))
        assert batch.entity_starts[i][at].tolist() == [True] + [False] * (len(at) - 1)
        assert len(set(batch.types[i][at].tolist())) == 1
        yield int(batch.types[i][at[0]]), tuple(batch.ids[i][at].tolist())


def test_a_row_holds_the_entities_of_its_record_with_types_in_an_order_that_changes(store, tokenizer):
    made, orders = source(store, tokenizer), set()
    for step in range(12):
        batch = made.rows(np.arange(4), keyed("x", step))
        found = [list(runs(batch, i)) for i in range(4)]
        for record, row in zip(RECORDS, found, strict=True):
            assert sorted(row) == sorted(wanted(record, tokenizer))
        orders.add(tuple(found[0]))
        assert (batch.ids[:, 0] == tokenizer.special["cls"]).all() and not batch.types[batch.special].any()
        assert (batch.ids == tokenizer.special["sep"]).sum(1).tolist() == [1] * 4
    assert len(orders) > 4


def test_a_long_record_is_cut_and_far_entities_share_a_place(store, tokenizer):
    batch = source(store, tokenizer, length=8, most=2).rows(np.arange(4), keyed("x"))
    assert batch.ids.shape == (4, 8) and batch.order.max() == 2
    assert all((row == tokenizer.special["sep"]).sum() == 1 for row in batch.ids)


def test_a_name_is_hidden_whole_and_running_text_word_by_word(store, tokenizer):
    made = source(store, tokenizer, longest=4)
    facts = made.facts
    torch.manual_seed(0)
    config = find("backbones", "transformer").Config.model_validate(
        {"kind": "transformer", "width": 8, "layers": 1, "heads": 1}
    )
    mlm = find("objectives", "mlm")
    objective = mlm(mlm.Config(kind="mlm", select="words", rate=0.3), facts, build("backbones", config, facts))
    partly = 0
    for step in range(40):
        batch = made.rows(np.arange(4), keyed("x", step))
        chosen = objective.view(batch, keyed("v", step)).labels != IGNORE
        assert not chosen[batch.special].any()
        for i in range(4):
            for place in range(1, batch.order[i].max() + 1):
                inside = (batch.order[i] == place) & ~batch.special[i]
                if inside.sum() <= 4:
                    assert chosen[i][inside].all() or not chosen[i][inside].any()
                else:
                    partly += 0 < chosen[i][inside].sum() < inside.sum()
    assert partly > 10


def test_states_are_hugging_face_s_bert_on_the_sum_of_all_embeddings_and_move_with_their_tokens(store, tokenizer):
    from transformers import BertConfig, BertModel

    from modeledge.interop import from_hf

    torch.manual_seed(0)
    config = BertConfig(vocab_size=tokenizer.vocab, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=24, max_position_embeddings=64, type_vocab_size=1)  # fmt: skip
    theirs = BertModel(config, add_pooling_layer=False).eval()
    found = from_hf(config.to_dict() | {"architectures": ["BertModel"]}, theirs.state_dict())
    settings = dict(found.backbone)
    settings["embedding"] = settings["embedding"] | {"types": {"segments": 1, "types": 4, "order": 64}}
    facts = Facts(vocab=tokenizer.vocab)
    ours = build("backbones", find("backbones", settings["kind"]).Config.model_validate(settings), facts).eval()
    names = {n.removeprefix("backbone."): t for n, t in found.state.items() if n.startswith("backbone.")}
    lost = ours.load_state_dict(names, strict=False)
    assert set(lost.missing_keys) == {"embedding.types.types.weight", "embedding.types.order.weight"}
    batch = source(store, tokenizer).rows(np.arange(1), keyed("x")).trim(1).tensors()
    with torch.no_grad():
        tables = ours.embedding.types
        summed = ours.embed(batch.ids) + tables["types"](batch.types) + tables["order"](batch.order)
        wanted = theirs(inputs_embeds=summed, position_ids=batch.positions).last_hidden_state
        states = ours(batch).states
        torch.testing.assert_close(states, wanted, rtol=1e-4, atol=1e-5)
        turn = torch.randperm(batch.ids.shape[1])
        moved = type(batch)({k: v[:, turn] for k, v in batch.items()})
        torch.testing.assert_close(ours(moved).states, states[:, turn], rtol=1e-4, atol=1e-5)


def test_what_is_no_text_is_refused_with_its_place(tmp_path, store, tokenizer):
    (tmp_path / "b.jsonl").write_text('{"title": "a", "authors": ["b", 3]}\n')
    options = {"kind": "fields", "fields": FIELDS, "tokenizer": tokenizer}
    with pytest.raises(DataError, match=r"b\.jsonl:1: field 'authors': expected text or a list, found 3"):
        prepare(tmp_path / "b.jsonl", out=tmp_path / "t", **options)
    with pytest.raises(InputError, match="--kind fields goes with --fields"):
        prepare(tmp_path / "b.jsonl", out=tmp_path / "t", **(options | {"fields": ()}))
