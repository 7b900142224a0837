"""BERT. Source of the names: transformers' BertForPreTraining."""

from __future__ import annotations

from modeledge.interop._encoder import TASKS, Encoder, blocks, both, embeddings


class Bert(Encoder):
    prefix = "bert."
    body = {**embeddings(prefix), **blocks(prefix)}
    parts = {
        "pool": both("bert.pooler.dense", "backbone.pool.dense"),
        "mlm": {
            **both("cls.predictions.transform.dense", "objectives.mlm.head.dense"),
            **both("cls.predictions.transform.LayerNorm", "objectives.mlm.head.norm"),
            "cls.predictions.bias": "objectives.mlm.head.bias",
        },
        "nsp": both("cls.seq_relationship", "objectives.nsp.head.out"),
        "classify": both("classifier", "objectives.classify.head.out"),
        **TASKS,
    }
    twins = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    classes = (
        ({"mlm", "nsp"}, "BertForPreTraining"),
        ({"mlm"}, "BertForMaskedLM"),
        ({"nsp"}, "BertForNextSentencePrediction"),
        ({"classify"}, "BertForSequenceClassification"),
        ({"tag"}, "BertForTokenClassification"),
        ({"span_qa"}, "BertForQuestionAnswering"),
        (set(), "BertModel"),
    )
