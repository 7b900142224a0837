"""Data as the training verbs take it: a store, or raw files that are made into one first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modeledge.core import InputError, PartConfig, RecipeError, find, kinds, unknown
from modeledge.data.prepare import KINDS, Summary, prepare
from modeledge.data.readers import expand
from modeledge.data.store import META, Store, sources_of
from modeledge.data.tables import Table
from modeledge.recipe.read import read_yaml
from modeledge.recipe.schema import Recipe
from modeledge.run.identity import digest
from modeledge.run.progress import Progress, make_progress
from modeledge.tokenizers import Tokenizer, load_tokenizer


def tokenizer_for(text: str, *, vocab: int | None = None) -> Tokenizer | PartConfig:
    """A tokenizer to use (a folder with a tokenizer.json) or one to train: a kind, or its settings as a recipe writes
    them ({kind: unigram, family: mbart, languages: 2}).

    Raises RecipeError for a name that is neither, and for settings that the kind does not have."""
    if (Path(text) / "tokenizer.json").is_file():
        return load_tokenizer(Path(text))
    if Path(text).is_dir():
        raise InputError(
            f"--tokenizer {text}: no tokenizer.json in this folder\n  known kinds: {', '.join(kinds('tokenizers'))}"
        )
    settings: dict[str, Any] = read_yaml(text, file="--tokenizer")[0] if text[:1] == "{" else {"kind": text}
    settings = ({"vocab": vocab} if vocab else {}) | settings
    try:
        return find("tokenizers", settings.get("kind", "")).Config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"--tokenizer {text}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def make_store(
    files: Sequence[str],
    out: Path,
    *,
    kind: str,
    tokenizer: str,
    vocab: int | None,
    columns: dict[str, str],
    valid: float,
    processes: int,
    on_bad: str,
    valid_files: Sequence[str] = (),
    documents: str = "file",
    near: str = "count",
    size: int | None = None,
    lists: dict[str, Path] | None = None,
    capitals: bool = False,
    fields: Sequence[str] = (),
    quiet: bool = False,
) -> Summary:
    """The `prepare` verb: raw files to a store at `out`. `columns`: which column holds what, e.g. {"text": "body"};
    lists: files of entities, phrases, descriptions, and a folder of vectors; fields: columns of records."""
    known = ("text", "second", "image", "label", "lang", "marks", "head", "relation", "tail")
    for name in columns:
        if name not in known:
            raise InputError(unknown(f"--column {name}={columns[name]}", "role of a column", name, known))
    choices = {"--documents": (documents, ("file", "blank", "line")), "--near": (near, ("count", "drop"))}
    for option, (value, allowed) in {**choices, "--on-bad": (on_bad, ("stop", "skip"))}.items():
        if value not in allowed:
            raise InputError(unknown(option, "choice", value, allowed))
    lists = lists or {}
    bare = kind == "images" or (kind == "triples" and "descriptions" not in lists)
    made = None if bare else tokenizer_for(tokenizer, vocab=vocab)
    options: dict[str, Any] = {"valid_fraction": valid, "valid": list(valid_files) or None, "processes": processes}
    options |= {
        "on_bad": on_bad,
        "documents": documents,
        "near": near,
        "size": size,
        "capitals": capitals,
        "fields": fields,
        **columns,
        **lists,
    }
    return prepare(
        list(files), out=out, kind=kind, tokenizer=made, progress=told(make_progress(quiet=quiet)), **options
    )


def told(progress: Progress) -> Callable[[float, int], None]:
    """A callback for `prepare` that says every tenth of the way."""
    last = -1

    def hear(share: float, made: int) -> None:
        nonlocal last
        if int(share * 10) > last:
            last = int(share * 10)
            progress.say(f"  {share:.0%} read, {made:,} made")

    return hear


def open_or_make(path: Path, recipe: Recipe, name: str, *, cache: Path, progress: Progress) -> Store:
    """The store at `path`, or one made from the raw files there and kept in `cache` under a name that says of which
    files and how it was made: other files, or another tokenizer, are another store.

    Raises InputError if the store was made for another kind of tokenizer than the recipe wants."""
    if (path / META).is_file():
        store = Store.open(path)
        refuse_other_tokenizer(store, recipe, name)
        return store
    kind = find("data.sources", recipe.data[name].kind).reads
    files = [(said["bytes"], said["sha256"]) for said in sources_of(expand(path, allowed=KINDS[kind]))]
    home = cache / f"{kind}-{digest(recipe.tokenizer, files)}"
    if not (home / META).is_file():
        cache.mkdir(parents=True, exist_ok=True)
        progress.say(f"preparing {path} for data.{name} ({kind})")
        summary = prepare([str(path)], out=home, kind=kind, tokenizer=recipe.tokenizer, progress=told(progress))
        progress.say("\n".join(summary.lines()))
    return Store.open(home)


def open_or_make_all(
    paths: dict[str, Path], recipe: Recipe, *, cache: Path, progress: Progress, begun: bool = False
) -> dict[str, Any]:
    """`open_or_make` for every source; raw files that two sources read in the same way are prepared once.

    A single raw table becomes a store with a tokenizer of its own, unless the run has `begun` from a model, or there
    is other data: then that has the tokenizer, and tables are read as they are."""
    reads = {name: find("data.sources", recipe.data[name].kind).reads for name in paths}
    as_table = begun or len(set(paths.values())) > 1
    stores: dict[str, Any] = {}
    for name, path in paths.items():
        if as_table and reads[name] == "table" and not (path / META).is_file():
            stores[name] = Table.open(path)
        else:
            stores[name] = open_or_make(path, recipe, name, cache=cache, progress=progress)
    return stores


def refuse_other_tokenizer(store: Store, recipe: Recipe, name: str) -> None:
    """A store holds ids; they mean nothing under another kind of tokenizer."""
    if recipe.tokenizer is None or not (store.path / "tokenizer.json").is_file():
        return
    made = load_tokenizer(store.path)
    if made.kind not in (recipe.tokenizer.kind, "folder") and recipe.tokenizer.kind != "folder":
        raise InputError(
            f"{store.path}: made with the tokenizer {made.kind!r} ({made.fingerprint[:12]}), "
            f"the recipe wants {recipe.tokenizer.kind!r}\n"
            f"  next: prepare data.{name} with --tokenizer {recipe.tokenizer.kind}, or --set tokenizer={made.kind}"
        )
