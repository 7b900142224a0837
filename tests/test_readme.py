"""Every block of the README runs as it stands, and prints what the README says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
SCRIPTS = [body for language, body in BLOCKS if language == "bash"]
OUTPUTS = [body for language, body in BLOCKS if language == "text"]
STORY = next(s for s in SCRIPTS if "modeledge pretrain" in s)


def shell(script: str, folder: Path) -> str:
    """What a script prints, run in `folder` with this interpreter's commands first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def shape(text: str) -> list[str]:
    """The lines of an output without its figures, which depend on the machine."""
    lines = [line for line in text.strip().splitlines() if not line.startswith(("...", "$ "))]
    return [re.sub(r"[\d.,:]+(e[+-]\d+)?", "0", line).rstrip() for line in lines]


def test_every_block_is_of_a_kind_that_is_run_or_compared():
    assert {language for language, _ in BLOCKS} == {"bash", "text"}
    known = ("pip install", "make ", "python ", "modeledge ")
    assert all(line.startswith(known) for script in SCRIPTS for line in script.splitlines())


def test_the_makefile_has_the_targets_and_the_package_installs_from_here():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for s in SCRIPTS for line in s.splitlines() if line.startswith("make ")} <= targets
    plain = SCRIPTS[0].splitlines()
    assert plain[0] == "pip install ." and plain[1].startswith("modeledge quickstart ") and len(plain) == 2
    verbs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert verbs == {"modeledge": "modeledge.cli:main"}


def test_the_shown_difference_of_recipes_is_what_the_command_prints(tmp_path):
    command, _, shown = OUTPUTS[0].partition("\n")
    assert shell(command.removeprefix("$ "), tmp_path) == shown


@pytest.mark.slow
def test_the_story_runs_and_its_shown_output_has_the_lines_that_are_printed(tmp_path):
    printed = shape(shell(STORY, tmp_path))
    assert [line for line in shape(OUTPUTS[1]) if line not in printed] == []
    assert (tmp_path / "run" / "report.html").stat().st_size < 2**20


@pytest.mark.slow
def test_the_exported_folder_opens_with_transformers_and_has_learnt(tmp_path):
    transformers = pytest.importorskip("transformers")
    shell(STORY.replace("100steps", "30steps"), tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2-tiny")
    assert model.config.model_type == "gpt2"
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [float(m[1]) for line in metrics if (m := re.search(r'"loss": \{"clm": ([\d.]+)', line))]
    assert losses[-1] < losses[0] - 1
