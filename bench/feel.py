"""What users notice, measured: start-up, errors, explanations, folders, round trips.

    python bench/feel.py [--install] [--write docs/feel.md] [--only E3 E5]

Every figure is measured now, on this machine, through the command line where there is one. With --install an empty
environment is made and the package installed into it, which takes minutes."""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TYPOS = 50


class Row(NamedTuple):
    """What was looked at, the figure to reach, the figure found (or what is missing), and whether it is reached."""

    what: str
    goal: str
    found: str
    reached: bool | None


def run(*arguments: str, cwd: Path | None = None, check: bool = True) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Seconds and result of `modeledge ARGUMENTS` in a fresh process."""
    command = [sys.executable, "-m", "modeledge", *arguments]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    spent = time.perf_counter() - begun
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-400:]}")
    return spent, done


def best(work: Callable[[], float], times: int = 5) -> float:
    """The smallest of several measurements: what the program costs, not what else the machine did."""
    return min(work() for _ in range(times))


def python(code: str, *, cwd: Path | None = None) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd)
    return done.stdout.strip()


def text_file(folder: Path) -> Path:
    """A small corpus, one document a line."""
    from modeledge.run.corpus import read_topics

    file = folder / "text.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in read_topics()), encoding="utf-8")
    return file


# -- the figures -------------------------------------------------------------------------------------------------------


def first_loss(folder: Path) -> Row:
    """E1, the part without installation: raw text to the first loss line."""
    spent = until_step([str(text_file(folder))], folder / "e1")
    return Row("raw text to the first loss line (installed)", "10 s", f"{spent:.1f} s", spent <= 10)


def until_step(data: list[str], out: Path) -> float:
    """Seconds from the command to its first progress line."""
    command = [sys.executable, "-u", "-m", "modeledge", "pretrain", "bert", "--size", "tiny", "--budget", "1steps"]
    begun = time.perf_counter()
    process = subprocess.Popen([*command, "--data", *data, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    spent = next((time.perf_counter() - begun for line in process.stderr if line.startswith("step ")), float("nan"))
    process.communicate()
    return spent


def installation(folder: Path) -> Row:
    """E1: an empty environment, installation, first loss line."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(ROOT)], check=True)
    spent = time.perf_counter() - begun
    return Row("installation into an empty environment", "80 s", f"{spent:.0f} s", spent <= 80)


