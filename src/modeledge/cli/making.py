"""Verbs that make something out of raw files: quickstart, prepare, pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeledge.cli._app import Data, Device, Json, Out, Quiet, Sets, Size, app, pairs, show


@app.command()
def quickstart(
    out: Out = Path("quickstart"),
    seconds: Annotated[float, typer.Option(help="How long to pre-train.", min=1)] = 180.0,
    seeds: Annotated[int, typer.Option(help="Fine-tuning seeds.", min=1)] = 5,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole story in minutes: pre-train, fine-tune, compare with from-scratch, report."""
    from modeledge.run.quickstart import quickstart as run

    story = run(out, seconds=seconds, seeds=seeds, quiet=quiet or as_json)
    if as_json:
        show(story, as_json=True, text="")


@app.command()
def prepare(
    files: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    out: Out,
    kind: Annotated[str, typer.Option(help="text, table, images, pairs, parallel, triples or fields.")] = "text",
    tokenizer: Annotated[
        str, typer.Option(help="A kind to train, its settings ({kind: ...}), or a folder with a tokenizer.json to use.")
    ] = "wordpiece",
    vocab: Annotated[
        int | None, typer.Option(help="Size of the vocabulary to train (default: its kind's).", min=16)
    ] = None,
    column: Annotated[
        list[str], typer.Option(help="Which columns hold what: --column text=body. May be repeated.")
    ] = [],  # noqa: B006
    valid: Annotated[float, typer.Option(help="Share of documents held out.", min=0, max=1)] = 0.01,
    valid_files: Annotated[list[str], typer.Option(help="Files to hold out instead of a share. May be repeated.")] = [],  # noqa: B006
    documents: Annotated[
        str, typer.Option(help="A document of a .txt file: file, blank (lines between) or line.")
    ] = "file",
    near: Annotated[str, typer.Option(help="Near-duplicates of earlier documents: count or drop.")] = "count",
    side: Annotated[int | None, typer.Option("--size", help="Side of stored pictures, in pixels.", min=1)] = None,
    processes: Annotated[int, typer.Option(help="Worker processes (0: one a core).", min=0)] = 0,
    fields: Annotated[str, typer.Option(help="Columns of records, each a type of entity: title,authors,venue.")] = "",
    entities: Annotated[Path | None, typer.Option(help="Mark these in text: surface form, tab, entity.")] = None,
    phrases: Annotated[Path | None, typer.Option(help="Mark these in text: a phrase a line.")] = None,
    capitals: Annotated[bool, typer.Option("--capitals", help="Mark capitalised words, for uncased models.")] = False,
    vectors: Annotated[Path | None, typer.Option(help="A model of triples: its vectors of the entities.")] = None,
    descriptions: Annotated[Path | None, typer.Option(help="Texts for triples: entity, tab, text.")] = None,
    on_bad: Annotated[str, typer.Option(help="A bad record: stop, or skip it into rejects.jsonl.")] = "stop",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Raw files to a store: tokens, boundaries, images, labels as memory-mapped columns."""
    from modeledge.run.stores import make_store

    lists = {"entities": entities, "phrases": phrases, "vectors": vectors, "descriptions": descriptions}
    summary = make_store(
        files, out, kind=kind, tokenizer=tokenizer, vocab=vocab, columns=pairs(column, "--column"), valid=valid,
        processes=processes, on_bad=on_bad, valid_files=valid_files, documents=documents, near=near, size=side,
        lists={name: path for name, path in lists.items() if path is not None},
        capitals=capitals, fields=[name.strip() for name in fields.split(",") if name.strip()], quiet=quiet or as_json,
    )  # fmt: skip
    show(vars(summary), as_json=as_json, text="\n".join(summary.lines()))


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (`modeledge recipes list`) or a .yaml file.")],
    out: Out,
    data: Data = [],  # noqa: B006
    size: Size = None,
    budget: Annotated[str | None, typer.Option(help="10min, 2e15flop, 50Mtok or 2000steps.")] = None,
    sets: Sets = [],  # noqa: B006
    init: Annotated[Path | None, typer.Option(help="Start from the weights of this model folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    step: Annotated[int | None, typer.Option(help="With --resume: from this step, not the newest.", min=0)] = None,
    device: Device = "auto",
    track: Annotated[str | None, typer.Option(help="Also log to a tracker: tensorboard.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pre-train a recipe on data."""
    from modeledge.recipe.resolve import find_recipe

    find_recipe(recipe)  # a misspelt name is told at once, before torch is imported
    from modeledge.run.pretrain import pretrain as run

    outcome = run(
        recipe, data=data, out=out, size=size, budget=budget, sets=sets, init=init, resume=resume, step=step,
        device=device, track=track, quiet=quiet or as_json,
    )  # fmt: skip
    show(outcome.as_dict(), as_json=as_json, text=str(outcome))
    if outcome.exit_code:
        raise SystemExit(outcome.exit_code)
