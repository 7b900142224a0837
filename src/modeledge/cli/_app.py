"""What the verbs share: the application, options of several verbs, printing, and how errors end."""

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
        if args and ctx.parent is None and args[0] != "pretrain" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise errors().InputError(
                f"{args[0]}: only pretrain runs in several processes\n  next: start this verb without torchrun"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Pre-train models, teach them tasks and look into them, every family through one interface.",
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
Entities = Annotated[
    Path | None, typer.Option(help="Mark these for a model that knows entities: surface form, tab, entity.")
]
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


def pairs(texts: list[str], option: str) -> dict[str, Any]:
    """NAME=VALUE options as a mapping."""
    out = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise errors().InputError(f"{option} {text}: write it as NAME=VALUE")
        out[name] = value
    return out


def main() -> None:
    """Run the command line. User errors are one message and exit code 2, failures while running exit code 1."""
    from modeledge.run.signals import Ended, ending

    try:
        with ending():
            app(standalone_mode=False)
    except Ended:
        print("stopped; there was nothing to save", file=sys.stderr)
        raise
    except errors().ModeledgeError as error:
        kind = next(c.__name__ for c in type(error).__mro__ if c.__name__.endswith("Error"))
        print(f"{kind}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        wrong = isinstance(error, PermissionError | FileNotFoundError | FileExistsError | NotADirectoryError)
        then = "mend the path or its rights" if wrong else "make space"
        said = f"{error.filename or 'writing'}: {error.strerror or error}"
        print(f"{said}\n  next: {then}, or give another --out", file=sys.stderr)
        raise SystemExit(2 if wrong else 1) from None
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; naming it would mean to import torch
            raise
        then = "--set loop.micro=N or loop.recompute=selective; `modeledge doctor RECIPE --data DATA` says what fits"
        print(f"out of memory: {error}\n  next: {then}", file=sys.stderr)
        raise SystemExit(1) from None
    except ClickException as error:
        error.show()
        raise SystemExit(2) from None
