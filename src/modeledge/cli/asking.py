"""Verbs that ask a model something: finetune, evaluate, predict, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli._app import (
    Columns,
    Data,
    Device,
    Entities,
    Graph,
    Json,
    Out,
    Quiet,
    Sets,
    Size,
    app,
    errors,
    pairs,
    show,
)

TASKS = "classify, classify_pair, regress, tag, span_qa, choice, embed, hops, text_to_text or image_label."


def roles(column: list[str], **files: Path | None) -> dict[str, str]:
    """What holds what: the columns of the table, and files about its texts."""
    return pairs(column, "--column") | {name: str(file) for name, file in files.items() if file}


@app.command()
def finetune(
    folder: Annotated[Path, typer.Argument(help="A run or model folder.")],
    task: Annotated[str, typer.Option(help=TASKS)],
    data: Annotated[Path, typer.Option(help="A csv, tsv, jsonl or parquet file, a datasets folder or a store.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; without it only the figures are printed.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Rows to judge on (default: x.valid.* beside x.train.*).")] = None,
    column: Columns = [],  # noqa: B006
    graph: Graph = None,
    entities: Entities = None,
    length: Annotated[int | None, typer.Option(help="Tokens a row.", min=8)] = None,
    long: Annotated[
        str, typer.Option(help="Texts too long for a row: cut, or recall, the blocks a judge picks (CogLTX).")
    ] = "cut",
    orders: Annotated[str, typer.Option(help="both: read a pair in both orders (GPT's similarity).")] = "given",
    epochs: Annotated[float, typer.Option(help="Passes over the rows.", min=0)] = 3.0,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", min=0)] = None,
    batch: Annotated[int, typer.Option(help="Rows a step.", min=1)] = 32,
    seeds: Annotated[int, typer.Option(help="Repeat with so many seeds and give the interval.", min=1)] = 1,
    labels: Annotated[int | None, typer.Option(help="Only so many rows, drawn with the seed.", min=1)] = None,
    auxiliary: Annotated[float, typer.Option(help="Weight of a language model beside it (GPT: 0.5).", min=0)] = 0.0,
    train: Annotated[str, typer.Option(help="all: every weight; head: on frozen features.")] = "all",
    mix: Annotated[bool, typer.Option("--mix", help="With --train head: a learned mix of all layers (ELMo).")] = False,
    layer_decay: Annotated[
        float, typer.Option(help="Learning rate of a layer over that of the layer above it (ULMFiT: 0.385).", min=0)
    ] = 1.0,
    unfreeze: Annotated[
        float,
        typer.Option(help="Begin with the head; every so many epochs a layer more, from the top (ULMFiT: 1).", min=0),
    ] = 0.0,
    scratch: Annotated[bool, typer.Option("--scratch", help="Fresh weights instead, for comparison.")] = False,
    sets: Sets = [],  # noqa: B006
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the seeds done in --out, go on with the rest.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a model a task."""
    from modeledge.run.finetune import Question, Tuning
    from modeledge.run.finetune import finetune as run

    for option, given, known in (
        ("--train", train, ["all", "head"]),
        ("--orders", orders, ["given", "both"]),
        ("--long", long, ["cut", "recall"]),
    ):
        if given not in known:
            raise errors().InputError(errors().unknown(option, "choice", given, known))
    columns = roles(column, graph=graph, entities=entities)
    question = Question(task, data, valid, columns or None, length, orders, long)  # type: ignore[arg-type]
    tuning = Tuning(
        epochs=epochs, batch=batch, lr=lr, train=train, mix=mix, auxiliary=auxiliary,  # type: ignore[arg-type]
        labels=labels, layer_decay=layer_decay, unfreeze=unfreeze, scratch=scratch, sets=tuple(sets),
    )  # fmt: skip
    tuned = run(folder, question, tuning, seeds=seeds, out=out, resume=resume, device=device, quiet=quiet or as_json)
    show(tuned.as_dict(), as_json=as_json, text=str(tuned))
    if tuned.exit_code:
        raise SystemExit(tuned.exit_code)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A model folder.")],
    data: Annotated[Path, typer.Option(help="A table with labels, or a store.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="One of several taught; or of a model: loss, probe, knn, zero_shot, retrieval, links, names."
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Of a causal model taught none: ask with so many examples in the prompt.", min=0)
    ] = None,
    by: Annotated[
        str, typer.Option(help="With --shots: compare answers by likelihood a token (length), total or prior.")
    ] = "length",
    name: Annotated[list[str], typer.Option(help="With --shots: what a class is called: --name 1=positive.")] = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
    graph: Graph = None,
    entities: Entities = None,
    sets: Sets = [],  # noqa: B006
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """The figures of a model on labelled rows or held-out data."""
    from modeledge.run.predict import Shots, evaluate_model

    columns = roles(column, graph=graph, entities=entities)
    asked = None if shots is None else Shots(shots, by, pairs(name, "--name"))  # type: ignore[arg-type]
    figures = evaluate_model(folder, data, task=task, shots=asked, columns=columns or None, sets=sets, device=device)
    show(figures, as_json=as_json, text="\n".join(f"{k}: {v:.4f}" for k, v in figures.items()))


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="A fine-tuned model, or one that goes on with texts or fills blanks.")],
    data: Annotated[Path | None, typer.Option(help="A table; labels are not needed.")] = None,
    importance: Annotated[
        float | None,
        typer.Option(help="Which words of labelled rows make a classifier nearly sure: within this (Gu et al.: 0.05)."),
    ] = None,
    text: Annotated[list[str], typer.Option(help="A text to answer, go on with or fill. May be repeated.")] = [],  # noqa: B006
    task: Annotated[str | None, typer.Option(help="Which, of a model taught several: its objective's name.")] = None,
    column: Columns = [],  # noqa: B006
    graph: Graph = None,
    entities: Entities = None,
    sets: Sets = [],  # noqa: B006
    beams: Annotated[
        int, typer.Option(help="Models that write: keep so many candidates (1: the best token).", min=1)
    ] = 1,
    temperature: Annotated[
        float, typer.Option(help="Models that write: above 0, draw at this temperature.", min=0)
    ] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw among so many best tokens (0: all).", min=0)] = 0,
    top_p: Annotated[
        float, typer.Option(help="Draw among the fewest tokens that hold this share.", min=0, max=1)
    ] = 1.0,
    limit: Annotated[
        int, typer.Option(help="Continue a prompt, or fill a blank, by at most so many tokens.", min=1)
    ] = 40,
    passages: Annotated[Path | None, typer.Option(help="Look texts up in this store (retrievers, REALM, RAG).")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """What a model answers, one JSON line a row; of a model taught no task, a text continued, or its [MASK]s filled."""
    from modeledge.run.blanks import fill_blanks, fills_blanks
    from modeledge.run.keep import load_model
    from modeledge.run.predict import predict as run
    from modeledge.run.prompt import continue_texts, continues_text
    from modeledge.run.search import Beam, Greedy, Sample

    how = Sample(temperature, top_k, top_p) if temperature > 0 else Beam(beams) if beams > 1 else Greedy()
    loaded, columns = load_model(folder, sets=sets), roles(column, graph=graph, entities=entities) or None
    if passages is not None:
        from modeledge.run.look_up import look_up

        answers: Any = look_up(loaded, passages, text, how, limit=limit, device=device)
    elif importance is not None:
        from modeledge.run.mark import important_words

        if data is None or text or not 0 <= importance <= 1:
            raise errors().InputError("--importance: a number from 0 to 1, about labelled rows: --data TABLE")
        answers = important_words(loaded, data, threshold=importance, task=task, columns=columns, device=device)
    elif text and continues_text(loaded):
        answers = continue_texts(loaded, text, how, limit=limit)
    elif text and fills_blanks(loaded):
        answers = fill_blanks(loaded, text, how, limit=limit)
    else:
        answers = run(loaded, data, texts=text, task=task, columns=columns, device=device, how=how)
    lines = "\n".join(json.dumps(a, ensure_ascii=False, default=str) for a in answers)
    show(answers, as_json=as_json, text=lines)


@app.command()
def compare(
    recipes: Annotated[list[str], typer.Argument(help="Two or more recipes, or the file of a claim.")],
    out: Out,
    data: Data = [],  # noqa: B006
    budget: Annotated[
        str | None, typer.Option(help="What each may spend (default 1e14flop): 5Mtok, 2min, 500steps.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Repeat with so many seeds (default 3).", min=1)] = None,
    size: Size = None,
    task: Annotated[list[str], typer.Option(help="Then fine-tune: TASK=FILE, e.g. classify=x.train.parquet.")] = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
    sets: Sets = [],  # noqa: B006
    brief: Annotated[
        bool, typer.Option("--brief", help="Of a claim: two steps and one seed, to see whether it runs.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Several recipes at the same cost, side by side, with intervals; or a claim (a .yaml file) put to the test."""
    from modeledge.recipe.resolve import find_recipe

    for name in recipes:
        find_recipe(name)
    from modeledge.run.claim import is_claim
    from modeledge.run.compare import BUDGET
    from modeledge.run.compare import compare as run
    from modeledge.run.question import Question

    if len(recipes) == 1 and is_claim(recipes[0]):
        from modeledge.run.trial import try_claim

        if size or task or column or sets:
            raise errors().InputError(f"{recipes[0]}: a claim says itself what is compared; give --budget and --seeds")
        outcome = try_claim(
            recipes[0], out=out, data=data, seeds=seeds, budget=budget, brief=brief, device=device,
            quiet=quiet or as_json,
        )  # fmt: skip
        show(outcome.as_dict(), as_json=as_json, text=str(outcome))
        return
    columns = pairs(column, "--column") or None
    asked = [pairs([text], "--task").popitem() for text in task]
    questions = [Question(kind, Path(file), columns=columns, name=f"{kind} {Path(file).stem}") for kind, file in asked]
    found = run(
        recipes, data=data, out=out, budget=budget or BUDGET, seeds=3 if seeds is None else seeds, size=size,
        sets=sets, questions=questions, device=device, quiet=quiet or as_json,
    )  # fmt: skip
    show(found.as_dict(), as_json=as_json, text=str(found))
    if found.exit_code:
        raise SystemExit(found.exit_code)
