"""A backbone and its objectives, as the loop sees them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from modeledge.core import Batch, Facts, RecipeError, Sum, build, seed_of, unknown
from modeledge.objectives import Objective
from modeledge.recipe.schema import Recipe, objective_name


class Model(nn.Module):
    """`backbone` and `objectives` (by name). Parameters are named backbone.* and objectives.<name>.*."""

    objectives: nn.ModuleDict

    def __init__(self, recipe: Recipe, facts: Facts):
        super().__init__()
        self.backbone = build("backbones", recipe.backbone, facts)
        self.objectives = nn.ModuleDict()
        for config in recipe.objectives:
            self.objectives[objective_name(config)] = build("objectives", config, facts, self.backbone)
        for name, objective in self.each():
            other = getattr(objective.config, "share", None)
            if other is not None:
                if other not in self.objectives:
                    raise RecipeError(
                        f"objectives.{name}.share: no objective named {other!r} ({', '.join(self.objectives)})"
                    )
                objective.head = self.objectives[other].head
            objective.prepare(recipe.loop.batch)

    def each(self) -> list[tuple[str, Objective]]:
        """(name, objective) in the recipe's order."""
        return [(name, o) for name, o in self.objectives.items()]  # type: ignore[misc]

    def layer_groups(self) -> list[list[str]]:
        """Names of the trained parameters in groups from the input to the output: the levels of the backbone, and on
        top what the objectives add. A parameter that several layers share belongs to the lowest of them."""
        levels = getattr(self.backbone, "levels", list)() or [()]
        groups: list[list[str]] = [[] for _ in (*levels, "objectives")]
        for name, parameter in self.named_parameters():  # a shared one comes once, under its first name
            home, _, inner = name.partition(".")
            at = len(levels)
            if home == "backbone":
                found = (i for i, parts in enumerate(levels) if any(f"{inner}.".startswith(f"{p}.") for p in parts))
                at = next(found, len(levels) - 1)
            if parameter.requires_grad:
                groups[at].append(name)
        return [group for group in groups if group]

    def forward(self, names: Sequence[str], batch: Batch) -> dict[str, Sum]:
        """The losses of the objectives `names`, which share this batch; the first decides who sees whom."""
        first: Objective = self.objectives[names[0]]  # type: ignore[assignment]
        if len(names) == 1:
            return first(self.backbone, batch)
        out = first.run(self.backbone, batch)
        return {k: v for n in names for k, v in self.objectives[n].loss(out, batch).items()}  # type: ignore[operator]

    def judge(self, names: Sequence[str], batch: Batch) -> dict[str, Sum]:
        """The losses of `forward`, and what each objective measures besides as `<objective>.<average>`. Objectives with
        the plain forward are judged by one pass of the backbone."""
        first: Objective = self.objectives[names[0]]  # type: ignore[assignment]
        if type(first).forward is not Objective.forward:
            found = self(names, batch)
            further = {names[0]: first.measure(self.backbone, batch)}
        else:
            objectives: list[Objective] = [self.objectives[n] for n in names]  # type: ignore[misc]
            out = first.run(self.backbone, batch)
            found = {k: v for o in objectives for k, v in o.loss(out, batch).items()}
            further = {n: o.metrics(out, batch) for n, o in zip(names, objectives, strict=True)}
        return found | {f"{n}.{k}": v for n, more in further.items() for k, v in more.items()}


def make_model(recipe: Recipe, facts: Facts, *, seed: int) -> Model:
    """A freshly initialised model; the same seed gives the same weights. What the recipe freezes needs no gradient.

    Raises RecipeError if it freezes a part that the model does not have, or all it has."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        model = Model(recipe, facts)
    for name in recipe.loop.frozen:
        part = dict(model.named_modules()).get(name)
        if part is None:
            parts = [n for n, _ in model.named_modules() if n.count(".") <= 1 + name.count(".") and n]
            raise RecipeError(unknown("loop.frozen", "part of the model", name, parts))
        part.requires_grad_(False)
    if recipe.loop.frozen and not any(p.requires_grad for p in model.parameters()):
        raise RecipeError(f"loop.frozen: {', '.join(recipe.loop.frozen)} is all there is; nothing is left to train")
    return model


def parameter_count(module: nn.Module) -> int:
    """Distinct parameters; a tied one counts once."""
    return sum(p.numel() for p in module.parameters())
