"""The house rules, read from the sources: floors, budgets, one part a file, a test for every file."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from modeledge.core import Part, find, kinds
from modeledge.core.batch import PER_TOKEN
from modeledge.recipe.read import read_file
from modeledge.recipe.resolve import resolve, shipped

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "modeledge"
FLOORS = {
    1: "core",
    2: "layers visibility views losses data tokenizers optim",
    3: "backbones heads engine",
    4: "objectives analysis transfer compress interop",
    5: "recipe",
    6: "run",
    7: "cli __init__",
    8: "__main__",
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}
ORACLES = set("transformers gensim peft ot timm torchvision evaluate torchmetrics torchdata datatrove".split())
EXTRAS = set(
    "pyarrow datasets zstandard jieba tensorboard trackio wandb mlflow sklearn sacrebleu seqeval rouge_score "
    "matplotlib PIL scipy pandas onnx onnxruntime torchao".split()
)
EXECUTE = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
FUNCTION, CLASS = (ast.FunctionDef, ast.AsyncFunctionDef), (ast.ClassDef,)


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the package, by its path below src/modeledge."""
    return {str(p.relative_to(SRC)): ast.parse(p.read_bytes()) for p in sorted(SRC.rglob("*.py"))}


def room_of(file: str) -> str:
    return Path(file).parts[0].removesuffix(".py")


def imports(tree: ast.AST, *, inside: bool = True) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of everything imported; inside=False leaves out what functions and TYPE_CHECKING import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: write the import in full"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif inside or not (isinstance(node, FUNCTION) or "TYPE_CHECKING" in ast.unparse(getattr(node, "test", node))):
            yield from imports(node, inside=inside)


def each_import(*, inside: bool = True) -> Iterator[tuple[str, str, int]]:
    for file, tree in sources().items():
        yield from ((file, name, line) for name, line in imports(tree, inside=inside))


def none(bad: list[str]) -> None:
    """Fail with the list of violations, one a line."""
    if bad:
        pytest.fail(f"{len(bad)} violations\n" + "\n".join(sorted(bad)), pytrace=False)


def test_every_file_stands_in_a_room():
    none([f for f in sources() if room_of(f) not in FLOOR])


def test_imports_point_down_and_rooms_of_one_floor_do_not_meet():
    bad = []
    for file, name, line in each_import():
        own, parts = room_of(file), name.split(".")
        if parts[0] == "modeledge" and own != "cli":
            room = parts[1] if len(parts) > 1 else "__init__"
            if room != own and not FLOOR.get(room, 8) < FLOOR[own]:
                bad.append(f"{file}:{line}: {own} (floor {FLOOR[own]}) imports {name} (floor {FLOOR.get(room, '?')})")
    none(bad)


def test_recipe_imports_no_part_and_core_no_torch():
    allowed = ("modeledge.core", "modeledge.recipe")
    bad = [
        f"{f}:{line}: {n}"
        for f, n, line in each_import()
        if room_of(f) == "recipe" and n.startswith("modeledge") and not n.startswith(allowed)
    ]
    light = [
        (f, n, line) for f, n, line in each_import(inside=False) if room_of(f) in ("core", "recipe", "cli", "__init__")
    ]
    none(bad + [f"{f}:{line}: {n}" for f, n, line in light if n.split(".")[0] == "torch"])


def test_model_files_know_nothing_of_processes():
    none(
        [
            f"{f}:{line}: {n}"
            for f, n, line in each_import()
            if room_of(f) in ("backbones", "heads", "layers") and n.startswith("torch.distributed")
        ]
    )


def test_dropout_has_one_home():
    nodes = ((f, n) for f, tree in sources().items() if f != "layers/dropout.py" for n in ast.walk(tree))
    found = ((f, n) for f, n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n) in ("nn.Dropout", "F.dropout"))
    none([f"{f}:{n.lineno}: torch's own, slow on a CPU; take layers/dropout.py" for f, n in found])


def test_oracles_stay_in_tests_and_extras_are_imported_only_where_they_are_used():
    bad = [
        f"{f}:{line}: {n} is not a run-time dependency"
        for f, n, line in each_import()
        if n.split(".")[0] in ORACLES and room_of(f) != "interop"
    ]
    at_top = [(f, n, line) for f, n, line in each_import(inside=False) if n.split(".")[0] in EXTRAS | ORACLES]
    none(bad + [f"{f}:{line}: {n} must be imported inside the function that uses it" for f, n, line in at_top])


def test_nothing_a_user_supplies_can_be_executed():
    bad = [f"{f}:{line}: {n}" for f, n, line in each_import() if n.split(".")[0] in EXECUTE]
    for file, tree in sources().items():
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            if name in ("eval", "exec", "compile", "__import__", "torch.load", "yaml.load", "os.system"):
                bad.append(f"{file}:{call.lineno}: {name}()")
    none(bad)


def test_files_and_functions_are_short():
    files = sorted(p for folder in ("src", "tests") for p in (ROOT / folder).rglob("*.py"))
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    bad = [f"{name}: {n} lines, at most 500" for name, n in lines.items() if n > 500]
    middle = statistics.median(n for name, n in lines.items() if name.startswith("src"))
    bad += [f"the median file has {middle} lines, at most 200"] if middle > 200 else []
    for file, tree in sources().items():
        for node in (n for n in ast.walk(tree) if isinstance(n, FUNCTION)):
            size = (node.end_lineno or 0) - node.lineno + 1
            bad += [f"{file}:{node.lineno}: {node.name} has {size} lines, at most 60"] if size > 60 else []
    none(bad)


