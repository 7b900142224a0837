"""The base of a model type: its tables of names and settings, and what is done with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.core import Batch, Facts, InputError, Output, Part, PartConfig, build, find
from modeledge.interop._names import Move, Names, expand, to_ours, to_theirs
from modeledge.interop._settings import Key, complete, differences, place, put, read, write
from modeledge.layers import Sizes
from modeledge.visibility import Seen, see
from modeledge.visibility.full import full
from modeledge.visibility.valid import valid

FREE = re.compile(r"\b(init|pixels|std|zero_gain)\b")
"""Settings of a backbone that mean nothing to a trained model's tensors, or that their configuration does not hold."""


class Port(Part):
    """One Hugging Face `model_type`, which is the name of the file (a hyphen there is an underscore here).

    keys      settings of the backbone
    same      settings that every model of the type has
    body      names of the backbone's tensors, without what is optional
    parts     names of what a folder may have besides: the pooler, and heads by the kind of their objective
    prefix    of the backbone's names in a model with heads
    twins     names that repeat a tensor under another name, and the name it repeats
    classes   (parts, class) from most to least parts; the class written as `architectures`
    towers    names of the towers of two-tower models
    inner     folders inside the folder that hold companions, and their model types
    recipe    the shipped recipe that trains such models, where it is not named like the type
    tokenizers   folders (from the folder) that hold the tokenizer"""

    spelled = ""
    """The model type where it is not the name of the file."""
    keys: tuple[Key, ...] = ()
    same: Mapping[str, Any] = {}
    body: Names = {}
    parts: Mapping[str, Names] = {}
    prefix: str = ""
    twins: Mapping[str, str] = {}
    classes: Sequence[tuple[set[str], str]] = ()
    towers: tuple[str, ...] = ()
    inner: Mapping[str, str] = {}
    recipe = ""
    tokenizers: tuple[str, ...] = ("",)
    ignored: tuple[str, ...] = ("position_ids", "token_type_ids", "num_batches_tracked")

    def __init__(self, config: PartConfig | None = None):
        self.type = self.spelled or type(self).__module__.rsplit(".", 1)[-1]

    # -- from a Hugging Face folder

    def settings(self, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        """The recipe's `backbone` and `objectives` and the `facts` that this configuration and these parts mean."""
        backbone = read(self.keys, config, where=f"config.json ({self.type})")
        for path, value in self.same.items():
            put(backbone, path, value)
        self.adjust(backbone, config, parts)
        heads = [self.objective(p, config, parts) for p in self.heads(parts)]
        special = {role: config.get(f"{role}_token_id") for role in ("pad", "bos", "eos")}
        facts = {"vocab": config.get("vocab_size", 0), "special": {k: v for k, v in special.items() if v is not None}}
        if "id2label" in config:
            names = {int(i): name for i, name in config["id2label"].items()}
            facts["labels"] = {"label": [names[i] for i in sorted(names)]}
        return {"backbone": backbone, "objectives": heads, "facts": facts}

    def adjust(self, backbone: dict[str, Any], config: Mapping[str, Any], parts: set[str]) -> None:
        """The last touch on the backbone's settings: what a table cannot say. Raises InputError for what we lack."""

    def objective(self, part: str, config: Mapping[str, Any], parts: set[str]) -> dict[str, Any]:
        """The objective whose head the part is."""
        return {"kind": part, "head": {"kind": "classifier"}}

    def state(self, settings: Mapping[str, Any], parts: set[str], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors from theirs."""
        return to_ours(self.table(settings["backbone"], parts), theirs, where=f"the folder ({self.type})")

    def clean(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The folder's tensors under the names the table has: old spellings, buffers and repetitions are gone."""
        out: dict[str, Tensor] = {}
        for name, tensor in theirs.items():
            if name.endswith(self.ignored):
                continue
            name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
            out[name] = tensor
        heads = [n for names in self.parts.values() for n in names if not n.startswith(self.prefix)]
        if self.prefix and not any(n.startswith(self.prefix) for n in out):
            out = {n if n in heads else self.prefix + n: t for n, t in out.items()}
        for twin, original in self.twins.items():
            if twin in out and original not in out:  # which of two names a shared tensor is saved under is up to them
                out[original] = out.pop(twin)
            if twin in out and original in out and torch.equal(out[twin], out[original]):
                del out[twin]
        return out

    def found(self, theirs: Mapping[str, Tensor], config: Mapping[str, Any]) -> set[str]:
        """Which of the optional parts the folder has, by the class it names or else by its tensors.

        A folder may hold more heads than its class has (bert-base-uncased names BertForMaskedLM and holds the head of
        next sentences): the class that has those as well is taken."""
        named = (config.get("architectures") or [""])[0]
        pool = {"pool"} if any(n in theirs for n in self.parts.get("pool", ())) else set()
        for wanted in (w for w, name in self.classes if name == named):
            there = {p for p, names in self.parts.items() if names and all(n in theirs for n in names)} | wanted
            return next(w for w, _ in self.classes if wanted <= w <= there) | pool
        return pool | {p for p, names in self.parts.items() if not names or any(n in theirs for n in names)}

    def refuse(self, config: Mapping[str, Any], **allowed: tuple[Any, ...]) -> None:
        """Raise InputError if a key has another value than these (the first is what an absent key means)."""
        for key, values in allowed.items():
            if config.get(key) is not None and config[key] not in values:
                wanted = ", ".join(map(repr, values))
                raise InputError(
                    f"config.json ({self.type}): {key}: {config[key]!r} is not supported\n  known: {wanted}"
                )

    def heads(self, parts: set[str]) -> list[str]:
        """The parts that are heads of objectives, in the order of the table."""
        return [p for p in self.parts if p in parts and p != "pool"]

    # -- to a Hugging Face folder

    def has(self, tree: Mapping[str, Any], state: Mapping[str, Tensor]) -> set[str]:
        """Which of the optional parts a model of ours has."""
        pool = "pool" in self.parts and (tree["backbone"].get("pool") or {}).get("kind") == "first"
        return {o["kind"] for o in tree["objectives"] if o["kind"] in self.parts} | ({"pool"} if pool else set())

    def prepare(
        self, backbone: dict[str, Any], facts: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The same model in a form that the type can express."""
        return backbone, state

    def companions(
        self, tree: Mapping[str, Any], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[dict[str, Any], dict[str, Tensor]]]]:
        """The model's own tensors, and models that are folders of their own there (name: settings, tensors)."""
        return state, {}

    def config(self, backbone: Mapping[str, Any], parts: set[str], facts: Mapping[str, Any]) -> dict[str, Any]:
        """config.json of a model with this (completed) backbone and these parts."""
        out = {"model_type": self.type, "architectures": [self.class_of(parts)], "dtype": "float32"}
        out |= write(self.keys, backbone)
        if facts.get("vocab"):
            out["vocab_size"] = facts["vocab"]
        for role in ("pad", "bos", "eos"):
            if role in facts.get("special", {}):
                out[f"{role}_token_id"] = facts["special"][role]
        labels = facts.get("labels") or {}
        names = labels.get("label") or next(iter(labels.values()), None)
        if names and parts & LABELLED:
            out["id2label"] = {str(i): name for i, name in enumerate(names)}
            out["label2id"] = {name: i for i, name in enumerate(names)}
        return out

    def told(self, objectives: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Keys of config.json that the objectives decide."""
        return {}

    def class_of(self, parts: set[str]) -> str:
        """The class of transformers that has these parts. Raises InputError if there is none."""
        for wanted, name in self.classes:
            if parts - {"pool"} == wanted - {"pool"}:
                return name
        raise InputError(f"{self.type}: no class of transformers has these heads together: {', '.join(sorted(parts))}")

    def tensors(self, backbone: Mapping[str, Any], parts: set[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors from ours; a model without heads has no prefix."""
        out = to_theirs(self.table(backbone, parts), ours, where=f"{self.type}: the model")
        return out if self.heads(parts) else {name.removeprefix(self.prefix): t for name, t in out.items()}

    def merge(self, found: Any, inner: Any) -> Any:
        """The model of a folder with that of a folder inside it."""
        raise NotImplementedError

    def fresh(self, objective: Mapping[str, Any]) -> tuple[str, ...]:
        """Tensors that the objective has and the folder does not: beginnings of their names."""
        return ()

    # -- both

    def table(self, backbone: Mapping[str, Any], parts: set[str]) -> dict[str, Move]:
        """Every name of a model with this backbone and these parts."""
        names = dict(self.body)
        for part in self.parts:
            if part in parts:
                names.update(self.parts[part])
        return expand(names, self.layers(backbone))

    def layers(self, backbone: Mapping[str, Any]) -> int | list[tuple[int, int]]:
        """How `{i}` runs."""
        return backbone["layers"]

    # -- the same batch through both

    def batch(self, backbone: Mapping[str, Any], facts: Mapping[str, Any]) -> Batch:
        """A small random batch whose second row is shorter."""
        length = max(2, min(16, (place(backbone, "positions.max") or 16) - (place(backbone, "positions.offset") or 0)))
        pad = facts.get("special", {}).get("pad", 0)
        ids = torch.randint(0, facts["vocab"], (2, length))
        ids = torch.where(ids == pad, (pad + 1) % facts["vocab"], ids)
        real = torch.arange(length) < torch.tensor([[length], [max(1, length // 2)]])
        batch = Batch(ids=ids.masked_fill(~real, pad), valid=real)
        if (segments := place(backbone, "embedding.types.segments") or 0) > 1:
            batch = batch.but(segments=torch.randint(0, segments, ids.shape) * real)
        return batch

    def ours(self, backbone: nn.Module, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        """Scores of our model by part, of valid tokens only; `states` if it has no head."""
        out = backbone(batch, self.seen(batch))
        return self.scores(out, heads, batch) or {"states": out.states[batch.valid]}

    def seen(self, batch: Batch) -> Seen:
        """Who sees whom in a model of this type."""
        return see(valid(batch.valid) if "valid" in batch else full, *batch.ids.shape, device=batch.ids.device)

    def scores(self, out: Output, heads: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        """The heads' scores by part."""
        found = {part: head(out, batch, pooled=part in POOLED) for part, head in heads.items()}
        return {part: x if part in POOLED else x[batch.valid] for part, x in found.items()}

    def theirs(self, model: Any, parts: set[str], batch: Batch) -> dict[str, Tensor]:
        """The same of a model of transformers."""
        inputs = {"input_ids": batch.ids, "attention_mask": batch.valid.long()}
        if "segments" in batch:
            inputs["token_type_ids"] = batch.segments
        out = model(**inputs)
        heads = self.heads(parts)
        if not heads:
            return {"states": out.last_hidden_state[batch.valid]}
        if "span_qa" in heads:
            out["logits"] = torch.stack([out.start_logits, out.end_logits], -1)
        found = {p: out[self.fields.get(p, "logits") if len(heads) > 1 else "logits"] for p in heads}
        return {p: x if p in POOLED else x[batch.valid] for p, x in found.items()}

    fields: Mapping[str, str] = {}
    """Where the outputs of a class with several heads hold each part's scores."""


POOLED = {"nsp", "sop", "classify", "choice", "image_label"}
LABELLED = {"classify", "tag", "image_label"}


class Asked(nn.Module):
    """An objective's head, with the pool of its own if it has one."""

    def __init__(self, part: str, objective: Mapping[str, Any], facts: Facts, backbone: Any):
        super().__init__()
        labels = len(facts.labels.get("label", ())) or 2
        outputs = {"nsp": 2, "sop": 2, "span_qa": 2, "rtd": 1, "choice": 1}.get(part, labels)
        self.pool = None
        config = find("heads", objective["head"]["kind"]).Config.model_validate(objective["head"])
        sized = {} if config.kind == "token" else {"outputs": outputs}
        self.head: nn.Module = build("heads", config, facts, backbone, **sized)
        if objective.get("pool"):
            pool = find("layers.pools", objective["pool"]["kind"]).Config.model_validate(objective["pool"])
            sizes = Sizes(width=backbone.width, heads=1, head_width=backbone.width)
            self.pool = build("layers.pools", pool, sizes)

    def forward(self, out: Output, batch: Batch, *, pooled: bool) -> Tensor:
        if not pooled:
            found = self.head(out.states)
            return found.squeeze(-1) if found.shape[-1] == 1 else found
        return self.head(out.pooled if self.pool is None else self.pool(out.states, batch))


def same_backbone(port: Port, backbone: Mapping[str, Any], back: Mapping[str, Any]) -> None:
    """Raise InputError where a backbone has settings that the model type cannot express."""
    lost = [d for d in differences(backbone, complete(back)) if not FREE.search(d.split(":")[0])]
    if lost:
        raise InputError(f"{port.type}: the backbone cannot be written as this model type\n  " + "\n  ".join(lost[:5]))
