"""SIGTERM wherever it comes: a checkpoint or nothing to save, the shell's exit code, soon; and what comes of going on
is what would have come of it undisturbed. Every case is a process that gets the signal inside a named function."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from modeledge.core import find
from modeledge.data.prepare import prepare
from modeledge.run import checkpoint
from modeledge.run.compare import compare
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.folder import read_metrics
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

HIT = """
import importlib, os, signal, sys, time

def strike(told):
    with open(told, "w") as file:
        file.write(str(time.monotonic()))
    os.kill(os.getpid(), signal.SIGTERM)

def wrap(where, nth, told):
    module, _, path = where.partition(":")
    *way, name = path.split(".")
    home = importlib.import_module(module)
    for step in way:
        home = getattr(home, step)
    plain, calls = getattr(home, name), []
    def wrapped(*args, **options):
        calls.append(1)
        if len(calls) == nth:
            strike(told)
        return plain(*args, **options)
    setattr(home, name, wrapped)
"""
HOST = """
import json, traceback
import modeledge.cli, modeledge.run.compare, torch._dynamo, torch.utils.flop_counter  # once for all

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        out = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2)
        wrap(asked["where"], asked["nth"], asked["told"])
        sys.argv = ["modeledge", *asked["words"]]
        code = 0
        try:
            modeledge.cli.main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)  # taking all modules down again would take a second
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, time.monotonic()]), flush=True)
"""
IMPORTING = """
told = sys.argv[1]

class Torn:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.nn.modules":
            strike(told)

