"""Verbs on folders: export, import, report; and doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeledge.cli._app import Data, Device, Json, Out, Sets, Size, app, show


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A run or model folder.")],
    out: Out,
    kind: Annotated[str | None, typer.Option("--type", help="The model type (default: the first that fits).")] = None,
    as_json: Json = False,
) -> None:
    """Write a folder that transformers opens, and compare the scores."""
    from modeledge.run.port import export_model

    ported = export_model(folder, out, model_type=kind)
    show(ported.as_dict(), as_json=as_json, text=str(ported))


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder with safetensors.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Make a model folder from a Hugging Face one, and compare the scores."""
    from modeledge.run.port import import_model

    ported = import_model(folder, out)
    show(ported.as_dict(), as_json=as_json, text=str(ported))


@app.command()
def report(run: Path, as_json: Json = False) -> None:
    """A run as one self-contained HTML page."""
    from modeledge.run.report import write_report

    path = write_report(run)
    show({"report": str(path)}, as_json=as_json, text=f"wrote {path}")


@app.command()
def doctor(
    recipe: Annotated[str | None, typer.Argument(help="Instead: how many rows of this recipe fit into memory.")] = None,
    data: Data = [],  # noqa: B006
    size: Size = None,
    sets: Sets = [],  # noqa: B006
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """What this machine can do, each line passed or failed with its remedy; or how many rows of a recipe fit."""
    if recipe is not None:
        from modeledge.run.room import measure_room

        room = measure_room(recipe, data=data, size=size, sets=sets, device=device, quiet=as_json)
        show(room.as_dict(), as_json=as_json, text=str(room))
        return
    from modeledge.run.doctor import examine

    found = examine()
    show(found.as_dict(), as_json=as_json, text=str(found))
    if not found.ok:
        raise SystemExit(1)
