"""What a model knows before it is taught a task: probes on its features, classes by their names, pictures and captions,
and its own losses on other data.

Sources: linear probes and zero-shot classes, CLIP, arXiv:2103.00020 §3.1-3.2; the measures themselves: analysis/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modeledge.analysis.links import link_prediction, link_ranks
from modeledge.analysis.names import ask, naming, score_names
from modeledge.analysis.probe import linear_probe, nearest_neighbours
from modeledge.analysis.retrieval import retrieval_of_pairs
from modeledge.analysis.zero_shot import class_vectors, text_embedder, zero_shot
from modeledge.core import Batch, InputError, build, find, keyed, unknown
from modeledge.data.store import Store
from modeledge.engine.device import choose_device
from modeledge.objectives import Objective
from modeledge.objectives._show import show
from modeledge.run.answer import held_out, numbered, open_for, outputs
from modeledge.run.evaluate import evaluate
from modeledge.run.feed import Feed
from modeledge.run.forms import is_causal
from modeledge.run.keep import Loaded
from modeledge.run.look_up import evaluate_search
from modeledge.run.records import reads_records, scorer
from modeledge.run.tasks import known_columns

ROWS = 128
"""Pictures in one forward pass."""
OTHERS = 9
"""Wrong names beside the right one."""


@dataclass
class Asked:
    """A model, data and how to look at them."""

    loaded: Loaded
    data: str | Path
    columns: dict[str, Any]
    device: torch.device

    def rows(self, store: Any) -> Any:
        """Labelled rows of a table, or pictures of a store."""
        if isinstance(store, Store) and "image" in store:
            kind = "image_text" if "tokens" in store else "images"
            return build(
                "data.sources", find("data.sources", kind).Config(kind=kind), store, self.loaded.facts, "train"
            )
        columns = known_columns("classify", self.columns)
        config = find("data.sources", "table").Config.model_validate({"kind": "table", **columns})
        return build("data.sources", config, store, self.loaded.facts, "train")

    def split(self) -> tuple[Any, Any]:
        """Rows to fit on and rows to judge on. Raises InputError if nothing was held out."""
        store = open_for(self.loaded, self.data)
        if store.valid is None:
            raise InputError(
                f"{self.data}: there are no held-out rows to judge on\n"
                "  next: a file x.valid.* beside x.train.*, or a store with a held-out part"
            )
        return self.rows(store), self.rows(store.valid)

    # -- vectors ------------------------------------------------------------------------------------------------------

    def vectors(self, source: Any) -> tuple[Tensor, np.ndarray]:
        """One vector a row (n d) and the rows' classes. Raises InputError for rows without classes."""
        pictures = source.config.kind != "table"
        label = source.label if hasattr(source, "label") else source.store["label"] if "label" in source.store else None
        if label is None:
            raise InputError(f"{self.data}: these rows have no label\n  next: --column label=COLUMN")
        return (self.pictures(source) if pictures else self.texts(source)), np.array(label)

    def texts(self, source: Any) -> Tensor:
        """The mean of the token states of each row."""
        model, facts = self.loaded.model, self.loaded.facts
        sees = "causal" if is_causal(self.loaded.recipe) else "full"
        config = find("objectives", "embed").Config.model_validate({"kind": "embed", "sees": sees})
        reader = build("objectives", config, facts, model.backbone)
        return torch.from_numpy(np.stack(outputs(model, reader, source, device=self.device)))

    @torch.no_grad()
    def pictures(self, source: Any) -> Tensor:
        """The pooled vector of each picture."""
        model, objective = self.loaded.model.to(self.device).eval(), self.shown()
        found = []
        for first in range(0, len(source), ROWS):
            index = np.arange(first, min(first + ROWS, len(source)))
            raw = source.rows(index, keyed("frozen", first)).image
            image = show(raw, keyed("frozen"), objective.config.show, training=False)
            out = objective.run(model.backbone, Batch(image=image).tensors(self.device))
            found.append((out.towers["image"] if out.towers else out).pooled.float().cpu())
        return torch.cat(found)

    def shown(self) -> Any:
        """The objective that says how pictures are shown. Raises InputError for a model that sees none."""
        known = next((o for _, o in self.loaded.model.each() if hasattr(o.config, "show")), None)
        if known is None:
            raise InputError(f"{self.loaded.path}: this model sees no pictures")
        return known

    def dual(self) -> Any:
        """The objective of a model of pictures and texts. Raises InputError for another model."""
        known = next((o for _, o in self.loaded.model.each() if o.config.kind == "contrast"), None)
        if known is None:
            raise InputError(
                f"{self.loaded.path}: not a model of pictures and texts\n  next: one from a recipe like clip"
            )
        return known


