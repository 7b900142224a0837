"""How a pre-trained model is asked: which vector stands for a row, who sees whom, which tokens frame a text.

Encoders read [CLS] A [SEP] B [SEP] and have a pooler, or get a hidden layer on their first token (RoBERTa, ELECTRA);
causal models read [start] A [delimiter] B [extract] and are read at the last token: GPT (2018) §3.3. Encoder-decoders
read the text on both sides and are read where the decoder has read it all: BART, arXiv:1910.13461 §3.1."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import tokenizers as hf
import torch
from tokenizers import processors

from modeledge.core import Facts, InputError, find
from modeledge.objectives.infill import Infill
from modeledge.objectives.mlm import MaskedLM
from modeledge.objectives.seq2seq import Seq2Seq
from modeledge.recipe.schema import Recipe, places_of
from modeledge.run.checkpoint import own_tensors
from modeledge.run.keep import Loaded

GPT_TOKENS = {"start": "<|start|>", "delimiter": "<|delimiter|>", "extract": "<|extract|>"}
TOKENWISE = ("tag", "span_qa", "embed", "classify_pair", "hops")
"""Tasks that are read token by token, by the mean of the tokens, or by a head that reads all of them."""
HIDDEN = {"rtd": "gelu"}
"""Activation of the hidden layer where it is not tanh: ELECTRA's released code."""


def is_causal(recipe: Recipe) -> bool:
    """Whether the model reads from left to right only."""
    return all(o.kind in ("clm", "complete", "rnn_lm") or getattr(o, "sees", "") == "causal" for o in recipe.objectives)


def has_decoder(recipe: Recipe) -> bool:
    """Whether the model has an encoder and a decoder."""
    return getattr(find("backbones", recipe.backbone.kind), "decodes", False)


def writing(recipe: Recipe) -> tuple[str, Any] | None:
    """How the model is taught to write an answer: the objective's kind, and which of its own it goes on with; None for
    a model that does not write."""
    own = recipe.objectives
    if has_decoder(recipe):
        return "seq2seq", next((o for o in own if issubclass(find("objectives", o.kind), Seq2Seq)), own[0])
    if is_causal(recipe):
        return "complete", own[0]
    for config in own:
        kind: Any = find("objectives", config.kind)
        if issubclass(kind, Infill):
            return "blank_target", config
        if issubclass(kind, MaskedLM) and config.visible.rule == "prefix":  # type: ignore[attr-defined]
            return "mask_target", config
    return None


def reads_text(loaded: Loaded) -> bool:
    """Whether the model reads text alone."""
    kinds = [getattr(find("data.sources", c.kind), "reads", "text") for c in loaded.recipe.data.values()]
    return loaded.facts.tokenizer is not None and not {"images", "pairs"}.intersection(kinds)


def reading(loaded: Loaded, task: str) -> dict[str, Any]:
    """Settings of the task's objective that follow from the model: pool, sees, head.

    Raises InputError for a task the architecture cannot be asked."""
    recipe = loaded.recipe
    sees = {"sees": "causal"} if is_causal(recipe) else {}
    if recipe.backbone.kind == "encoder_decoder":  # of the recurrent ones the encoder alone is asked (CoVe)
        sees = {"sees": {"start": first_of_decoder(loaded)}}
    if task in TOKENWISE:
        return sees
    if getattr(recipe.backbone, "pool", None) is not None:
        return sees
    if is_causal(recipe):
        return {**sees, "pool": "last"}
    if getattr(recipe.backbone, "heads", None) is None:
        return {"pool": "mean"}  # without attention the first token knows nothing of the rest
    frame = loaded.facts.tokenizer.frame()
    if not (frame.before or frame.after):
        return {**sees, "pool": "last" if sees else "mean"}
    width = loaded.model.backbone.width
    activation = next((HIDDEN[o.kind] for o in recipe.objectives if o.kind in HIDDEN), "tanh")
    cls = loaded.facts.special.get("cls")
    pool = "last" if sees or (cls is not None and cls in frame.after) else "cls"
    return {
        **sees,
        "pool": pool,
        "head": {"kind": "classifier", "hidden": width, "activation": activation, "dropout": 0.1},
    }


def first_of_decoder(loaded: Loaded) -> str:
    """The role of the token that the decoder's input begins with: what the model learnt, else the end of a text."""
    for _, objective in loaded.model.each():
        start = getattr(objective.config, "start", getattr(getattr(objective.config, "sees", None), "start", None))
        kind = getattr(start, "kind", start)
        if kind in loaded.facts.special:
            return kind
    return next(role for role in ("eos", "sep", "pad") if role in loaded.facts.special)


def check_length(recipe: Recipe, wanted: int | None, usual: int, *, texts: int = 1) -> int:
    """Tokens a row, where the model reads `texts` of them one behind the other.

    Raises InputError if it has not so many places."""
    places = places_of(recipe.backbone)
    if wanted is None:
        return usual if places is None else min(usual, places // texts)
    if places is not None and wanted * texts > places:
        behind = " for text and answer together" if texts == 2 else ""
        raise InputError(
            f"--length {wanted}: this model has places for {places} tokens{behind}\n"
            f"  next: --length {places // texts} or less"
        )
    return wanted


def framed_facts(loaded: Loaded) -> Facts:
    """The model's facts, with start, delimiter and extract tokens where it is causal and its tokenizer has no frame."""
    facts = loaded.facts
    if not is_causal(loaded.recipe) or facts.tokenizer is None or "cls" in facts.special:
        return facts
    if "extract" in facts.special:
        return facts
    old = facts.tokenizer
    inner = hf.Tokenizer.from_str(old.inner.to_str())
    inner.add_special_tokens([hf.AddedToken(t, special=True, normalized=False) for t in GPT_TOKENS.values()])
    start, delimiter, extract = GPT_TOKENS.values()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {extract}",
        pair=f"{start} $A {delimiter} $B:1 {extract}:1",
        special_tokens=[(t, inner.token_to_id(t)) for t in GPT_TOKENS.values()],
    )
    roles = {role: inner.id_to_token(i) for role, i in old.special.items()}
    made = copy.copy(old)
    for known in ("pieces", "fingerprint"):  # of the old vocabulary
        made.__dict__.pop(known, None)
    made.adopt(inner, {**roles, **GPT_TOKENS})
    counts = None if facts.counts is None else torch.nn.functional.pad(torch.from_numpy(facts.counts), (0, 3)).numpy()
    return replace(
        facts, tokenizer=made, vocab=made.vocab, special=dict(made.special), continues=made.continues, counts=counts
    )


def grown(weights: dict[str, torch.Tensor], fresh: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`weights`, where a table has fewer rows than in the fresh model with the new rows put behind the old ones."""
    out = dict(weights)
    for name, tensor in weights.items():
        wanted = fresh.get(name)
        if wanted is not None and wanted.shape[1:] == tensor.shape[1:] and len(wanted) > len(tensor):
            out[name] = torch.cat([tensor, wanted[len(tensor) :].to(tensor)])
    return out


def weights_of(loaded: Loaded, *, renamed: dict[str, str]) -> dict[str, torch.Tensor]:
    """The model's tensors; an objective that goes on under another name takes its tensors with it."""
    out = {}
    for name, tensor in own_tensors(loaded.model).items():
        for old, new in renamed.items():
            if name.startswith(f"objectives.{old}."):
                name = f"objectives.{new}.{name.removeprefix(f'objectives.{old}.')}"
        out[name] = tensor
    return out
