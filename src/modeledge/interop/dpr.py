"""DPR: the encoder of questions in the folder, that of passages in its sub-folder `ctx_encoder`.

Source of the names: transformers' DPRQuestionEncoder and DPRContextEncoder, which are two models there. A network that
reads both is written twice, and read as one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch, InputError
from modeledge.interop._encoder import KEYS, SAME, blocks, embeddings
from modeledge.interop._names import Move, expand, inside
from modeledge.interop._port import Port
from modeledge.interop._settings import below

PASSAGES = "ctx_encoder"
QUERY = "backbone.towers.query."
PROJECT = "backbone.projections.query.weight"
PLACES = ("backbone.towers.", "backbone.projections.")


class DPR(Port):
    """The encoder of questions has the objective `match`, that of passages none."""

    keys = below("towers.query", KEYS)
    same = {"kind": "dual", "norm": None, "towers.query.pool.kind": "cls"}
    same |= {f"towers.query.{path}": value for path, value in SAME.items()}
    parts = {"match": {}}
    classes = (({"match"}, "DPRQuestionEncoder"), (set(), "DPRContextEncoder"))
    towers = ("query", "passage")
    inner = {PASSAGES: "dpr"}
    recipe = "ict"
    tokenizers = ("", PASSAGES)

    # -- from a folder

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        self.refuse(config, position_embedding_type=("absolute",), is_decoder=(False,), add_cross_attention=(False,))
        backbone["width"] = config.get("projection_dim") or None

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return {"kind": part}

    def clean(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().clean(theirs)
        for name in (n for n in out if n.endswith("encode_proj.bias")):
            if out[name].any():
                raise InputError(f"the folder ({self.type}): {name}: a bias, and projections of towers have none here")
        return out

    def merge(self, found: Any, inner: Any) -> Any:
        """The questions' encoder with that of passages; one network if their tensors are equal."""
        mine, passage = found.state, {n: t for n, t in inner.state.items() if n.startswith("backbone.")}
        if found.facts["vocab"] != inner.facts["vocab"] or found.backbone["width"] != inner.backbone["width"]:
            raise InputError(
                f"the folder ({found.type}): {PASSAGES} has another vocabulary or another width of vectors"
            )
        if all(n in mine and torch.equal(mine[n], t) for n, t in passage.items()):
            return found
        towers = {**found.backbone["towers"], "passage": inner.backbone["towers"]["query"]}
        other = {n.replace(".query.", ".passage.", 1): t for n, t in passage.items()}
        return replace(found, backbone={**found.backbone, "towers": towers}, state={**mine, **other})

    # -- to a folder

    def companions(
        self, tree: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[dict[str, Any], dict[str, Tensor]]]]:
        """The encoder of passages as a model of its own."""
        towers, objectives = tree["backbone"]["towers"], tree["objectives"]
        if not objectives:
            return state, {}
        source = "passage" if "passage" in towers else "query"
        mine = {n: t for n, t in state.items() if n.startswith(PLACES) and f".{source}." in n}
        passage = {n.replace(f".{source}.", ".query.", 1): t for n, t in mine.items()}
        rest = {n: t for n, t in state.items() if source == "query" or n not in mine}
        alone = {**tree["backbone"], "towers": {"query": towers[source]}, "reader": None}
        return rest, {PASSAGES: ({"backbone": alone, "objectives": []}, passage)}

    def prepare(
        self, backbone: dict[str, Any], facts: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The encoder of questions alone, with segments that change nothing if it has none."""
        tower = backbone["towers"]["query"]
        if not tower["embedding"].get("types") and (word := state.get(f"{QUERY}embedding.word.weight")) is not None:
            tower = {**tower, "embedding": {**tower["embedding"], "types": {"segments": 2}}}
            state = {**state, f"{QUERY}embedding.types.segments.weight": word.new_zeros(2, word.shape[1])}
        return {**backbone, "towers": {"query": tower}}, state

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        return super().config(backbone, parts, facts) | {"projection_dim": backbone["width"] or 0}

    # -- both

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        at = ("question_encoder" if "match" in parts else PASSAGES) + "."
        tower = {**embeddings("bert_model."), **blocks("bert_model.")}
        out = inside(expand(tower, backbone["towers"]["query"]["layers"]), at, {"backbone.": QUERY})
        if (width := backbone["width"]) is not None:
            out[f"{at}encode_proj.weight"] = Move((PROJECT,))
            out[f"{at}encode_proj.bias"] = Move((), lambda theirs: [], lambda ours: torch.zeros(width))
        return out

    # -- the same batch through both

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        return super().batch(backbone["towers"]["query"], facts)

    def ours(self, backbone: nn.Module, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        asked = Batch({f"query_{name}": field for name, field in batch.items()})
        return {"pooled": backbone(asked, {"query": self.seen(batch)}).towers["query"].pooled}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        out = model(input_ids=batch.ids, attention_mask=batch.valid.long(), token_type_ids=batch.get("segments"))
        return {"pooled": out.pooler_output}