def packages(folder: Path) -> Row:
    """E2: what the core pulls in."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "empty")], check=True)
    report = folder / "report.json"
    pip = [str(folder / "empty" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--dry-run"]
    subprocess.run([*pip, "--report", str(report), str(ROOT)], check=True)
    names = [item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]]
    cuda = [name for name in names if re.match(r"nvidia|cuda|triton", name)]
    return Row("core packages / CUDA packages", "40 / 0", f"{len(names)} / {len(cuda)}", len(names) <= 40 and not cuda)


def start_up(folder: Path) -> Row:
    """E3: what needs no model."""
    each = {
        "--help": ["--help"],
        "recipes list": ["recipes", "list"],
        "wrong recipe": ["pretrain", "brt", "--out", str(folder / "none")],
    }
    times = {name: best(lambda a=a: run(*a, check=False)[0]) for name, a in each.items()}
    told = ", ".join(f"{name} {t:.2f} s" for name, t in times.items())
    return Row("`--help`, `recipes list`, wrong recipe", "0.35 s", told, max(times.values()) <= 0.35)


def first_step(folder: Path) -> Row:
    """E4: a prepared store to the first step."""
    store = folder / "e4store"
    run("prepare", str(text_file(folder)), "--out", str(store), "--vocab", "4096", "--quiet")
    spent = best(lambda: until_step([str(store)], fresh(folder / "e4")), 3)
    return Row("prepared store to the first step (`bert --size tiny`)", "4 s", f"{spent:.1f} s", spent <= 4)


def fresh(folder: Path) -> Path:
    """The folder, removed if it was there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def import_time(folder: Path) -> Row:
    """E5: the import, and what it adds when a verb is first used."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    ours = best(lambda: float(python(code.format("modeledge"))))
    used = best(lambda: float(python(code.format("torch, modeledge.run.pretrain"))))
    torch = best(lambda: float(python(code.format("torch"))))
    told = f"{ours:.2f} s; with the first verb {used:.2f} s (torch alone {torch:.2f} s)"
    return Row("`import modeledge`", "1.4 s", told, ours <= 1.4 and used <= torch + 1.0)


def typos(folder: Path) -> Row:
    """E7: seeded typos in keys and kinds, each answered with the right word."""
    wrong = [t for t in make_typos() if not answered(*t)]
    shown = f"{TYPOS - len(wrong)}/{TYPOS}" + (f" (not: {', '.join(t[1] for t in wrong[:5])})" if wrong else "")
    return Row("seeded typos answered with the right word", f"{TYPOS}/{TYPOS}", shown, not wrong)


def make_typos(seed: int = 0) -> list[tuple[str, str, str]]:
    """(an override, the wrong word in it, the right word): one slip of the finger in a key or a kind."""
    from modeledge.core import kinds

    keys = (
        "optim.lr optim.betas optim.weight_decay schedule.warmup loop.batch loop.steps loop.clip loop.precision".split()
    )
    keys += "backbone.width backbone.layers backbone.heads backbone.dropout backbone.ffn.activation".split()
    keys += "backbone.positions.max objectives.0.rate objectives.0.select data.text.length tokenizer.vocab".split()
    rooms = {"optim": "optim", "schedule": "optim.schedules", "objectives.0": "objectives", "tokenizer": "tokenizers"}
    rooms |= {
        "backbone.join": "layers.joins",
        "backbone.positions": "layers.positions",
        "backbone.norm": "layers.norms",
    }
    words = [(key, key.rsplit(".", 1)[1], "") for key in keys]
    words += [(key, kind, "kind") for key, room in rooms.items() for kind in kinds(room)]
    rng = random.Random(seed)
    found: list[tuple[str, str, str]] = []
    taken = {word for _, word, _ in words}
    while len(found) < TYPOS:
        key, word, what = rng.choice(words)
        wrong = slip(word, rng)
        if wrong in taken or len(word) < 3 or any(near(wrong, other) for other in taken - {word}):
            continue  # a slip that makes another word, or could be one of another word
        found.append((f"{key}={wrong}" if what else f"{key[: -len(word)]}{wrong}=1", wrong, word))
    return found


def slip(word: str, rng: random.Random) -> str:
    """Two letters exchanged, one lost, doubled or hit beside."""
    at = rng.randrange(len(word) - 1)
    kind = rng.choice(["exchange", "lose", "double", "beside"])
    if kind == "exchange":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "lose":
        return word[:at] + word[at + 1 :]
    return (
        word[: at + 1]
        + (word[at] if kind == "double" else rng.choice("aeiklnorst"))
        + word[at + 1 + (kind == "beside") :]
    )


def near(one: str, other: str) -> bool:
    """Whether one slip leads from one word to the other."""
    letters = "abcdefghijklmnopqrstuvwxyz_"
    cuts = [(one[:i], one[i:]) for i in range(len(one) + 1)]
    edits = {a + b[1:] for a, b in cuts} | {a + b[1:2] + b[:1] + b[2:] for a, b in cuts}
    edits |= {a + c + b[skip:] for a, b in cuts for c in letters for skip in (0, 1)}
    return other in edits


def answered(override: str, wrong: str, right: str) -> bool:
    """Whether the error for a recipe with this override says "did you mean" the right word."""
    from modeledge.core import RecipeError
    from modeledge.recipe.resolve import resolve
    from modeledge.recipe.schema import check

    try:
        check(resolve("bert", size="tiny", sets=[override]))
    except RecipeError as error:
        return f"did you mean {right!r}" in str(error)
    return False


def doctor(folder: Path) -> Row:
    """E8."""
    spent, done = run("doctor", "--json", check=False)
    told = json.loads(done.stdout)
    failed = [line["name"] for line in told["lines"] if line["state"] == "fail"]
    found = f"{spent:.1f} s, {len(told['lines'])} lines" + (f", failed here: {', '.join(failed)}" if failed else "")
    return Row("`doctor`", "10 s, exit code", found, spent <= 10 and done.returncode == bool(failed))


def explain(folder: Path) -> Row:
    """E9."""
    code = (
        "import time\nfrom modeledge.recipe.resolve import resolve\nfrom modeledge.run.explain import explain\n"
        "t = time.perf_counter(); explain(resolve('roberta', size='large')); print(time.perf_counter() - t)"
    )
    inside, whole = (
        best(lambda: float(python(code)), 3),
        best(lambda: run("recipes", "show", "roberta", "--explain")[0], 3),
    )
    told = f"{inside:.2f} s after the imports, {whole:.1f} s the whole command"
    return Row("`recipes show --explain`, no weights built", "1 s", told, inside <= 1)


def lengths(folder: Path) -> Row:
    """E11: lines of a recipe that are not comments."""
    from modeledge.recipe.resolve import shipped

    sizes = {}
    for name, path in shipped().items():
        lines = path.read_text().splitlines()
        sizes[name] = sum(1 for line in lines if line.strip() and not line.lstrip().startswith("#"))
    longest = max(sizes, key=lambda name: sizes[name])
    median = sorted(sizes.values())[len(sizes) // 2]
    told = f"roberta {sizes['roberta']}; median {median}, longest {longest} {sizes[longest]}"
    return Row("lines of a recipe", "roberta 15", told, sizes["roberta"] <= 15)


def run_folder(folder: Path) -> Row:
    """E12, E13, E15: what a run leaves."""
    out = folder / "e13"
    spent, done = run(
        "pretrain", "bert", "--size", "tiny", "--data", str(text_file(folder)), "--budget", "3steps", "--out", str(out)
    )
    run("report", str(out))
    wanted = (
        "recipe.yaml metrics.jsonl environment.json report.html checkpoints model/model.safetensors model/README.md"
    )
    gone = [name for name in wanted.split() if not (out / name).exists()]
    size = (out / "report.html").stat().st_size
    told = f"{len(gone)} missing, report {size / 1024:.0f} KiB"
    return Row("run folder complete; size of report.html", "0 missing, 1 MiB", told, not gone and size <= 2**20)


def readers(folder: Path) -> Row:
    """E16: the same documents in several forms give the same tokens."""
    import gzip
    import io
    import tarfile

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    from modeledge.tokenizers import load_tokenizer

    texts = [json.loads(line)["text"] for line in text_file(folder).read_text(encoding="utf-8").splitlines()][:20]
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts).encode()
    forms = folder / "forms"
    forms.mkdir()
    (forms / "a.jsonl").write_bytes(lines)
    (forms / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (forms / "c.jsonl.zst").write_bytes(zstandard.compress(lines))
    pq.write_table(pa.table({"text": texts}), forms / "d.parquet")
    (forms / "e").mkdir()
    for i, text in enumerate(texts):
        (forms / "e" / f"{i:03d}.txt").write_text(text, encoding="utf-8")
    import datasets

    datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(forms / "f"))
    with tarfile.open(forms / "g.tar", "w") as shard:
        for i, text in enumerate(texts):
            member = tarfile.TarInfo(f"{i:03d}.txt")
            member.size = len(text.encode())
            shard.addfile(member, io.BytesIO(text.encode()))
    made = folder / "made"
    asked = ("--tokenizer", "byte_bpe", "--vocab", "2000", "--valid", "0", "--quiet")
    run("prepare", str(forms / "a.jsonl"), "--out", str(made), *asked)
    reference = np.load(made / "tokens.npy")
    tokenizer = load_tokenizer(made)
    packed = [[*ids, tokenizer.special["eos"]] for ids in tokenizer.encode_batch(texts)]
    np.concatenate(packed).astype("<u2").tofile(forms / "h.bin")
    equal = []
    for form in sorted(forms.iterdir()):
        store = folder / f"store-{form.name}"
        _, done = run(
            "prepare", str(form), "--out", str(store), "--tokenizer", str(made), "--valid", "0", "--quiet", check=False
        )
        same = done.returncode == 0 and np.array_equal(np.load(store / "tokens.npy"), reference)
        equal.append((form.name, same))
    bad = [name for name, same in equal if not same]
    told = f"{len(equal) - len(bad)}/{len(equal)}" + (f" (not {', '.join(bad)})" if bad else "")
    return Row("jsonl, .gz, .zst, parquet, .txt, `datasets` folder, tar, bin: same tokens", "all", told, not bad)


def same_by_python(folder: Path) -> Row:
    """E17: the same run from Python and from the command line."""
    data, losses = text_file(folder), []
    arguments = ["pretrain", "bert", "--size", "tiny", "--data", str(data), "--budget", "3steps", "--out"]
    run(*arguments, str(folder / "by-cli"))
    python(
        f"import modeledge; modeledge.pretrain('bert', size='tiny', data=[{str(data)!r}], budget='3steps', "
        f"out={str(folder / 'by-python')!r}, quiet=True)"
    )
    for name in ("by-cli", "by-python"):
        lines = (folder / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line).get("loss") for line in lines])
    same = losses[0] == losses[1]
    return Row("Python and command line: same losses", "bit-equal", "bit-equal" if same else "different", same)


def preparation(folder: Path) -> Row:
    """E20: tokens a second from raw text, two processes, tokenizer given; peak memory."""
    import resource

    from modeledge.run.corpus import gather

    text, docs = folder / "large.jsonl", gather().documents
    with text.open("w", encoding="utf-8") as out:
        for copy in range(10):
            out.writelines(json.dumps({"text": f"{copy} {t}"}) + "\n" for t in docs)
    run("prepare", str(text_file(folder)), "--out", str(folder / "tok"), "--vocab", "8192", "--quiet")
    _, done = run("prepare", str(text), "--out", str(folder / "big"), "--tokenizer", str(folder / "tok"),
                  "--processes", "2", "--json")  # fmt: skip
    told = json.loads(done.stdout)
    rate = (told["tokens"] + told["valid_tokens"]) / told["seconds"]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    found = f"{rate / 1e6:.2f} M tokens/s, {peak:.2f} GiB"
    return Row("preparation, 2 processes, WordPiece", "2.5 M tokens/s, 1 GiB", found, rate >= 2.5e6 and peak <= 1)


FIGURES: dict[str, Callable[[Path], Row]] = {
    "E1": first_loss,
    "E1i": installation,
    "E2": packages,
    "E3": start_up,
    "E4": first_step,
    "E5": import_time,
    "E7": typos,
    "E8": doctor,
    "E9": explain,
    "E11": lengths,
    "E13": run_folder,
    "E16": readers,
    "E17": same_by_python,
    "E20": preparation,
}
SLOW = ("E1i", "E2")
BEGIN, END = "<!-- measured -->\n", "<!-- end -->"


def page(rows: dict[str, Row]) -> str:
    """The table as Markdown, with what it was measured on."""
    from _ratio import machine

    on: dict[str, Any] = machine()
    lines = ["| | what | to reach | measured | |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        mark = "reached" if row.reached else "not reached"
        lines.append(f"| {name} | {row.what} | {row.goal} | {row.found} | {mark} |")
    where = (
        f"{on['cores']} cores ({', '.join(on['cpu_flags'])}), Python {on['python']}, torch {on['versions']['torch']}"
    )
    return f"{BEGIN}\nMeasured {on['date']} on {where}, by `make feel`.\n\n" + "\n".join(lines) + f"\n{END}"


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only", nargs="*", default=list(FIGURES), choices=list(FIGURES))
    options = parser.parse_args()
    rows: dict[str, Row] = {}
    for name in options.only:
        if name in SLOW and not options.install and name not in sys.argv:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows[name] = FIGURES[name](Path(folder))
            except Exception as error:  # a figure that cannot be measured is a finding too
                what = (FIGURES[name].__doc__ or name).split(": ", 1)[-1].rstrip(".")
                rows[name] = Row(what, "", f"failed: {str(error).splitlines()[-1][:200]}", False)
        row = rows[name]
        print(
            f"{name:4} {'ok  ' if row.reached else 'MISS'} {row.what}: {row.found} (to reach: {row.goal})", flush=True
        )
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        new = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: page(rows), text, flags=re.DOTALL)
        options.write.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
