"""The keys of a recipe and what they may hold; validated once, then frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from modeledge.core import Config, PartConfig, RecipeError, Slot, find, nearest, part
from modeledge.recipe.read import Path_, show_path
from modeledge.recipe.resolve import Tree

_TAKEN = frozenset(
    (
        "T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double "
        "dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu "
        "items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters "
        "parameters pop requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty train "
        "training type update values xpu zero_grad"
    ).split()
)
"""Words that a torch module dictionary uses itself, besides those that begin with `_` or `register_`."""

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Mix(Config):
    """How several objectives share the loop.

    sum: all in every step; sample: one a step, drawn with `rates` (`one+other: 2` draws both together). union: one a
    step, as if the batches of all had been shuffled together, so that each has its turn in proportion to its data
    (MT-DNN; a rate of 2: twice in an epoch). ramp: one a step, and they join one after the other, in the order of
    `rates` if given, which then also shares out the steps (ERNIE 2.0's sequential multi-task learning)."""

    kind: Literal["sum", "sample", "union", "ramp"] = "sum"
    rates: dict[str, Annotated[float, Field(gt=0)]] = {}


class Evaluate(Config):
    """Held-out evaluation: every so many steps (0: at the end only), over so many batches; stop after `patience`
    evaluations without improvement (0: never), and end with the weights of the best one."""

    every: Count = 0
    batches: Positive = 16
    patience: Count = 0


class Save(Config):
    """Checkpoints: at the end and on signals, every so many steps (0: not by steps), and when the last one is so many
    minutes old (0: not by the clock); keep the last `keep` and the best."""

    every: Count = 0
    minutes: Annotated[float, Field(ge=0)] = 5.0
    keep: Positive = 2


class Guard(Config):
    """What to do with a step whose loss or gradient is not finite: stop, or skip it (at most `skips` in a row)."""

    on_bad: Literal["stop", "skip"] = "stop"
    skips: Positive = 10


class Rampup(Config):
    """A batch that grows over the first `share` of the run, from `start` rows in equal strides of as many to
    `loop.batch` (Cramming, arXiv:2212.14034 §4.3; the learning rate does not follow it)."""

    start: Positive
    share: Annotated[float, Field(gt=0, le=1)] = 0.5


class Loop(Config):
    """The loop's own settings.

    batch: rows in a global batch; rampup: smaller ones at first; unit tokens: as many rows as hold the tokens of
    `batch` full ones; micro: rows in one forward pass (0: as measured); steps: optimizer steps; clip: the largest
    global gradient norm (0: off); precision auto: bf16 where a short measurement says it pays; frozen: parts of the
    model whose weights stay as they are, by the beginnings of their names (backbone.encoder); compile graphs: into
    CUDA graphs, for models so small that a GPU waits for their kernels to be started; auto: where it was seen to pay,
    of pictures on a CPU and by a trial on a GPU, in runs that are long enough; recompute: compute again in the
    backward, to save memory, what is large and cheap (selective), or all of a layer (full)."""

    steps: Positive = 1000
    batch: Positive = 64
    rampup: Rampup | None = None
    unit: Literal["rows", "tokens"] = "rows"
    micro: Count = 0
    seed: Count = 0
    clip: Annotated[float, Field(ge=0)] = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    frozen: tuple[str, ...] = ()
    compile: Literal[True, False, "graphs", "auto"] = "auto"
    recompute: Literal["none", "selective", "full"] = "none"
    workers: Count = 0
    evaluate: Evaluate = Evaluate()
    save: Save = Save()
    guard: Guard = Guard()

    @model_validator(mode="after")
    def _grows(self) -> Loop:
        if self.rampup is not None and self.batch % self.rampup.start:
            raise ValueError(f"batch is {self.batch}, no multiple of rampup.start ({self.rampup.start})")
        if self.rampup is not None and self.unit == "tokens":
            raise ValueError("rampup counts rows: it does not go with unit tokens")
        return self


class Unfreeze(Config):
    """Layers that are frozen at first: only what lies above all of them is trained, and from time to time a further
    group of layers from the top down (ULMFiT, arXiv:1801.06146 §3.3; the groups: `levels` of the backbone).

    joins: one number: the time from one group to the next; several: when each joins, the groups below those with the
    last of them. In steps, or as shares of the run where below 1."""

    joins: Annotated[float, Field(gt=0)] | Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]


