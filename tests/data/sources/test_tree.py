"""Facts hung onto rows of a table: what stands where, what is left as it was, what the model then sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.core import Batch, DataError, Facts, build, find, keyed
from modeledge.data.tables import Table
from modeledge.objectives import own_document
from modeledge.visibility import see
from modeledge.visibility.full import full

GRAPH = [
    ("river", "is in", "france"),
    ("river", "has", "fish"),
    ("river", "was", "late"),
    ("small boat", "has", "owner"),
]
TEXTS = ["The river ran high past a small boat.", "Nobody had read the report.", "A small boat, the river"]


@pytest.fixture(scope="module")
def tokenizer():
    part = find("tokenizers", "wordpiece")
    words = " ".join(TEXTS) + " " + " ".join(" ".join(f) for f in GRAPH)
    return part(part.Config(kind="wordpiece", vocab=200, lowercase=True)).train(iter([words] * 3))


@pytest.fixture
def rows(tmp_path, tokenizer):
    def make(graph=GRAPH, length=48, texts=TEXTS, file=None):
        (tmp_path / "t.jsonl").write_text("".join(f'{{"text": "{t}", "label": "x"}}\n' for t in texts))
        (tmp_path / "g.tsv").write_text("".join("\t".join(fact) + "\n" for fact in graph or []))
        part = find("data.sources", "table")
        facts = Facts(vocab=tokenizer.vocab, special=tokenizer.special, words=tokenizer.words, tokenizer=tokenizer)
        chosen = {"graph": file or str(tmp_path / "g.tsv")} if graph is not None else {}
        config = part.Config.model_validate({"kind": "table", "length": length, **chosen})
        source = part(config, Table.open(tmp_path / "t.jsonl"), facts)
        return source.rows(np.arange(len(texts)), keyed("x"))

    return make


def test_rows_that_are_grown_together_do_not_meet(rows):
    halves = ["Nobody had read a small", "boat of the river"]  # "small boat" lies across the two
    together, alone = rows(texts=halves), [rows(texts=[t]) for t in halves]
    for i, one in enumerate(alone):
        for name in ("ids", "branch", "anchor", "positions"):
            real = together.valid[i] if "valid" in together else slice(None)
            own = one.valid[0] if "valid" in one else slice(None)
            assert together[name][i][real].tolist() == one[name][0][own].tolist()


def test_a_branch_follows_its_subject_and_the_sentence_keeps_its_places(rows, tokenizer):
    plain, grown = rows(None), rows()
    for i in range(len(TEXTS)):
        real = grown.valid[i]
        trunk = real & (grown.branch[i] == 0)
        assert grown.ids[i][trunk].tolist() == plain.ids[i][plain.valid[i]].tolist()
        assert grown.positions[i][trunk].tolist() == list(range(int(trunk.sum())))
        assert (grown.segments[i][real] == (grown.branch[i][real] > 0)).all()
    said = [tokenizer.decode(grown.ids[0][grown.branch[0] == n]).strip() for n in (1, 2, 3)]
    assert said == ["is in france", "has fish", "has owner"]  # two on a mention at most
    for n, subject in ((1, "river"), (2, "river"), (3, "small boat")):
        inside = np.flatnonzero(grown.branch[0] == n)
        owner = np.flatnonzero((grown.branch[0] == 0) & (grown.anchor[0] == grown.anchor[0][inside[0]]))
        assert tokenizer.decode(grown.ids[0][owner]).strip() == subject and inside[0] > owner[-1]
        places = grown.positions[0][inside]
        assert places.tolist() == list(
            range(grown.positions[0][owner[-1]] + 1, grown.positions[0][owner[-1]] + 1 + len(inside))
        )


def encoder(tokenizer):
    """A small encoder with fresh weights."""
    torch.manual_seed(0)
    keys = {"kind": "transformer", "width": 16, "layers": 2, "heads": 2}
    keys |= {"embedding": {"kind": "tokens", "types": {"segments": 2}}}
    config = find("backbones", "transformer").Config.model_validate(keys)
    return build("backbones", config, Facts(vocab=tokenizer.vocab)).eval()


def test_rows_without_facts_are_read_as_if_there_were_no_graph(rows, tokenizer):
    model = encoder(tokenizer)

    def states(batch):
        batch = batch.tensors()
        with torch.no_grad():
            return model(batch, see(own_document(batch, full), *batch.ids.shape, device="cpu")).states[batch.valid]

    nothing = rows([("zebra", "is", "animal")])
    torch.testing.assert_close(states(nothing), states(rows(None)))


def test_states_are_those_of_hugging_face_s_bert_given_the_places_and_a_mask_made_by_loops(rows, tokenizer):
    from transformers import BertConfig, BertModel

    from modeledge.core import build
    from modeledge.interop import from_hf

    torch.manual_seed(0)
    config = BertConfig(vocab_size=tokenizer.vocab, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=24, max_position_embeddings=64)  # fmt: skip
    theirs = BertModel(config).eval()
    found = from_hf(config.to_dict() | {"architectures": ["BertModel"]}, theirs.state_dict())
    ours = build("backbones", find("backbones", found.backbone["kind"]).Config.model_validate(found.backbone),
                 Facts(vocab=tokenizer.vocab)).eval()  # fmt: skip
    names = {n.removeprefix("backbone."): t for n, t in found.state.items() if n.startswith("backbone.")}
    ours.load_state_dict(names)
    batch = rows()
    mask = np.zeros((*batch.ids.shape, batch.ids.shape[1]), bool)
    for b, q, k in np.ndindex(mask.shape):
        one, other = batch.branch[b, q], batch.branch[b, k]
        meet = (one == 0) != (other == 0) and batch.anchor[b, q] == batch.anchor[b, k]
        mask[b, q, k] = (one == other or meet) and batch.valid[b, k]
    ready = batch.tensors()
    with torch.no_grad():
        seen = see(own_document(ready, full), *ready.ids.shape, device="cpu")
        bias = torch.zeros(mask.shape).masked_fill(~torch.tensor(mask), torch.finfo(torch.float32).min)[:, None]
        wanted = theirs(ready.ids, attention_mask=bias, position_ids=ready.positions, token_type_ids=ready.segments)
        states = ours(ready, seen).states
    torch.testing.assert_close(states[ready.valid], wanted.last_hidden_state[ready.valid], rtol=1e-4, atol=1e-5)


def test_a_branch_reaches_other_words_only_through_its_subject_and_one_layer_later(rows, tokenizer):
    model = encoder(tokenizer)
    batch = Batch({k: v[:1] for k, v in rows().items()}).tensors()
    changed = batch.but(ids=torch.where(batch.branch == 1, tokenizer.words[0], batch.ids))
    seen = see(own_document(batch, full), *batch.ids.shape, device="cpu")
    with torch.no_grad():
        one, two = (model(b, seen, keep=("blocks.*",)).kept for b in (batch, changed))
    moved = [(one[f"blocks.{i}"] - two[f"blocks.{i}"]).abs().sum(-1)[0] > 1e-6 for i in (0, 1)]
    trunk, subject = batch.branch[0] == 0, batch.anchor[0] == batch.anchor[0][batch.branch[0] == 1][0]
    real = batch.valid[0]
    assert moved[0][trunk & subject].all() and not moved[0][trunk & ~subject & real].any()
    assert moved[1][trunk & real].all()


@pytest.mark.parametrize("length", [8, 12, 15])
def test_cutting_a_row_keeps_its_fields_together(rows, length):
    whole, cut = rows(length=48, texts=TEXTS[2:]), rows(length=length, texts=TEXTS[2:])
    kept = min(length, int(cut.ids.shape[1]))
    first = rows(None, length=length, texts=TEXTS[2:])
    if first.ids.shape[1] == rows(None, texts=TEXTS[2:]).ids.shape[1]:  # the sentence itself was not cut
        for name in ("ids", "positions", "branch", "anchor", "segments"):
            assert np.array_equal(cut[name][0], whole[name][0][:kept]), name
    assert len({cut[name].shape for name in ("ids", "positions", "branch", "anchor", "special", "word_starts")}) == 1


def test_labels_of_words_stay_on_their_words(rows, tmp_path, tokenizer):
    import json

    (tmp_path / "w.jsonl").write_text(json.dumps({"text": ["the", "river", "ran"], "label": ["a", "b", "a"]}) + "\n")
    (tmp_path / "g.tsv").write_text("river\thas\tfish\n")
    part = find("data.sources", "table")
    facts = Facts(vocab=tokenizer.vocab, special=tokenizer.special, words=tokenizer.words, tokenizer=tokenizer)
    config = part.Config.model_validate({"kind": "table", "form": "words", "graph": str(tmp_path / "g.tsv")})
    batch = part(config, Table.open(tmp_path / "w.jsonl"), facts).rows(np.arange(1), keyed("x"))
    assert (batch.labels[batch.branch > 0] < 0).all() and batch.labels[batch.labels >= 0].tolist() == [0, 1, 0]


def test_a_file_that_is_not_there_is_named(rows, tmp_path):
    with pytest.raises(DataError, match=r"no\.tsv: no such file of facts"):
        rows(file="no.tsv")