def probe(asked: Asked) -> dict[str, float]:
    """Accuracy of a linear classifier on frozen vectors, its penalty chosen on a fifth of the training rows."""
    train, test = asked.split()
    return linear_probe(asked.vectors(train), asked.vectors(test))


def knn(asked: Asked) -> dict[str, float]:
    """Accuracy of the commonest class among the nearest training rows."""
    train, test = asked.split()
    return nearest_neighbours(asked.vectors(train), asked.vectors(test))


def named_classes(asked: Asked) -> dict[str, float]:
    """Pictures classified by the names of their classes."""
    objective, loaded = asked.dual(), asked.loaded
    source = asked.rows(held_out(open_for(asked.loaded, asked.data)))
    names = list(source.store.meta.get("labels") or [])
    if not names:
        raise InputError(f"{asked.data}: the classes of these pictures have no names")
    length = next(iter(loaded.recipe.data.values())).length  # type: ignore[attr-defined]
    backbone = loaded.model.backbone

    def text(batch: Batch) -> Tensor:
        return objective.embed(backbone, batch)["text"]

    embed = text_embedder(loaded.model, text, loaded.facts, length=length)
    images, labels = asked.vectors(source)
    return zero_shot(images, labels, class_vectors(embed, names))


@torch.no_grad()
def search(asked: Asked) -> dict[str, float]:
    """Pictures found by their captions, and the reverse; passages found by queries."""
    towers = getattr(asked.loaded.recipe.backbone, "towers", None)
    if towers is not None and towers.query is not None:
        return evaluate_search(asked.loaded, asked.data, asked.columns, asked.device)
    objective, loaded = asked.dual(), asked.loaded
    store = held_out(open_for(asked.loaded, asked.data))
    config = next(iter(loaded.recipe.data.values()))
    source = build("data.sources", config, store, loaded.facts, "train")
    model = loaded.model.to(asked.device).eval()
    found: dict[str, list[Tensor]] = {"image": [], "text": []}
    seen: list[bytes] = []
    for first in range(0, len(source), ROWS):
        index = np.arange(first, min(first + ROWS, len(source)))
        batch = objective.view(source.rows(index, keyed("frozen", first)), keyed("frozen"))
        seen += [image.tobytes() for image in batch.image]
        for name, vectors in objective.embed(model.backbone, batch.tensors(asked.device)).items():
            found[name].append(vectors.cpu())
    _, picture = np.unique(np.array([hash(s) for s in seen]), return_inverse=True)
    both = retrieval_of_pairs(torch.cat(found["image"]), torch.cat(found["text"]), picture.reshape(-1))
    return {f"{way} {name}": value for way, figures in both.items() for name, value in figures.items()}


def losses(asked: Asked) -> dict[str, float]:
    """The model's own losses (nats per target) and metrics on a store, all its rows or the held-out part."""
    loaded, model = asked.loaded, asked.loaded.model.to(asked.device)
    whole: Any = open_for(asked.loaded, asked.data)
    split = "valid" if isinstance(whole, Store) and whole.valid is not None else "train"
    data = [(n, numbered(loaded, c, n)) for n, c in loaded.recipe.data.items()]
    sources = {n: build("data.sources", c, whole, loaded.facts, split) for n, c in data}
    for _, objective in model.each():
        if type(objective).consult is not Objective.consult:
            objective.consult({n: build("data.sources", c, whole, loaded.facts, "train") for n, c in data})
    apart = any(source.ordered for source in sources.values())  # what is remembered of a row has its place in the batch
    rows = loaded.recipe.loop.batch if apart else 64
    feed = Feed(sources, dict(model.each()), loaded.recipe.mix, batch=rows, micro=64, seed=0, total=1, split="valid")
    return evaluate(model, feed, batches=1 << 30, device=asked.device, precision="fp32")


