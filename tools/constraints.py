"""Write constraints.txt: the versions pip chooses today for every extra that the Makefile installs.

Resolves in an empty environment (nothing is installed); local version labels are dropped."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}"
HEAD = f"""\
# Versions that `make` and CI install and that the tests were run with ({PYTHON}).
# Written by `make constraints`. The bounds a user's installation must keep are in pyproject.toml.
"""


def resolve(extras: str) -> dict[str, str]:
    """Package -> version, for our package with these extras."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        report = folder / "report.json"
        pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--dry-run"]
        subprocess.run([*pip, "--report", str(report), f"{ROOT}[{extras}]"], check=True)
        items = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {i["name"].lower().replace("_", "-"): i["version"].split("+")[0] for i in items}


if __name__ == "__main__":
    found = resolve("test,docs")
    found.pop("modeledge")
    (ROOT / "constraints.txt").write_text(HEAD + "".join(f"{n}=={v}\n" for n, v in sorted(found.items())))
    print(f"{len(found)} packages")
