"""The command line: verbs only. Each parses, calls one function and prints; the work is in run/ and recipe/."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

try:  # newer typers carry their own click
    from typer._click.exceptions import ClickException
except ImportError:
    from click.exceptions import ClickException  # type: ignore[no-redef]


def errors() -> Any:
    """The module of error classes, imported when there is an error: starting up takes half the time without it."""
    import modeledge.core.errors as module

    return module


class Verbs(TyperGroup):
    """Commands whose unknown names are answered with the nearest one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise errors().InputError(
                errors().unknown(
                    ctx.command_path, "verb", args[0], self.list_commands(ctx), then=f"{ctx.command_path} --help"
                )
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Pre-train, transfer, compress and dissect pre-trained models, every family through one interface.",
)
recipes_app = typer.Typer(cls=Verbs, no_args_is_help=True, help="The catalogue: what there is, and what differs.")
app.add_typer(recipes_app, name="recipes")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Sets = Annotated[list[str], typer.Option("--set", help="Override a key: --set optim.lr=3e-4. May be repeated.")]
Size = Annotated[str | None, typer.Option(help="A size the recipe offers: tiny, mini, ...")]
Data = Annotated[
    list[str], typer.Option("--data", help="Files, a folder or a store; NAME=PATH where a recipe reads several.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Columns = Annotated[list[str], typer.Option(help="Which columns hold what: --column text=body. May be repeated.")]
Graph = Annotated[Path | None, typer.Option(help="Facts to hang onto words: subject, relation, object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Out = Annotated[Path, typer.Option(help="Where to write.")]


def show(value: Any, *, as_json: bool, text: str) -> None:
    """Print a result, as JSON or as text; one of several processes does."""
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(value, indent=1, default=str) if as_json else text)


def table(rows: list[list[Any]], head: list[str]) -> str:
    """A plain table with aligned columns: readable in a pipe."""
    cells = [head, *[["" if c is None else str(c) for c in row] for row in rows]]
    widths = [max(len(r[i]) for r in cells) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in cells)


@app.callback()
def common(
    plugin: Annotated[
        list[str], typer.Option(help="Also search this importable package for parts. May be repeated.")
    ] = [],  # noqa: B006
) -> None:
    """Options before the verb."""
    for name in plugin:
        from modeledge.core.find import add_plugin

        try:
            add_plugin(name)
        except ImportError as error:
            raise errors().InputError(f"--plugin {name}: cannot be imported: {error}") from None


@app.command()
def quickstart(
    out: Out = Path("quickstart"),
    seconds: Annotated[float, typer.Option(help="How long to pre-train.")] = 180.0,
    seeds: Annotated[int, typer.Option(help="Fine-tuning seeds.")] = 5,
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
    vocab: Annotated[int, typer.Option(help="Size of the vocabulary to train.")] = 30522,
    column: Annotated[
        list[str], typer.Option(help="Which columns hold what: --column text=body. May be repeated.")
    ] = [],  # noqa: B006
    valid: Annotated[float, typer.Option(help="Share of documents held out.")] = 0.01,
    valid_files: Annotated[list[str], typer.Option(help="Files to hold out instead of a share. May be repeated.")] = [],  # noqa: B006
    documents: Annotated[
        str, typer.Option(help="A document of a .txt file: file, blank (lines between) or line.")
    ] = "file",
    near: Annotated[str, typer.Option(help="Near-duplicates of earlier documents: count or drop.")] = "count",
    side: Annotated[int | None, typer.Option("--size", help="Side of stored pictures, in pixels.")] = None,
    processes: Annotated[int, typer.Option(help="Worker processes (0: one a core).")] = 0,
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
    step: Annotated[int | None, typer.Option(help="With --resume: from this step, not the newest.")] = None,
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


def pairs(texts: list[str], option: str) -> dict[str, Any]:
    """NAME=VALUE options as a mapping."""
    out = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise errors().InputError(f"{option} {text}: write it as NAME=VALUE")
        out[name] = value
    return out


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
    from modeledge.recipe.resolve import resolve

    tree = resolve(recipe, size=size, sets=sets)
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


@app.command()
def finetune(
    folder: Annotated[Path, typer.Argument(help="A run or model folder.")],
    task: Annotated[
        str,
        typer.Option(help="classify, classify_pair, regress, tag, span_qa, choice, embed, hops or text_to_text."),
    ],
    data: Annotated[Path, typer.Option(help="A csv, tsv, jsonl or parquet file, a datasets folder or a store.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; without it only the figures are printed.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Rows to judge on (default: x.valid.* beside x.train.*).")] = None,
    column: Columns = [],  # noqa: B006
    graph: Graph = None,
    length: Annotated[int | None, typer.Option(help="Tokens a row.")] = None,
    long: Annotated[
        str, typer.Option(help="Texts too long for a row: cut, or recall, the blocks a judge picks (CogLTX).")
    ] = "cut",
    orders: Annotated[str, typer.Option(help="both: read a pair in both orders (GPT's similarity).")] = "given",
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = 3.0,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch: Annotated[int, typer.Option(help="Rows a step.")] = 32,
    seeds: Annotated[int, typer.Option(help="Repeat with so many seeds and give the interval.")] = 1,
    labels: Annotated[int | None, typer.Option(help="Only so many training rows, drawn with the seed.")] = None,
    auxiliary: Annotated[float, typer.Option(help="Weight of the language model beside the task (GPT: 0.5).")] = 0.0,
    train: Annotated[str, typer.Option(help="all: every weight; head: on frozen features.")] = "all",
    mix: Annotated[bool, typer.Option("--mix", help="With --train head: a learned mix of all layers (ELMo).")] = False,
    layer_decay: Annotated[
        float, typer.Option(help="Learning rate of a layer over that of the layer above it (ULMFiT: 0.385).")
    ] = 1.0,
    unfreeze: Annotated[
        float, typer.Option(help="Begin with the head; every so many epochs a layer more, from the top (ULMFiT: 1).")
    ] = 0.0,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Fresh weights of the same shape, for comparison.")
    ] = False,
    sets: Sets = [],  # noqa: B006
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a model a task."""
    from modeledge.run.finetune import Question, Tuning
    from modeledge.run.finetune import finetune as run

    if train not in ("all", "head"):
        raise errors().InputError(errors().unknown("--train", "choice", train, ["all", "head"]))
    if orders not in ("given", "both"):
        raise errors().InputError(errors().unknown("--orders", "choice", orders, ["given", "both"]))
    if long not in ("cut", "recall"):
        raise errors().InputError(errors().unknown("--long", "choice", long, ["cut", "recall"]))
    columns = pairs(column, "--column") | ({"graph": str(graph)} if graph else {})
    question = Question(task, data, valid, columns or None, length, orders, long)  # type: ignore[arg-type]
    tuning = Tuning(
        epochs=epochs, batch=batch, lr=lr, train=train, mix=mix, auxiliary=auxiliary,  # type: ignore[arg-type]
        labels=labels, layer_decay=layer_decay, unfreeze=unfreeze, scratch=scratch, sets=tuple(sets),
    )  # fmt: skip
    tuned = run(folder, question, tuning, seeds=seeds, out=out, device=device, quiet=quiet or as_json)
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
        int | None, typer.Option(help="Of a causal model taught none: ask with so many examples in the prompt.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="With --shots: compare answers by likelihood a token (length), total or prior.")
    ] = "length",
    name: Annotated[list[str], typer.Option(help="With --shots: what a class is called: --name 1=positive.")] = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
    graph: Graph = None,
    sets: Sets = [],  # noqa: B006
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """The figures of a model on labelled rows or held-out data."""
    from modeledge.run.predict import Shots, evaluate_model

    columns = pairs(column, "--column") | ({"graph": str(graph)} if graph else {})
    asked = None if shots is None else Shots(shots, by, pairs(name, "--name"))  # type: ignore[arg-type]
    figures = evaluate_model(folder, data, task=task, shots=asked, columns=columns or None, sets=sets, device=device)
    show(figures, as_json=as_json, text="\n".join(f"{k}: {v:.4f}" for k, v in figures.items()))


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="A fine-tuned model, or one that goes on with texts or fills blanks.")],
    data: Annotated[Path | None, typer.Option(help="A table; labels are not needed.")] = None,
    text: Annotated[list[str], typer.Option(help="A text to answer, go on with or fill. May be repeated.")] = [],  # noqa: B006
    task: Annotated[str | None, typer.Option(help="Which, of a model taught several: its objective's name.")] = None,
    column: Columns = [],  # noqa: B006
    graph: Graph = None,
    sets: Sets = [],  # noqa: B006
    beams: Annotated[int, typer.Option(help="Models that write: keep so many candidates (1: the best token).")] = 1,
    temperature: Annotated[float, typer.Option(help="Models that write: above 0, draw at this temperature.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw among so many best tokens (0: all).")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw among the fewest tokens that hold this share.")] = 1.0,
    limit: Annotated[int, typer.Option(help="Continue a prompt, or fill a blank, by at most so many tokens.")] = 40,
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
    loaded = load_model(folder, sets=sets)
    if passages is not None:
        from modeledge.run.look_up import look_up

        answers: Any = look_up(loaded, passages, text, how, limit=limit, device=device)
    elif text and continues_text(loaded):
        answers = continue_texts(loaded, text, how, limit=limit)
    elif text and fills_blanks(loaded):
        answers = fill_blanks(loaded, text, how, limit=limit)
    else:
        columns = pairs(column, "--column") | ({"graph": str(graph)} if graph else {})
        answers = run(loaded, data, texts=text, task=task, columns=columns or None, device=device, how=how)
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
    seeds: Annotated[int | None, typer.Option(help="Repeat with so many seeds (default 3).")] = None,
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
def doctor(as_json: Json = False) -> None:
    """What this machine can do, each line passed or failed with its remedy."""
    from modeledge.run.doctor import examine

    found = examine()
    show(found.as_dict(), as_json=as_json, text=str(found))
    if not found.ok:
        raise SystemExit(1)


def main() -> None:
    """Run the command line. User errors are one message and exit code 2, failures while running exit code 1."""
    try:
        app(standalone_mode=False)
    except errors().ModeledgeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