@torch.no_grad()
def links(asked: Asked) -> dict[str, float]:
    """Ranks of the right entity among all, for both ends of held-out triples."""
    loaded, model = asked.loaded, asked.loaded.model.to(asked.device).eval()
    known = next((o for _, o in model.each() if o.config.kind == "translate"), None)
    if known is None:
        raise InputError(f"{loaded.path}: not a model of triples\n  next: one from a recipe like transe")
    objective: Any = known
    config = loaded.recipe.data[objective.config.on or next(iter(loaded.recipe.data))]
    source = build("data.sources", config, open_for(asked.loaded, asked.data), loaded.facts, "train")
    held = source.store.valid or source.store
    if objective.pool is None:
        vectors = model.backbone.embed.weight.detach()  # type: ignore[union-attr]
    else:
        found = []
        for first in range(0, source.graph.entities, ROWS):
            some = np.arange(first, min(first + ROWS, source.graph.entities))
            batch = Batch({k: v[:, None] for k, v in source.describe(some).trim().items()}).tensors(asked.device)
            found.append(objective.vectors(objective.run(model.backbone, batch), batch)[:, 0].float())
        vectors = torch.cat(found)
    if len(vectors) != source.graph.entities:
        raise InputError(f"{asked.data}: {source.graph.entities} entities, the model was trained on {len(vectors)}")
    relations = objective.relations.weight.detach()
    ranks = link_ranks(vectors.cpu(), relations.cpu(), held["triples"], source.graph.known, norm=objective.config.norm)
    return link_prediction(ranks)


@torch.no_grad()
def names(asked: Asked) -> dict[str, float]:
    """A name taken out of each held-out record, found again among nine others of its type."""
    loaded, config = asked.loaded, next(iter(asked.loaded.recipe.data.values()))
    if not reads_records(loaded):
        raise InputError(f"{loaded.path}: not a model of typed entities\n  next: one from a recipe like oag_bert")
    score = scorer(loaded, asked.device)
    source = build("data.sources", config, held_out(open_for(asked.loaded, asked.data)), loaded.facts, "train")
    records, longest = [source.entities(i) for i in range(len(source))], source.config.longest
    pool: dict[int, list[np.ndarray]] = {}
    for kind, ids in dict.fromkeys((k, tuple(v)) for r in records for k, v in r if len(v) <= longest):
        pool.setdefault(kind, []).append(np.array(ids))

    ranks, room = [], source.config.length - 2 - longest
    for number, record in enumerate(records):
        places = [n for n, (k, ids) in enumerate(record) if len(ids) <= longest and len(pool[k]) > OTHERS]
        if not places or not 2 <= len(record) <= source.config.most or sum(len(ids) for _, ids in record) > room:
            continue
        rng = keyed("names", number)
        kind, right = record[place := int(rng.choice(places))]
        others = [n for n in pool[kind] if tuple(n) != tuple(right)]
        drawn = [others[i] for i in rng.permutation(len(others))[:OTHERS]]
        found = score_names(score, ask(record, place, [right, *drawn], loaded.facts))
        ranks.append(1 + int((found[1:] >= found[0]).sum()))
    if not ranks:
        raise InputError(f"{asked.data}: no record with a name among at least {OTHERS + 1} of its type")
    return naming(ranks, OTHERS + 1)


LOOKS: dict[str, Callable[[Asked], dict[str, float]]] = {
    "probe": probe,
    "knn": knn,
    "zero_shot": named_classes,
    "retrieval": search,
    "loss": losses,
    "links": links,
    "names": names,
}


def look(
    loaded: Loaded, data: str | Path, task: str, *, columns: dict[str, Any] | None = None, device: str = "auto"
) -> dict[str, float]:
    """One of LOOKS at a model that was not taught a task. Raises InputError naming the nearest for another name."""
    if task not in LOOKS:
        raise InputError(unknown(f"--task {task}", "way to look at a model that was not fine-tuned", task, LOOKS))
    return LOOKS[task](Asked(loaded, data, columns or {}, choose_device(device)))