def public_functions(
    tree: ast.AST, *, owner: bool = False
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """(function, whether it is a method) of a module and its public classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTION) and (node.name[0] != "_" or node.name == "__init__"):
            yield node, owner
        elif isinstance(node, CLASS) and node.name[0] != "_":
            yield from public_functions(node, owner=True)


def test_public_functions_are_fully_annotated():
    bad = []
    for file, tree in sources().items():
        for f, method in public_functions(tree):
            static = any(ast.unparse(d) == "staticmethod" for d in f.decorator_list)
            given = [*f.args.posonlyargs, *f.args.args][1 if method and not static else 0 :] + f.args.kwonlyargs
            given += [a for a in (f.args.vararg, f.args.kwarg) if a]
            gone = [a.arg for a in given if a.annotation is None]
            gone += ["what it returns"] if f.returns is None and f.name != "__init__" else []
            bad += [f"{file}:{f.lineno}: {f.name}: no annotation of {', '.join(gone)}"] if gone else []
    none(bad)


def test_modules_have_a_header_and_public_names_a_docstring():
    bad = [f"{file}: no header" for file, tree in sources().items() if tree.body and ast.get_docstring(tree) is None]
    for file, tree in sources().items():
        public = [n for n in tree.body if isinstance(n, FUNCTION + CLASS) and n.name[0] != "_"]
        if len(public) > 1:  # the header speaks for a file with one
            bad += [f"{file}:{n.lineno}: {n.name}: no docstring" for n in public if ast.get_docstring(n) is None]
    none(bad)


def rooms() -> list[str]:
    """Every room between core and recipe, and the rooms inside them, dotted."""
    folders = {".".join(Path(f).parts[:-1]) for f in sources() if len(Path(f).parts) > 1}
    return sorted(r for r in folders if FLOOR[r.split(".")[0]] in (2, 3, 4))


def test_a_room_of_parts_holds_one_part_a_file_with_a_small_config():
    bad = []
    for room in rooms():
        found = {}
        for kind in kinds(room):
            module = importlib.import_module(f"modeledge.{room}.{kind}")
            own = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__]
            found[kind] = [x for x in own if issubclass(x, Part)]
        if not any(found.values()):
            continue  # a room of functions
        most = 20 if room == "backbones" else 12
        for kind, parts in found.items():
            bad += [f"{room}/{kind}.py: {len(parts)} parts, must be one"] if len(parts) != 1 else []
            for part in parts:
                fields = set(part.Config.model_fields) - {"kind"}
                bad += [f"{room}/{kind}.py: {len(fields)} fields, at most {most}"] if len(fields) > most else []
    none(bad)


def test_every_kind_has_a_test_of_its_own_or_a_contract_test_of_its_room():
    texts = {p: p.read_text() for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__)}
    bad = []
    for room in (r for r in rooms() if r != "engine"):
        if any(f'kinds("{room}")' in text for text in texts.values()):
            continue
        folder = ROOT.joinpath("tests", *room.split("."))
        named = "".join(text for p, text in texts.items() if p.parent in (folder, folder.parent))
        for kind in kinds(room):
            used = re.compile(rf"modeledge\.{room}(\.| import .*\b){kind}\b")
            mirrored = (folder / f"test_{kind}.py").is_file() or f'"{kind}"' in named
            if not mirrored and not any(used.search(text) for text in texts.values()):
                bad.append(f"{room}.{kind}: no {folder.name}/test_{kind}.py, no test names it or walks its room")
    none(bad)


def test_every_field_an_objective_needs_is_explained():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page[page.index("## Batch fields") : page.index("## View (rooms")]
    explained = set(re.findall(r"`([a-z_]+)`", table))
    wanted = set(PER_TOKEN).union(*(find("objectives", kind).needs for kind in kinds("objectives")))
    assert not wanted - explained


def test_recipes_are_short_and_their_chains_too():
    bad = []
    for name, path in shipped().items():
        lines = len(path.read_text().splitlines())
        bad += [f"{name}: {lines} lines, at most 40"] if lines > 40 else []
        bad += [f"{name}: chain {resolve(name).chain}"] if len(resolve(name).chain) > 4 else []
        bad += [] if read_file(path)[0].get("source") else [f"{name}: no source"]
    none(bad)


def modules_after(code: str) -> set[str]:
    """Names of the modules a fresh interpreter holds after `code`."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; sys.stdout.write('|'.join(sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(told.stdout.rsplit("\n", 1)[-1].split("|"))


def test_importing_the_package_imports_no_part():
    parts = {f"modeledge.{room}.{kind}" for room in rooms() for kind in kinds(room)}
    none(sorted(parts & modules_after("import modeledge")))


@pytest.mark.parametrize("arguments", ["--help", "recipes list", "recipes show brt", "recipes diff bert roberta"])
def test_what_needs_no_model_does_not_load_torch(arguments):
    code = f"import sys; sys.argv = ['modeledge', *{arguments.split()!r}]\nfrom modeledge.cli import main\n"
    assert "torch" not in modules_after(code + "try: main()\nexcept SystemExit: pass")
