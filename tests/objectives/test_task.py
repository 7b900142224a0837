"""Downstream objectives: losses equal to the Hugging Face classes with the same weights, and what tasks share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn

from modeledge.core import IGNORE, Batch, Facts, InputError, RecipeError, build, find
from modeledge.objectives._task import one_text_a_row

B, T, V = 5, 14, 50
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
SIZES |= dict(vocab_size=V, max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
HALVES = {
    "attention.self.query": "attention.to_q",
    "attention.self.key": "attention.to_k",
    "attention.self.value": "attention.to_v",
    "attention.output.dense": "attention.to_out",
    "attention.output.LayerNorm": "join_attention.norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
    "output.LayerNorm": "join_ffn.norm",
}


def our_backbone(*, pool="first", facts=None):
    layer = {"kind": "layer", "eps": 1e-12}
    config = dict(kind="transformer", width=32, layers=2, heads=4, norm=layer, ffn=dict(kind="mlp", width=64))
    config |= dict(
        embedding=dict(kind="tokens", types=dict(segments=2), norm=layer),
        positions=dict(kind="learned", max=40),
        pool=pool,
    )
    return make("backbones", config, facts or Facts(vocab=V, special={"pad": 0}))


def make(room, config, *args):
    return build(room, find(room, config["kind"]).Config.model_validate(config), *args)


def task(kind, backbone, *, classes=3, **settings):
    facts = Facts(vocab=V, special={"pad": 0}, labels={"label": [f"c{i}" for i in range(classes)]})
    return make("objectives", {"kind": kind, **settings}, facts, backbone)


def copied(theirs):
    """Our backbone with the weights of a Hugging Face BERT."""
    ours = our_backbone(pool="first" if theirs.bert.pooler is not None else None)
    state = theirs.bert.state_dict()
    names = {f"blocks.{i}.{o}": f"encoder.layer.{i}.{t}" for i in range(2) for t, o in HALVES.items()}
    names |= {"embedding.norm": "embeddings.LayerNorm", "pool.dense": "pooler.dense"}
    names |= {
        "embedding.word": "embeddings.word_embeddings",
        "embedding.types.segments": "embeddings.token_type_embeddings",
    }
    names |= {"positions.table": "embeddings.position_embeddings"}
    with torch.no_grad():
        for name, own in ours.named_parameters():
            stem, _, last = name.rpartition(".")
            own.copy_(state[f"{names[stem]}.{last}"])
    return ours


def rows(seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, T + 1, B)
    valid = np.arange(T) < lengths[:, None]
    ids = np.where(valid, rng.integers(5, V, (B, T)), 0)
    segments = (np.arange(T) >= lengths[:, None] // 2) & valid
    return Batch(ids=ids, valid=valid, segments=segments.astype(np.int64))


def theirs_of(kind, **config):
    torch.manual_seed(0)
    return getattr(hf, kind)(hf.BertConfig(**SIZES, **config)).eval()


def named(batch):
    t = batch.tensors()
    return dict(input_ids=t.ids, attention_mask=t.valid.long(), token_type_ids=t.segments)


def adopt(head, linear):
    with torch.no_grad():
        head.out.weight.copy_(linear.weight)
        head.out.bias.copy_(linear.bias)


def means(objective, backbone, batch):
    """The losses as the loop would report them, with the counts the loop divides by."""
    objective.eval(), backbone.eval()
    counts = objective.counts(batch)
    sums = objective(backbone, objective.finish(batch).tensors())
    assert {k: float(v.count) for k, v in sums.items()} == counts
    return {k: float(v.total.detach()) / counts[k] for k, v in sums.items()}


def test_classification_equals_hugging_face():
    theirs = theirs_of("BertForSequenceClassification", num_labels=3)
    backbone = copied(theirs)
    objective = task("classify", backbone)
    adopt(objective.head, theirs.classifier)
    batch = rows().but(label=np.array([0, 2, 1, 1, 0]))
    expected = theirs(**named(batch), labels=torch.tensor(batch.label))
    assert means(objective, backbone, batch)["classify"] == pytest.approx(expected.loss.item(), abs=1e-5)
    tensors = objective.finish(batch).tensors()
    found = objective.predict(objective.run(backbone, tensors), tensors)
    torch.testing.assert_close(found, expected.logits.softmax(-1), atol=1e-5, rtol=0)


def test_a_hidden_layer_on_the_first_token_equals_robertas_head():
    torch.manual_seed(0)
    config = hf.RobertaConfig(**SIZES, num_labels=3)
    theirs = hf.models.roberta.modeling_roberta.RobertaClassificationHead(config).eval()
    backbone = our_backbone(pool=None)
    head = {"kind": "classifier", "hidden": 32, "activation": "tanh", "dropout": 0.1}
    objective = task("classify", backbone, pool="cls", head=head)
    adopt(objective.head, theirs.out_proj)
    with torch.no_grad():
        objective.head.dense.weight.copy_(theirs.dense.weight)
        objective.head.dense.bias.copy_(theirs.dense.bias)
    objective.eval(), backbone.eval()
    batch = rows().tensors()
    out = objective.run(backbone, batch)
    torch.testing.assert_close(objective.scores(out, batch), theirs(out.states))


def test_regression_equals_hugging_face_and_is_in_the_units_of_the_labels():
    theirs = theirs_of("BertForSequenceClassification", num_labels=1)
    backbone = copied(theirs)
    objective = task("regress", backbone)
    adopt(objective.head, theirs.classifier)
    batch = rows().but(label=np.array([0.5, 2.0, 4.5, 1.0, 3.0], np.float32))
    expected = theirs(**named(batch), labels=torch.tensor(batch.label))
    assert means(objective, backbone, batch)["regress"] == pytest.approx(expected.loss.item(), rel=1e-5)
    scaled = task("regress", backbone, center=2.0, scale=1.5)
    adopt(scaled.head, theirs.classifier)
    out = scaled.eval().run(backbone, batch.tensors())
    torch.testing.assert_close(scaled.predict(out, batch.tensors()), expected.logits[:, 0] * 1.5 + 2.0)


def test_tagging_equals_hugging_face():
    theirs = theirs_of("BertForTokenClassification", num_labels=4)
    backbone = copied(theirs)
    objective = task("tag", backbone, classes=4)
    adopt(objective.head, theirs.classifier)
    rng = np.random.default_rng(1)
    batch = rows()
    labels = np.where(batch.valid & (rng.random((B, T)) < 0.7), rng.integers(0, 4, (B, T)), IGNORE)
    expected = theirs(**named(batch), labels=torch.tensor(labels))
    batch = batch.but(labels=labels)
    assert means(objective, backbone, batch)["tag"] == pytest.approx(expected.loss.item(), abs=1e-5)


def test_spans_equal_hugging_face():
    theirs = theirs_of("BertForQuestionAnswering")
    backbone = copied(theirs)
    objective = task("span_qa", backbone)
    adopt(objective.head, theirs.qa_outputs)
    batch = rows().but(begins=np.array([2, 0, 3, 1, 4]), ends=np.array([3, 0, 5, 1, 4]))
    ends = theirs(**named(batch))
    losses = [
        torch.nn.functional.cross_entropy(
            logits.masked_fill(~torch.tensor(batch.valid), float("-inf")), torch.tensor(batch[name])
        )
        for logits, name in ((ends.start_logits, "begins"), (ends.end_logits, "ends"))
    ]  # theirs counts padding among the candidates
    expected = sum(losses).item() / 2
    assert means(objective, backbone, batch)["span_qa"] == pytest.approx(expected, abs=1e-5)


def test_multiple_choice_equals_hugging_face():
    theirs = theirs_of("BertForMultipleChoice")
    backbone = copied(theirs)
    objective = task("choice", backbone)
    adopt(objective.head, theirs.classifier)
    three = [rows(seed) for seed in range(3)]
    batch = Batch({k: np.stack([r[k] for r in three], 1) for k in three[0]}).but(label=np.array([0, 1, 2, 2, 0]))
    expected = theirs(**named(batch), labels=torch.tensor(batch.label))
    assert means(objective, backbone, batch)["choice"] == pytest.approx(expected.loss.item(), abs=1e-5)


def test_a_row_shuffled_among_its_options_gets_the_same_scores_in_that_order():
    backbone = our_backbone().eval()
    objective = task("choice", backbone).eval()
    three = [rows(seed) for seed in range(3)]
    one = Batch({k: np.stack([r[k] for r in three], 1) for k in three[0]}).tensors()
    other = Batch({k: np.stack([three[i][k] for i in (2, 0, 1)], 1) for k in three[0]}).tensors()
    first, second = (objective.predict(objective.run(backbone, b), b) for b in (one, other))
    torch.testing.assert_close(first[:, [2, 0, 1]], second)


def test_a_pair_read_in_both_orders_is_classified_alike_whichever_comes_first():
    backbone = our_backbone(pool=None).eval()
    objective = task("classify", backbone, pool="last", sees="causal").eval()
    a, b = rows(0), rows(1)
    both = [Batch({k: np.stack([r[k] for r in pair], 1) for k in a}).tensors() for pair in ((a, b), (b, a))]
    one, other = (objective.predict(objective.run(backbone, x), x) for x in both)
    torch.testing.assert_close(one, other)


def test_the_last_token_is_read_where_each_row_ends_and_padding_changes_nothing():
    backbone = our_backbone(pool=None).eval()
    objective = task("classify", backbone, pool="last", sees="causal").eval()
    batch = rows()
    padded = objective.predict(objective.run(backbone, batch.tensors()), batch.tensors())
    for row in range(B):
        alone = (
            Batch({k: v[row : row + 1, : batch.valid[row].sum()] for k, v in batch.items()}).but(valid=None).tensors()
        )
        torch.testing.assert_close(objective.predict(objective.run(backbone, alone), alone), padded[row : row + 1])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_an_encoder_decoder_reads_the_text_on_both_sides_and_answers_from_the_decoder(kind):
    """As BART: the decoder's input is the text moved on by one (Hugging Face's own function), padding changes
    nothing."""
    from transformers.models.bart.modeling_bart import shift_tokens_right

    facts = Facts(vocab=V, special={"pad": 0, "eos": 2}, labels={"label": ["a", "b", "c"]})
    stack = dict(kind="encoder_decoder", width=32, layers=2, heads=4, ffn=dict(kind="mlp", width=64))
    backbone = make("backbones", stack | dict(positions=dict(kind="learned", max=40)), facts).eval()
    pool = {} if kind == "tag" else {"pool": "last"}
    objective = make("objectives", {"kind": kind, "sees": {"start": "eos"}, **pool}, facts, backbone).eval()
    batch = rows().but(segments=None).tensors()
    out = objective.run(backbone, batch)
    scores = objective.head(out.states) if kind == "tag" else objective.scores(out, batch)
    for row in range(B):
        ids = batch.ids[row][batch.valid[row]][None]
        alone = backbone(Batch(ids=ids, decoder_ids=shift_tokens_right(ids, 0, 2))).states
        expected = objective.head(alone)[0] if kind == "tag" else objective.head(alone[:, -1])[0]
        found = scores[row][batch.valid[row]] if kind == "tag" else scores[row]
        assert torch.allclose(found, expected, atol=1e-5)


def test_sentence_vectors_have_length_one_and_the_loss_is_that_of_cosines_in_the_batch():
    backbone = our_backbone(pool=None).eval()
    objective = task("embed", backbone, scale=10.0).eval()
    a, b = rows(0), rows(1)
    pair = Batch({k: np.stack([a[k], b[k]], 1) for k in a})
    vectors = objective.predict(objective.run(backbone, pair.tensors()), pair.tensors())
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(B, 2))
    logits = 10 * vectors[:, 0] @ vectors[:, 1].T
    expected = (
        nn.functional.cross_entropy(logits, torch.arange(B)) + nn.functional.cross_entropy(logits.T, torch.arange(B))
    ) / 2
    assert means(objective, backbone, pair)["embed"] == pytest.approx(expected.item(), rel=1e-5)


def test_features_leave_the_backbone_as_it_is():
    backbone = our_backbone()
    for block in backbone.blocks:  # dropout that must stay silent
        block.attention.dropout = 0.5
    objective = task("classify", backbone, train="head", head={"kind": "classifier", "dropout": 0.0})
    batch = objective.finish(rows().but(label=np.array([0, 2, 1, 1, 0]))).tensors()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    objective.train(), backbone.train()
    losses = [objective(backbone, batch)["classify"].total for _ in range(2)]
    assert torch.equal(*losses)
    losses[0].backward()
    assert all(p.grad is None for p in backbone.parameters())
    assert all(p.grad is not None for p in objective.parameters())
    optimizer = torch.optim.AdamW([*objective.parameters(), *backbone.parameters()], weight_decay=0.5)
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_several_texts_a_row_become_that_many_rows():
    batch = Batch(
        ids=torch.arange(24).reshape(2, 3, 4), valid=torch.ones(2, 3, 4, dtype=torch.bool), label=torch.ones(2)
    )
    flat = one_text_a_row(batch)
    assert set(flat) == {"ids", "valid"} and flat.ids.tolist()[1] == [4, 5, 6, 7]


def test_data_without_classes_is_refused():
    with pytest.raises(InputError, match="'classify': the data has no classes"):
        make("objectives", {"kind": "classify"}, Facts(vocab=V), our_backbone())


def test_a_backbone_without_a_vector_asks_for_a_pool():
    backbone = our_backbone(pool=None)
    objective = task("classify", backbone)
    with pytest.raises(RecipeError, match="give the objective a `pool`"):
        objective.scores(objective.run(backbone, rows().tensors()), rows().tensors())


def test_a_fresh_classifier_costs_the_logarithm_of_the_classes():
    backbone = our_backbone()
    objective = task("classify", backbone, classes=7)
    found = means(objective, backbone, rows().but(label=np.arange(B)))["classify"]
    assert found == pytest.approx(objective.baselines(objective.facts)["uniform"], rel=0.1)