class Recipe(Config):
    """A whole recipe, final and frozen."""

    family: str = ""
    source: str = ""
    data: dict[str, Annotated[PartConfig, Slot("data.sources")]] = Field(min_length=1)
    tokenizer: Annotated[PartConfig | None, Slot("tokenizers")] = None
    backbone: Annotated[PartConfig, Slot("backbones")]
    objectives: list[Annotated[PartConfig, Slot("objectives")]]
    mix: Mix = Mix()
    optim: Annotated[PartConfig, Slot("optim")] = part("adamw")
    schedule: Annotated[PartConfig, Slot("optim.schedules")] = part("linear")
    unfreeze: Unfreeze | None = None
    loop: Loop = Loop()
    sizes: dict[str, dict[str, Any]] = {}
    stages: list[dict[str, Any]] = []
    expect: dict[str, int | float | str] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        names = [objective_name(o) for o in self.objectives]
        for name in names:
            if not name.isidentifier() or name in _TAKEN or name.startswith(("_", "register_")):
                raise ValueError(f"an objective cannot be named {name!r}; take another word")
        if len(set(names)) < len(names):
            raise ValueError(f"two objectives are both named {max(names, key=names.count)!r}; give one a `name`")
        for key in (n for rate in self.mix.rates for n in rate.split("+")):
            if key not in names:
                raise ValueError(f"mix names {key!r}, which is not an objective here ({', '.join(names)})")
        if self.loop.rampup is not None and (streams := [n for n, s in self.data.items() if hasattr(s, "streams")]):
            raise ValueError(f"data.{streams[0]} is read in as many streams as a batch has rows: no loop.rampup")
        if self.loop.rampup is not None and self.mix.kind in ("union", "ramp"):
            raise ValueError(f"loop.rampup counts steps, and mix: {self.mix.kind} shares them out: only one of the two")
        for key, source in self.data.items():
            streams = getattr(source, "streams", self.loop.batch)
            if streams != self.loop.batch:
                raise ValueError(
                    f"data.{key}.streams is {streams} and loop.batch is {self.loop.batch}: a row of the batch is one"
                    f" stream, so that it remembers its own past; set both to the same"
                )
        tasks = getattr(getattr(self.backbone, "embedding", None), "types", {}).get("task")
        if tasks is not None and len(self.mix.rates or names) > tasks:
            raise ValueError(
                f"backbone.embedding.types.task has {tasks} rows and there are {len(self.mix.rates or names)} tasks"
            )
        places = places_of(self.backbone)
        for key, source in self.data.items():
            length = getattr(source, "length", 0)
            if places is not None and length > places and find("data.sources", source.kind).reads == "text":
                raise ValueError(
                    f"data.{key}.length is {length} and backbone.positions has {places} places: shorten the rows, or "
                    f"train with more places (backbone.positions.max)"
                )
        rows = getattr(getattr(self.backbone, "embedding", None), "types", {}).get("lang")
        named = {f"data.{key}.langs": getattr(source, "langs", None) for key, source in self.data.items()}
        for o in self.objectives:
            named[f"{objective_name(o)}.start.langs"] = getattr(getattr(o, "start", None), "langs", None)
            named[f"{objective_name(o)}.lang"] = (getattr(o, "lang", None) or 0,)
        for key, langs in named.items():
            last = max(langs or (0,))
            if rows is not None and last >= rows:
                raise ValueError(
                    f"{key} names language {last} and backbone.embedding.types.lang has {rows} rows, for the"
                    f" languages 0 to {rows - 1}"
                )
        for o in self.objectives:
            on = getattr(o, "on", None)
            if on is not None and on not in self.data:
                raise ValueError(
                    f"objective {objective_name(o)!r} reads on: {on!r}, which is not in data ({', '.join(self.data)})"
                )
        return self


def places_of(backbone: PartConfig) -> int | None:
    """Tokens a row of the backbone may have; None where there is no limit."""
    positions = getattr(backbone, "positions", None)
    most = getattr(positions, "max", None)
    return None if most is None else most - getattr(positions, "offset", 0)