sys.meta_path.insert(0, Torn())
sys.argv = ["modeledge", *sys.argv[2:]]
import modeledge.cli
modeledge.cli.main()
"""
SOON = 5.0
"""Seconds from the signal to the end."""
SETS = ["loop.micro=2", "loop.evaluate={every: 2, batches: 2}", "loop.save.every=2", "backbone.dropout=0.1"]
STEPS = 6
NOUNS = ("dog", "cat", "bird", "fish")
TOKENIZER = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=200)


@pytest.fixture(scope="module")
def host():
    """A process that has imported everything and becomes a new one for each case."""
    process = subprocess.Popen(
        [sys.executable, "-c", HIT + HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture
def struck(host, tmp_path):
    """struck(where, nth, words): what the verb says if SIGTERM comes in the nth call of a function; it ends soon."""

    def call(where, nth, *words):
        told, said = tmp_path / "told", tmp_path / "said"
        asked = {"where": where, "nth": nth, "told": str(told), "said": str(said), "words": [str(w) for w in words]}
        host.stdin.write(json.dumps(asked) + "\n")
        host.stdin.flush()
        code, ended = json.loads(host.stdout.readline())
        assert code == 143 and ended - float(told.read_text()) < SOON, said.read_text()
        assert "Traceback" not in said.read_text()
        return said.read_text()

    return call


@pytest.fixture(scope="module")
def sets(toy):
    """The recipe of all cases."""
    return [*toy, f"loop.steps={STEPS}", *SETS]


@pytest.fixture(scope="module")
def whole(text_store, sets, tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    pretrain("bert", data=[str(text_store)], out=out, sets=sets, quiet=True)
    return out


def figures(run):
    """What a run wrote down of each step, but for the time it took."""
    kept = [{k: r.get(k) for k in ("step", "loss", "valid", "tokens")} for r in read_metrics(run)]
    return kept, (run / "model" / "model.safetensors").read_bytes()


LOOP, FOLDER = "modeledge.run.loop:Trainer", "modeledge.run.checkpoint"
PLACES = {  # the function in whose nth call the signal comes, and the step that is saved then
    "building the model": ("modeledge.run.stage:make_model", 1, None),
    "the first step": (f"{LOOP}.combine", 2, None),
    "a step": (f"{LOOP}.combine", 12, 3),
    "adding up micro-batches": (f"{LOOP}.combine", 10, 2),
    "an evaluation": ("modeledge.run.model:Model.judge", 3, 2),
    "saving": (f"{FOLDER}:save_file", 2, 2),
    "the last evaluation": ("modeledge.run.model:Model.judge", 22, 6),
    "saving the finished model": ("modeledge.run.keep:save_file", 1, 6),
}

LESS = ("building the model", "the last evaluation")


@pytest.mark.parametrize("place", [pytest.param(p, marks=pytest.mark.contract if p in LESS else ()) for p in PLACES])
def test_a_run_asked_to_stop_anywhere_ends_soon_with_all_its_steps_and_goes_on(
    struck, whole, sets, text_store, tmp_path, place
):
    where, nth, step = PLACES[place]
    run = tmp_path / "run"
    words = [w for text in sets for w in ("--set", text)]
    said = struck(where, nth, "pretrain", "bert", "--data", text_store, "--out", run, "-q", *words)
    saved = checkpoint.steps_in(run / "checkpoints")
    assert saved[-1:] == ([step] if step else [])
    assert not (run / ".lock").exists()
    told = (
        "nothing to save"
        if place in ("building the model", "the first step", "saving the finished model")
        else "--resume"
    )
    assert told in said
    pretrain("bert", data=[str(text_store)], out=run, sets=sets, quiet=True, resume=True)
    assert figures(run) == figures(whole)


PREPARING = {
    "the tokenizer": ("modeledge.tokenizers.wordpiece:WordPiece.train", 1),
    "packing": ("modeledge.data._text:TextWriter.append", 1),
    "the last column": ("modeledge.data.store:Column.close", 3),
}


@pytest.mark.parametrize("verb", ["prepare", pytest.param("pretrain", marks=pytest.mark.contract)])
@pytest.mark.parametrize("place", PREPARING)
def test_data_half_prepared_leave_nothing_behind_and_can_be_prepared_again(struck, corpus, sets, tmp_path, place, verb):
    where, nth = PREPARING[place]
    out, asked = tmp_path / "out", ["--vocab", "200"]
    if verb == "pretrain":
        asked = ["bert", "--data", corpus, *(w for text in [*sets, "tokenizer.vocab=200"] for w in ("--set", text))]
    said = struck(where, nth, verb, *([corpus] if verb == "prepare" else []), *asked, "--out", out)
    assert "stopped; there was nothing to save" in said
    assert not [p for p in tmp_path.glob("**/*") if p.suffix in (".npy", ".partial")]
    if verb == "prepare":
        stores = [
            prepare([corpus], out=home, tokenizer=TOKENIZER, valid_fraction=0.1).path
            for home in (out, tmp_path / "clean")
        ]
        files = [{p.name: p.read_bytes() for p in store.glob("**/*") if p.is_file()} for store in stores]
        assert files[0] == files[1]


@pytest.mark.contract
def test_a_run_asked_to_stop_while_it_is_compiled_ends_and_can_begin_again(struck, sets, text_store, tmp_path):
    words = [w for text in [*sets, "loop.compile=true"] for w in ("--set", text)]
    where = "torch._inductor.cpp_builder:CppBuilder.build"
    said = struck(where, 1, "pretrain", "bert", "--data", text_store, "--out", tmp_path / "run", "-q", *words)
    assert "nothing to save" in said
    done = pretrain("bert", data=[str(text_store)], out=tmp_path / "run", sets=[*sets, "loop.steps=1"], quiet=True)
    assert done.exit_code == 0


@pytest.mark.parametrize("verb", ["pretrain", pytest.param("evaluate", marks=pytest.mark.contract)])
def test_a_process_that_is_still_importing_ends_with_the_shells_code(verb, corpus, tmp_path):
    words = {"pretrain": ["bert", "--data", corpus, "--out", tmp_path / "o"], "evaluate": [tmp_path, "--data", corpus]}
    told = tmp_path / "told"
    command = [sys.executable, "-c", HIT + IMPORTING, told, verb, *words[verb]]
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True)
    assert done.returncode == 143 and done.stderr == "stopped; there was nothing to save\n" and told.exists()


@pytest.fixture
def table(tmp_path):
    """Rows about animals, those to judge by beside them."""
    rows = [{"text": f"The {noun} sees the {other} .", "label": noun} for noun in NOUNS for other in NOUNS] * 4
    for part in ("valid", "train"):
        file = tmp_path / f"x.{part}.jsonl"
        file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.mark.parametrize("place", ["a step", pytest.param("judging", marks=pytest.mark.contract)])
def test_fine_tuning_that_is_asked_to_stop_keeps_what_it_has(struck, whole, table, tmp_path, place):
    where, nth = {"a step": (f"{LOOP}.combine", 10), "judging": ("modeledge.run.setting:judge", 2)}[place]
    words = [whole, "--task", "classify", "--data", table, "--seeds", "2", "--batch", "16", "--epochs", "2"]
    said = struck(where, nth, "finetune", *words, "--out", tmp_path / "o", "-q")
    assert ("--resume" if place == "a step" else "nothing to save") in said
    asked, tuning = Question("classify", table), Tuning(epochs=2, batch=16)
    done = finetune(whole, asked, tuning, seeds=2, out=tmp_path / "o", resume=True, quiet=True)
    assert done.figures == finetune(whole, asked, tuning, seeds=2, quiet=True).figures


@pytest.mark.contract
@pytest.mark.parametrize("place", ["a step", "fine-tuning"])
def test_a_comparison_that_is_asked_to_stop_goes_on(struck, text_store, table, sets, tmp_path, place):
    where, nth = {"a step": (f"{LOOP}.take", 9), "fine-tuning": ("modeledge.run.setting:judge", 3)}[place]
    words = [w for text in sets for w in ("--set", text)]
    asked = [
        "bert",
        "roberta",
        "--data",
        text_store,
        "--budget",
        "6steps",
        "--seeds",
        "2",
        "--task",
        f"classify={table}",
    ]
    struck(
        where,
        nth,
        "compare",
        *asked,
        "--set",
        "tokenizer={kind: wordpiece, vocab: 200}",
        *words,
        "--out",
        tmp_path / "o",
        "-q",
    )
    questions = [Question("classify", table, name="classify x.train")]
    options = {"data": [str(text_store)], "budget": "6steps", "seeds": 2, "questions": questions, "quiet": True}
    options["sets"] = ["tokenizer={kind: wordpiece, vocab: 200}", *sets]
    found = [compare(["bert", "roberta"], out=tmp_path / out, **options) for out in ("o", "whole")]
    values = [[cell["values"] for row in f.rows for cell in row["cells"]] for f in found]
    assert values[0] == values[1] and len(values[0]) == 4
