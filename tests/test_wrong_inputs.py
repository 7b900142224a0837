"""What a user can get wrong: exit code 2, one message with place, finding and next step, no traceback, nothing lost."""

from __future__ import annotations

import gzip
import json
import random
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from modeledge.core import InputError
from modeledge.recipe.compare import leaves
from modeledge.recipe.resolve import resolve

TOY = ["--set", "backbone.width=16", "--set", "backbone.layers=1", "--set", "backbone.heads=2"]
TOY += ["--set", "backbone.ffn.width=32", "--set", "loop.batch=4", "--set", "loop.steps=2", "-q"]
PLAIN = [*TOY, "--set", "objectives=[{kind: mlm}]", "--set", "data.text={kind: full_sentences, length: 32}"]


@pytest.fixture
def run(command):
    """run("pretrain", ...) -> (exit code, what was complained about)."""
    return lambda *words: command(*words)[::2]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(60)]
    rows = [{"text": " ".join(rng.choice(words, 40)) + ".", "n": i} for i in range(80)]
    (folder / "good.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


@pytest.fixture(scope="module")
def store(texts, tmp_path_factory):
    from modeledge.core import find
    from modeledge.data.prepare import prepare

    out = tmp_path_factory.mktemp("stores") / "s"
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=200)
    prepare([str(texts / "good.jsonl")], out=out, tokenizer=config, valid_fraction=0.1, processes=1)
    return out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pretran"], "did you mean 'pretrain'"),
        (["recipes", "shwo"], "did you mean 'show'"),
        (["recipes", "show", "rob"], "did you mean 'roberta'"),
        (["recipes", "diff", "bert", "robertta"], "did you mean 'roberta'"),
        (["recipes", "show", "bert", "--size", "minni"], "did you mean 'mini'"),
        (["recipes", "show", "bert", "--set", "optm.lr=1"], "did you mean 'optim'"),
        (
            ["recipes", "show", "word2vec", "--set", "objectives.0.head=hierarchical_sofmax"],
            "did you mean 'hierarchical_softmax'",
        ),
        (["list", "objectivs"], "did you mean 'objectives'"),
        (["pretrain", "bert", "--out", "x", "--data", "y", "--budgte", "3"], "No such option"),
        (["pretrain", "bert", "--out", "x", "--data", "y", "--budget", "3 days"], "known: 10min"),
        (["pretrain", "bert", "--out", "x"], "nothing was given for text"),
        (["pretrain", "bert", "--out", "x", "--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["pretrain", "bert", "--out", "x", "--data", "y", "--init", "/nowhere"], "not a model folder"),
        (["prepare", "nothing-*.txt", "--out", "x"], "nothing-*.txt"),
        (["prepare", "pyproject.toml", "--out", "x", "--tokenizer", "wordpeice"], "did you mean 'wordpiece'"),
        (["prepare", "pyproject.toml", "--out", "x", "--kind", "txt"], "did you mean 'text'"),
        (["prepare", "pyproject.toml", "--out", "x", "--column", "text"], "NAME=VALUE"),
        (["report", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest_right_one(run, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    code, said = run(*words)
    assert code == 2 and says in said, said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optim.lr=fast", "optim.lr"),
        ("optim.lr=-1", "greater than or equal to 0"),
        ("objectives.0.rate=1.5", "objectives[0].rate"),
        ("objectives.0.kind=mml", "did you mean 'mlm'"),
        ("backbone.kind=transfromer", "did you mean 'transformer'"),
        ("backbone.norm.kind=lay", "did you mean 'layer'"),
        ("backbone.widht=3", "did you mean 'width'"),
        ("backbone.width=30", "not divisible by 12 heads"),
        ("loop.precison=bf16", "did you mean 'precision'"),
        ("schedule.kind=cosin", "did you mean 'cosine'"),
        ("data.text.lenght=12", "did you mean 'length'"),
        ("mix={kind: sample, rates: {foo: 1}}", "mix names 'foo'"),
    ],
)
def test_a_wrong_value_names_its_key_path_and_what_is_allowed(run, tmp_path, override, says):
    code, said = run("pretrain", "bert", "--out", tmp_path / "x", "--data", "y", "--set", override)
    assert code == 2 and says in said, said
    assert not (tmp_path / "x").exists()


NUMBERS = [
    ("finetune m --task classify --data d", "--labels 0", "--batch 0", "--length 7", "--seeds 0", "--epochs -1"),
    ("finetune m --task classify --data d", "--lr -1", "--auxiliary -1", "--layer-decay -1", "--unfreeze -1"),
    ("predict m --text a", "--limit 0", "--top-p -1", "--top-p 2", "--top-k -1", "--beams 0", "--temperature -1"),
    ("compare bert gpt2 --out x", "--seeds 0"),
    ("evaluate m --data d", "--shots -1"),
    ("quickstart", "--seeds 0", "--seconds 0"),
    ("prepare f --out x", "--vocab 0", "--valid 2", "--size 0", "--processes -1"),
    ("pretrain bert --out x", "--step -1"),
]


@pytest.mark.parametrize(("line", "option"), [(line, option) for line, *options in NUMBERS for option in options])
def test_a_number_out_of_range_is_refused_before_anything_is_read(run, tmp_path, monkeypatch, line, option):
    monkeypatch.chdir(tmp_path)
    code, said = run(*line.split(), *option.split())
    assert code == 2 and f"Invalid value for '{option.split()[0]}'" in said, said


@pytest.mark.contract
def test_fifty_seeded_typos_each_point_at_the_right_key(tmp_path, run):
    keys = sorted({p for path, _ in leaves(resolve("bert", size="tiny").keys) for p in path if isinstance(p, str)})
    known = {
        "width",
        "layers",
        "heads",
        "dropout",
        "length",
        "vocab",
        "betas",
        "weight_decay",
        "warmup",
        "batch",
        "steps",
    }
    draw, hit, tried = random.Random(7), 0, 0
    homes = {
        "width": "backbone",
        "layers": "backbone",
        "heads": "backbone",
        "dropout": "backbone",
        "length": "data.text",
    }
    homes |= {"vocab": "tokenizer", "betas": "optim", "weight_decay": "optim", "warmup": "schedule"}
    homes |= {"batch": "loop", "steps": "loop"}
    for _ in range(50):
        word = draw.choice(sorted(known & set(keys)))
        i = draw.randrange(1, len(word) - 1)
        typo = draw.choice(
            [word[:i] + word[i + 1 :], word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + "x" + word[i:]]
        )
        if typo == word:
            typo = word + "s"
        _, said = run("recipes", "show", "bert", "--size", "tiny", "--explain", "--set", f"{homes[word]}.{typo}=1")
        tried, hit = tried + 1, hit + (f"did you mean {word!r}" in said)
    assert (tried, hit) == (50, 50)


def corrupt_gzip(path, rows):
    whole = gzip.compress(rows)
    path.write_bytes(whole[: len(whole) // 2])


FILES = {
    "missing.jsonl": (None, "missing.jsonl"),
    "empty.jsonl": (lambda p, rows: p.write_bytes(b""), "empty.jsonl"),
    "binary.txt": (lambda p, rows: p.write_bytes(bytes(range(256)) * 50), "binary.txt"),
    "badutf8.jsonl": (lambda p, rows: p.write_bytes(rows + b'{"text": "\xff\xfe"}\n' + rows), "badutf8.jsonl:81"),
    "malformed.jsonl": (lambda p, rows: p.write_bytes(rows + b'{"text": \n' + rows), "malformed.jsonl:81"),
    "nul.jsonl": (lambda p, rows: p.write_bytes(rows + b'{"text": "a\\u0000b"}\n'), "nul.jsonl:81"),
    "field.jsonl": (lambda p, rows: p.write_bytes(rows + b'{"txt": "a"}\n'), "field.jsonl:81"),
    "typed.jsonl": (lambda p, rows: p.write_bytes(rows + b'{"text": 5}\n'), "typed.jsonl:81"),
    "cut.jsonl.gz": (corrupt_gzip, "cut.jsonl.gz"),
    "cut.parquet": (lambda p, rows: p.write_bytes(b"PAR1" + rows[:300]), "cut.parquet"),
    "blank.jsonl": (lambda p, rows: p.write_bytes(b'{"text": ""}\n{"text": "  "}\n'), ""),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_named_with_its_line_and_leaves_no_store(run, texts, tmp_path, name):
    spoil, says = FILES[name]
    path = tmp_path / name
    if spoil is not None:
        spoil(path, (texts / "good.jsonl").read_bytes())
    code, said = run("prepare", path, "--out", tmp_path / "out", "--vocab", 200, "-q")
    assert code == 2 and says in said, said
    assert not (tmp_path / "out").exists()


def test_a_wrong_column_names_the_columns_there_are(run, texts, tmp_path):
    code, said = run(
        "prepare", texts / "good.jsonl", "--out", tmp_path / "o", "--column", "text=txet", "--vocab", 200, "-q"
    )
    assert code == 2 and "did you mean 'text'" in said, said


@pytest.mark.contract
def test_a_line_of_a_hundred_megabytes_is_refused_with_its_place(run, tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "short"}\n{"text": "')
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(b'"}\n')
    code, said = run("prepare", path, "--out", tmp_path / "o", "--vocab", 200, "-q")
    assert code == 2 and "long.jsonl:2" in said, said


def test_an_output_folder_that_holds_something_is_left_alone(run, texts, store, tmp_path):
    before = sorted(p.name for p in store.iterdir())
    code, said = run("prepare", texts / "good.jsonl", "--out", store, "--vocab", 200, "-q")
    assert code == 2 and "already a store" in said and sorted(p.name for p in store.iterdir()) == before
    code, said = run("pretrain", "bert", "--data", store, "--out", tmp_path / "r", *PLAIN)
    assert code == 0, said
    code, said = run("pretrain", "bert", "--data", store, "--out", tmp_path / "r", *PLAIN)
    assert code == 2 and "--resume" in said


def test_a_store_of_another_tokenizer_is_refused_naming_both(run, store, tmp_path):
    code, said = run("pretrain", "roberta", "--data", store, "--out", tmp_path / "r", *TOY)
    assert code == 2 and "'wordpiece'" in said and "'byte_bpe'" in said, said


def test_rows_longer_than_the_model_are_refused_before_training(run, store, tmp_path):
    code, said = run(
        "pretrain", "bert", "--data", store, "--out", tmp_path / "r", *PLAIN, "--set", "data.text.length=600"
    )
    assert code == 2 and "512" in said and "600" in said, said


def test_fewer_rows_than_a_batch_are_refused_with_the_remedy(run, store, tmp_path):
    code, said = run("pretrain", "bert", "--data", store, "--out", tmp_path / "r", *PLAIN, "--set", "loop.batch=5000")
    assert code == 2 and "fewer than one batch of 5000" in said and "--set loop.batch=" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(run, store, tmp_path):
    code, said = run("pretrain", "bert", "--data", store, "--out", tmp_path / "r", *PLAIN, "--device", "cuda")
    assert code == 2 and "no CUDA device" in said


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A run that is done."""
    from modeledge.run.pretrain import pretrain

    out = tmp_path_factory.mktemp("trained") / "r"
    sets = [word for word in PLAIN if word not in ("--set", "-q")]
    pretrain("bert", data=[str(store)], out=out, sets=sets, quiet=True)
    return out


def flip(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [flip, cut])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_model_folder_is_named_and_not_loaded(run, store, trained, tmp_path, file, harm):
    shutil.copytree(trained / "model", tmp_path / "m")
    harm(tmp_path / "m" / file)
    code, said = run("pretrain", "bert", "--data", store, "--out", tmp_path / "s", *PLAIN, "--init", tmp_path / "m")
    assert code == 2 and file in said and "Traceback" not in said, said
    code, said = run("evaluate", tmp_path / "m", "--data", store, "--task", "loss")
    assert code == 2 and f"damaged: {file}" in said, said


def test_a_model_folder_whose_card_was_edited_or_that_was_added_to_is_as_good(trained, tmp_path):
    from modeledge.run.keep import load_model

    shutil.copytree(trained / "model", tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("mine")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    load_model(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer.json: No such file"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    "line",
    [
        "prepare {texts}/good.jsonl --vocab 200 -q",
        "pretrain bert --data {texts}/good.jsonl -q --budget 1steps",
        "pretrain bert --data {store} -q --budget 1steps",
        "export {trained}",
        "import {trained}/hf",
        "quickstart -q",
    ],
)
def test_a_place_that_cannot_be_written_to_is_named(run, texts, store, trained, tmp_path, line):
    (tmp_path / "file").write_text("mine")
    if not (trained / "hf").exists():
        assert run("export", trained, "--out", trained / "hf")[0] == 0
    words = line.format(texts=texts, store=store, trained=trained).split()
    code, said = run(*words, "--out", tmp_path / "file" / "x")
    assert code in (1, 2) and str(tmp_path / "file") in said, said
    assert (tmp_path / "file").read_text() == "mine"


def test_an_export_onto_a_full_disk_leaves_nothing_and_says_so(run, trained, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))  # as if there were no more space
    try:
        code, said = run("export", trained, "--out", tmp_path / "hf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1 and "could not be written" in said and "make space" in said, said
    assert not list(tmp_path.iterdir())


def test_weights_of_another_shape_are_refused(run, store, tmp_path):
    assert run("pretrain", "bert", "--data", store, "--out", tmp_path / "r", *PLAIN)[0] == 0
    wide = [*PLAIN, "--set", "backbone.width=24"]
    code, said = run("pretrain", "bert", "--data", store, "--out", tmp_path / "s", *wide, "--init", tmp_path / "r")
    assert code == 2 and "--init" in said and "of another shape" in said


def test_help_and_listings_do_not_import_torch():
    import subprocess

    check = "import sys; sys.argv = ['modeledge', *%r]\nfrom modeledge import cli\n"
    check += "try: cli.main()\nexcept SystemExit: pass\n"
    check += "assert 'torch' not in sys.modules, 'torch was imported'"
    for words in (
        ["--help"],
        ["recipes", "list"],
        ["recipes", "show", "rob"],
        ["list", "objectives"],
        ["recipes", "diff", "bert", "roberta"],
    ):
        done = subprocess.run([sys.executable, "-c", check % words], capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr[-500:])


def test_only_pretraining_runs_in_several_processes(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, said = run("compare", "bert", "gpt2", "--data", "x")
    assert code == 2 and "compare: only pretrain runs in several processes" in said


def test_memory_that_runs_out_is_one_message_with_a_way_on(run, monkeypatch):
    import torch

    def full(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate 9 GiB")

    monkeypatch.setattr("modeledge.run.doctor.examine", full)
    code, said = run("doctor")
    assert code == 1 and "out of memory: tried to allocate 9 GiB\n  next: --set loop.micro=N" in said


def test_a_reader_that_has_enough_is_no_error():
    lines = subprocess.run(
        f"{sys.executable} -m modeledge recipes list | head -2; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert lines.stderr == "" and lines.stdout.splitlines()[-1] in ("0", "1")
