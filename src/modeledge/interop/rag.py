"""RAG: DPR's encoder of questions and a BART in one folder, the encoder of passages in its sub-folder `ctx_encoder`.

Source of the names: transformers' RagSequenceForGeneration and RagTokenForGeneration. Not here: their index of passages
(ours is made anew from the passages), other encoders and generators, two vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modeledge.core import Batch, InputError
from modeledge.interop._names import Move, inside
from modeledge.interop._stacks import BIAS, LOGITS
from modeledge.interop.bart import Bart
from modeledge.interop.dpr import DPR

TOKEN = "token"
QUESTION, GENERATOR = "question_encoder.", "generator."


class RAG(DPR):
    """The marginal decides the class; the generator is a BART by itself, with its tables."""

    keys = ()
    same = {"kind": "dual"}
    parts = {"rag": {}}
    classes = (({"rag", TOKEN}, "RagTokenForGeneration"), ({"rag"}, "RagSequenceForGeneration"))
    recipe = "rag_sequence"
    tokenizers = ("", "question_encoder_tokenizer", "generator_tokenizer", "ctx_encoder")

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.question, self.generator = DPR(), Bart()

    # -- from a folder

    def settings(self, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        for name, port in (("question_encoder", self.question), ("generator", self.generator)):
            if config[name].get("model_type") != port.type:
                raise InputError(
                    f"config.json (rag): {name} is {config[name].get('model_type')!r}, here only {port.type!r}"
                )
        asked = self.question.settings(config["question_encoder"], {"match"})
        written = self.generator.settings(config["generator"], {"reconstruct"} | parts & {BIAS})
        if asked["facts"]["vocab"] != (vocab := written["facts"]["vocab"]):
            raise InputError(
                f"config.json (rag): one vocabulary serves both networks here; the encoder of questions has "
                f"{asked['facts']['vocab']} tokens, the generator {vocab}"
            )
        objective = written["objectives"][0] | {"kind": "rag", "candidates": config.get("n_docs", 5)}
        objective["marginal"] = "token" if TOKEN in parts else "sequence"
        backbone = {**asked["backbone"], "reader": written["backbone"]}
        return {"backbone": backbone, "objectives": [objective], "facts": written["facts"]}

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        return self.settings(config, parts)["objectives"][0]

    def clean(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        whole = {name.removeprefix("rag."): t for name, t in theirs.items()}
        out = {n: t for n, t in whole.items() if not n.startswith((QUESTION, GENERATOR))}
        for at, port in ((QUESTION, self.question), (GENERATOR, self.generator)):
            mine = {n.removeprefix(at): t for n, t in whole.items() if n.startswith(at)}
            out |= {at + n: t for n, t in port.clean(mine).items()}
        return out

    def found(self, theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[str]:
        kind = (config.get("architectures") or ["RagSequenceForGeneration"])[0]
        parts = next((wanted for wanted, name in self.classes if name == kind), None)
        if parts is None:
            raise InputError(
                f"config.json (rag): {kind} is not read here, only {', '.join(n for _, n in self.classes)}"
            )
        return parts | ({BIAS} if GENERATOR + LOGITS in theirs else set())

    # -- to a folder

    def has(self, tree: Mapping[str, Any], state: Mapping[str, Tensor]) -> set[str]:
        found = [o for o in tree["objectives"] if o["kind"] == "rag"]
        token = {TOKEN} if any(o["marginal"] == "token" for o in found) else set()
        return {o["kind"] for o in found} | token | ({BIAS} if any(o["head"].get("bias") for o in found) else set())

    def told(self, objectives: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"n_docs": next(o["candidates"] for o in objectives if o["kind"] == "rag")}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        reader = (backbone["reader"] or {"kind": None})["kind"]
        if reader != self.generator.same["kind"]:
            raise InputError(f"rag: backbone.reader: {reader!r}, there only {self.generator.same['kind']!r}")
        question = self.question.config(backbone, {"match"}, facts)
        generator = self.generator.config(backbone["reader"], {"reconstruct"}, facts)
        out = {"model_type": self.type, "architectures": [self.class_of(parts)], "dtype": "float32"}
        out |= {"is_encoder_decoder": True, "question_encoder": question, "generator": generator}
        ids = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_eos_token_id")
        return out | {key: generator[key] for key in (*ids, "vocab_size") if key in generator}

    def class_of(self, parts: set[str]) -> str:
        return super().class_of(parts - {BIAS})

    def tensors(self, backbone: Mapping[str, Any], parts: set[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().tensors(backbone, parts, ours)
        word = out[f"{GENERATOR}model.shared.weight"]
        out.setdefault(GENERATOR + LOGITS, word.new_zeros(1, len(word)))
        return {f"rag.{name}": t for name, t in out.items()}

    # -- both

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        asked = self.question.table(backbone, {"match"})
        written = self.generator.table(backbone["reader"], {"reconstruct"} | parts & {BIAS})
        places = {"backbone.": "backbone.reader.", "objectives.reconstruct.": "objectives.rag."}
        return inside(asked, QUESTION, {"backbone.": "backbone."}) | inside(written, GENERATOR, places)

    # -- the same batch through both

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        """Two rows: questions, and passages that one text is written after."""
        return super().batch(backbone, facts).but(decoder_ids=torch.randint(0, facts["vocab"], (1, 7)).repeat(2, 1))

    def ours(self, backbone: Any, heads: Mapping[str, Any], batch: Batch) -> dict[str, Tensor]:
        read = Batch(ids=batch.ids, valid=batch.valid, decoder_ids=batch.decoder_ids)
        states = backbone(read, self.seen(read)).states
        return {**super().ours(backbone, heads, batch), "logits": heads["rag"].head(states)}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        k = len(batch.ids)
        asked = model.rag.question_encoder(batch.ids, batch.valid.long(), batch.get("segments"))
        out = model(
            context_input_ids=batch.ids, context_attention_mask=batch.valid.long(), n_docs=k,
            decoder_input_ids=batch.decoder_ids[:1], doc_scores=torch.zeros(1, k),
        )  # fmt: skip
        return {"pooled": asked.pooler_output, "logits": out.logits}