def objective_name(config: PartConfig) -> str:
    """The name an objective goes by in losses, weights and state: its `name`, else its kind."""
    return getattr(config, "name", None) or config.kind


def check(tree: Tree) -> Recipe:
    """Validate a resolved tree. Raises RecipeError: where each value came from, what was found, the nearest key."""
    keys = {k: v for k, v in tree.keys.items() if k != "extends"}
    try:
        return Recipe.model_validate(keys)
    except ValidationError as error:
        lines = [_line(tree, e) for e in _fitting(keys, _flat(error.errors()))]
        raise RecipeError("\n".join(dict.fromkeys(lines))) from None


def _flat(errors: Any, above: Path_ = (), room: tuple[str, str] | None = None) -> list[dict[str, Any]]:
    out = []
    for e in errors:
        loc = (*above, *e["loc"])
        context = e.get("ctx", {})
        if e["type"] == "part_inner":
            out += _flat(context["inner"], loc, (context["room"], context["part"]))
        else:
            out.append({**e, "loc": loc, "part": room, "above": above})
    return out


def _fitting(keys: dict[str, Any], errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The errors, with paths that the tree has. Where a value may have one of several shapes pydantic says what is
    wrong with each and names it in the path: what is told is of the shapes that fit farthest."""
    out = []
    farthest: dict[Path_ | None, int] = {}
    for e in errors:
        above, _ = _walk(keys, e["above"])
        loc, fork = _walk(keys, e["loc"], lacks=e["type"] == "missing")
        out.append(({**e, "loc": loc, "above": above}, fork))
        farthest[fork] = max(farthest.get(fork, 0), len(loc))
    return [e for e, fork in out if fork is None or len(e["loc"]) == farthest[fork]]


def _walk(keys: dict[str, Any], path: Path_, *, lacks: bool = False) -> tuple[Path_, Path_ | None]:
    """A path without the steps that are no keys, and where the first of those stood. `lacks`: the last step is a key
    that is missing."""
    out: list[str | int] = []
    here: Any = keys
    fork: Path_ | None = None
    for i, step in enumerate(path):
        items = enumerate(here) if isinstance(here, list) else here.items() if isinstance(here, dict) else ()
        inside: dict[Any, Any] = dict(items)
        if step in inside:
            here = inside[step]
        elif not (lacks and i == len(path) - 1):
            fork = tuple(out) if fork is None else fork
            continue
        out.append(step)
    return tuple(out), fork


def _fields(error: dict[str, Any], end: int | None = -1) -> list[str]:
    """The keys allowed where an unknown one was found (end: None, in the place of what was found)."""
    model: Any = find(*error["part"]).Config if error["part"] else Recipe
    for step in error["loc"][len(error["above"]) : end]:
        field = getattr(model, "model_fields", {}).get(step)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()  # the field itself, or it or None
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return [f for f in getattr(model, "model_fields", {}) if f != "kind" or error["part"]]


def close_choice(error: Mapping[str, Any]) -> str:
    """ "; did you mean ...?" for a word that is none of the choices, if one of them is near."""
    close = nearest(str(error["input"]), re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", ""))))
    return f"; did you mean {close!r}?" if close else ""


def _line(tree: Tree, error: dict[str, Any]) -> str:
    path = error["loc"]
    place = tree.place(path)
    where = f"{place}: {show_path(path)}" if place else f"{tree.name}: {show_path(path)}"
    if error["type"] == "extra_forbidden":
        fields = _fields(error)
        close = nearest(str(path[-1]), fields)
        hint = f"; did you mean {close!r}?" if close else ""
        return f"{where}: there is no such key{hint}\n  allowed here: {', '.join(sorted(fields))}"
    if error["type"] == "part_unknown":
        return f"{where}: {error['msg'].split(': ', 1)[-1]}"
    if error["type"] == "missing":
        return f"{where}: this key is needed and missing"
    if error["type"] == "model_type" and (fields := _fields(error, None)):
        return f"{where}: holds {', '.join(fields)}; found {error['input']!r}"
    if error["type"] == "literal_error":
        return f"{where}: {error['msg']}; found {error['input']!r}{close_choice(error)}"
    found = "" if error["type"] in ("value_error", "part_kind") else f"; found {error.get('input')!r}"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{found}"
