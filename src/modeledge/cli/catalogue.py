"""Verbs that say what there is: recipes and kinds of parts."""

from __future__ import annotations

from typing import Annotated

import typer

from modeledge.cli._app import Json, Sets, Size, app, errors, recipes_app, show, table


@recipes_app.command("list")
def recipes_list(as_json: Json = False) -> None:
    """Every recipe with its family, parent and source."""
    from modeledge.recipe.compare import catalogue

    rows = catalogue()
    head = ["name", "family", "extends", "source"]
    show(rows, as_json=as_json, text=table([[r[h] for h in head] for r in rows], head))


@recipes_app.command("tree")
def recipes_tree(as_json: Json = False) -> None:
    """Who extends whom."""
    from modeledge.recipe.compare import lineage

    lines = lineage()
    show(lines, as_json=as_json, text="\n".join(lines))


@recipes_app.command("show")
def recipes_show(
    recipe: str,
    size: Size = None,
    sets: Sets = [],  # noqa: B006
    explain: Annotated[bool, typer.Option("--explain", help="Where each value comes from, parameters, cost.")] = False,
    as_json: Json = False,
) -> None:
    """The resolved recipe."""
    from modeledge.recipe.resolve import resolve, shipped

    tree = resolve(recipe, size=size, sets=sets)
    if sets or recipe not in shipped():  # what is shipped is checked by our own tests, and the check takes a second
        from modeledge.recipe.schema import check

        check(tree)
    if explain:
        from modeledge.run.explain import explain as explain_tree

        told = explain_tree(tree)
        show(told.as_dict(), as_json=as_json, text=str(told))
        return
    import yaml

    keys = {k: v for k, v in tree.keys.items() if k != "sizes"}
    show(keys, as_json=as_json, text=yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=120).rstrip())


@recipes_app.command("diff")
def recipes_diff(left: str, right: str, size: Size = None, as_json: Json = False) -> None:
    """What the right recipe does differently from the left."""
    from modeledge.recipe.compare import brief, diff
    from modeledge.recipe.resolve import resolve

    rows = diff(resolve(left, size=size), resolve(right, size=size))
    text = table([[p, brief(a), brief(b)] for p, a, b in rows], ["key", left, right]) if rows else "no difference"
    show([{"key": p, left: a, right: b} for p, a, b in rows], as_json=as_json, text=text)


@app.command("list")
def list_kinds(
    room: Annotated[str, typer.Argument(help="objectives, backbones, layers.norms, tokenizers, ...")],
    as_json: Json = False,
) -> None:
    """The kinds a room offers."""
    from modeledge.core.find import kinds

    known = kinds(room)
    if not known:
        rooms = ["backbones", "data.sources", "heads", "objectives", "optim", "optim.schedules", "tokenizers"]
        raise errors().InputError(errors().unknown("modeledge list", "room", room, rooms))
    show(list(known), as_json=as_json, text="\n".join(known))
