"""RoBERTa that normalises what a branch reads instead of the stream: the type for a masked model with `join: pre`.

Source of the names: transformers' RobertaPreLayerNormForMaskedLM (after fairseq's --encoder-normalize-before)."""

from __future__ import annotations

from modeledge.interop._encoder import SAME, blocks, both, embeddings
from modeledge.interop.roberta import Roberta as _Roberta

PREFIX = "roberta_prelayernorm."
LAYER = f"{PREFIX}encoder.layer.{{i}}."
MOVED = {
    f"{LAYER}attention.output.LayerNorm": f"{LAYER}attention.LayerNorm",
    f"{LAYER}output.LayerNorm": f"{LAYER}intermediate.LayerNorm",
}
"""The norms of a block stand before what they follow in BERT."""


def _moved(name: str) -> str:
    at, _, kind = name.rpartition(".")
    return f"{MOVED.get(at, at)}.{kind}"


class RobertaPreLayerNorm(_Roberta):
    spelled = "roberta-prelayernorm"
    prefix = PREFIX
    same = {**SAME, "join.kind": "pre"}
    body = {
        **embeddings(PREFIX),
        **{_moved(theirs): ours for theirs, ours in blocks(PREFIX).items()},
        **both(f"{PREFIX}LayerNorm", "backbone.norm"),
    }
    parts = {**_Roberta.parts, "pool": both(f"{PREFIX}pooler.dense", "backbone.pool.dense")}
    twins = {theirs: original.replace("roberta.", PREFIX) for theirs, original in _Roberta.twins.items()}
    classes = tuple((parts, name.replace("Roberta", "RobertaPreLayerNorm")) for parts, name in _Roberta.classes)
