"""Records of typed entities with one of them missing: a name for it, by a model that was pre-trained on such records.

A record is a JSON object of the fields the model was trained on, a text or a list of texts each, of which one is
[MASK]. Not here: the search (analysis/names.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from modeledge.analysis.names import Entity, write_names
from modeledge.core import IGNORE, Batch, InputError, unknown
from modeledge.data._fields import entities_of
from modeledge.data.readers import Record
from modeledge.run.fill import MASK, filler_of
from modeledge.run.keep import Loaded
from modeledge.run.search import Beam, Greedy, Sample

TOP = 3
"""Names that are told of each length."""


def reads_records(loaded: Loaded) -> bool:
    """Whether a model was pre-trained on records of typed entities."""
    return any(config.kind == "typed_entities" for config in loaded.recipe.data.values())


def scorer(loaded: Loaded, place: Any) -> Callable[[Batch], Tensor]:
    """Scores of every token at the labelled places of a batch, m v. Raises InputError for a model that fills none."""
    objective, model = filler_of(loaded), loaded.model.to(place).eval()

    def score(batch: Batch) -> Tensor:
        ready = objective.finish(batch).tensors(place)
        scores: Tensor = objective.scores(objective.run(model.backbone, ready), ready)  # type: ignore[operator]
        return scores[ready.targets != IGNORE]

    return score


def fill_records(
    loaded: Loaded, texts: Sequence[str], how: Greedy | Sample | Beam, *, limit: int
) -> list[dict[str, Any]]:
    """One dict a record: `filled`, the record with the likeliest name, and `guesses`: names with the mean probability
    of their tokens, best first, of every length up to `limit` and to that of the longest names of its training.

    Raises InputError for what is no record, unknown fields, and anything but one [MASK]."""
    name = next(n for n, c in loaded.recipe.data.items() if c.kind == "typed_entities")
    config: Any = loaded.recipe.data[name]
    fields, tokenizer = loaded.facts.labels.get(name) or [], loaded.facts.tokenizer
    score, beams = scorer(loaded, loaded.place), how.beams if isinstance(how, Beam) else 1
    found = []
    for text in texts:
        record = read_record(text, fields)
        known = list(entities_of(Record(dict.fromkeys(fields) | record, "--text", 1), fields))
        place = [said == MASK for _, said in known].index(True)
        ids = tokenizer.encode_batch([said for _, said in known])
        entities: list[Entity] = [(kind + 1, i.astype(np.int64)) for (kind, _), i in zip(known, ids, strict=True)]
        most = min(limit, int(config.longest))
        room = config.length - 2 - most
        if len(known) > config.most or sum(len(i) for i in ids) > room:
            raise InputError(
                f"{text[:60]!r}...: {len(known)} names of {sum(len(i) for i in ids)} tokens; this model reads "
                f"{config.most} of {room}\n  next: leave out what says least"
            )
        guesses: list[tuple[str, float]] = []
        for size in range(1, most + 1):
            names = write_names(score, entities, place, loaded.facts, size=size, beams=max(beams, TOP))
            guesses += [(tokenizer.decode(name), float(np.exp(log_p / size))) for name, log_p in names[:TOP]]
        guesses.sort(key=lambda pair: -pair[1])
        found.append({"text": text, "filled": put(record, guesses[0][0]), "guesses": guesses[: max(TOP, beams)]})
    return found


def put(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The record with the name where [MASK] stood."""
    swap = {MASK: name}
    return {f: [swap.get(x, x) for x in v] if isinstance(v, list) else swap.get(v, v) for f, v in record.items()}


def read_record(text: str, fields: Sequence[str]) -> dict[str, Any]:
    """The record of a JSON text. Raises InputError naming what is wrong with it."""
    form = f'a record, like {{"{fields[0]}": "{MASK}", ...}}' if fields else "a record"
    try:
        record = json.loads(text)
    except ValueError:
        raise InputError(f"{text!r}: not JSON\n  next: write {form}; its fields are {', '.join(fields)}") from None
    if not isinstance(record, dict):
        raise InputError(f"{text!r}: not an object\n  next: write {form}")
    for name in record:
        if name not in fields:
            raise InputError(unknown(f"the record {text!r}", "field", name, fields))
    hidden = [v for value in record.values() for v in (value if isinstance(value, list) else [value]) if v == MASK]
    if len(hidden) != 1:
        raise InputError(f"{text!r}: {len(hidden)} names are hidden in it, one is wanted\n  next: write {form}")
    return record
