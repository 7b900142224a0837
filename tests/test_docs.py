"""The documentation is true: commands parse, links lead somewhere, proofs exist, the example part trains."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml

from modeledge.core import Facts, add_plugin, kinds
from modeledge.recipe.resolve import resolve, shipped

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING"))]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(page, line) for every `modeledge` command in a bash block."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            joined = block.replace("\\\n", " ")
            found += [
                (page.name, line.strip()) for line in joined.splitlines() if line.strip().startswith("modeledge ")
            ]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_documented_command_parses(page, line):
    from modeledge.cli import app

    command = typer.main.get_command(app)
    arguments = shlex.split(line.partition(" > ")[0], comments=True)[1:]  # what goes into a file is the shell's
    context = command.make_context("modeledge", list(arguments), resilient_parsing=False)
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.contract
def test_the_python_of_getting_started_runs_as_it_stands(tmp_path, monkeypatch):
    from modeledge.core import find
    from modeledge.data.prepare import prepare

    (block,) = blocks(ROOT / "docs" / "getting-started.md", "python")
    quick = block.replace('size="mini"', 'size="tiny"').replace('"10min"', '"1steps"')
    assert quick != block
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(50)]
    texts = [" ".join(f"{' '.join(rng.choice(words, 12))}." for _ in range(12)) for _ in range(150)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=200)
    prepare([str(tmp_path / "text.jsonl")], out=tmp_path / "store", tokenizer=config, valid_fraction=0.1, processes=1)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(quick, "getting-started.md", "exec"), names)
    assert names["outcome"].exit_code == 0
    assert names["loaded"].path == Path("runs/small/model") and not names["loaded"].model.training


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_inside_the_project_lead_to_a_file(page):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r": ([\w-]+\.md)$", text, re.MULTILINE))
    assert named == {p.name for p in (ROOT / "docs").glob("*.md")}


def tool(name: str, folder: str = "tools"):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CATALOGUE = tool("catalogue")


def test_the_catalogue_has_every_system_once():
    rows = CATALOGUE.read_rows()
    assert len(rows) == len({row["system"] for row in rows}) == 165
    assert all(row["group"] and row["system"] for row in rows)


def test_what_the_catalogue_names_exists():
    bad = []
    for row in CATALOGUE.read_rows():
        bad += [f"{row['system']}: no recipe {name}" for name in row["recipe"].split() if name not in shipped()]
        for dotted in row["part"].split():
            room, _, kind = dotted.rpartition(".")
            bad += [f"{row['system']}: no part {dotted}"] if kind not in kinds(room) else []
        for proof in row["test"].split():
            file, _, name = proof.partition("::")
            if not (ROOT / file).is_file() or (name and f"def {name}(" not in (ROOT / file).read_text()):
                bad.append(f"{row['system']}: no test {proof}")
        if bool(row["recipe"] or row["part"]) != bool(row["test"]):
            bad.append(f"{row['system']}: a recipe or part and a test belong together")
    assert bad == []


def test_the_catalogue_page_is_up_to_date():
    assert CATALOGUE.PAGE.read_text(encoding="utf-8") == CATALOGUE.page(CATALOGUE.read_rows()), "run `make catalogue`"


def test_the_page_of_claims_says_what_the_results_say():
    claims = tool("claims")
    assert claims.PAGE.read_text(encoding="utf-8") == claims.page(claims.EXPERIMENTS), "run `make claims-page`"


def test_the_page_of_usefulness_says_what_the_results_say():
    page = tool("usefulness", "experiments")
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python experiments/usefulness.py --page`"


def test_the_page_of_the_first_minute_says_what_the_results_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    page = tool("first_minute", "experiments")
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python experiments/first_minute.py --page`"


def test_recipes_in_the_documentation_resolve(tmp_path):
    found = [b for page in PAGES for b in blocks(page, "yaml") if b.lstrip("# \n").find("extends:") >= 0]
    assert len(found) >= 3
    for number, block in enumerate(found):
        file = tmp_path / f"r{number}.yaml"
        file.write_text(block)
        assert resolve(str(file)).chain[0] == f"r{number}"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The objective that adding-a-system.md shows, as a plug-in package, and its recipe's settings."""
    page = ROOT / "docs" / "adding-a-system.md"
    (code,) = [b for b in blocks(page, "python") if "class Exchanged" in b]
    folder = tmp_path / "mylab" / "objectives"
    folder.mkdir(parents=True)
    (folder / "exchanged.py").write_text(code)
    for init in (folder, folder.parent):
        (init / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys.modules["modeledge.core.find"], "_PACKAGES", ["modeledge"])
    add_plugin("mylab")
    yield yaml.safe_load(next(b for b in blocks(page, "yaml") if "kind: exchanged" in b))
    kinds.cache_clear()


def test_the_documented_objective_works_as_a_plug_in(example, tmp_path):
    from modeledge.core import Batch, build
    from modeledge.recipe.resolve import Tree, merge
    from modeledge.recipe.schema import check

    tree = resolve("bert", size="tiny")
    keys = merge(tree.keys, {k: v for k, v in example.items() if k != "extends"}, places={}, new={})
    recipe = check(Tree("mine", keys))
    facts = Facts(vocab=100, special={"pad": 0, "cls": 1, "sep": 2, "mask": 3}, words=(4, 100))
    backbone = build("backbones", recipe.backbone, facts)
    objective = build("objectives", recipe.objectives[0], facts, backbone)
    rows = np.random.default_rng(0).integers(4, 100, (64, 33))
    rows[:, 0] = 1
    seen = objective.view(Batch(ids=rows), np.random.default_rng(1))
    assert 0.10 < seen.moved.mean() < 0.20 and (seen.ids[~seen.moved] == rows[~seen.moved]).all()
    assert (np.sort(seen.ids, axis=1) == np.sort(rows, axis=1)).all()
    (loss,) = objective(backbone, seen.tensors()).values()
    assert loss.count == objective.counts(seen)["exchanged"] and abs(loss.mean().item() - np.log(2)) < 0.3
    loss.mean().backward()
    assert backbone.embed.weight.grad is not None and torch.isfinite(backbone.embed.weight.grad).all()
