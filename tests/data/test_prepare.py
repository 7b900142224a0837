"""From files to stores: same bytes for any number of processes, nothing lost, everything counted, faults told."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modeledge.core import DataError, InputError, find
from modeledge.data import Store
from modeledge.data.prepare import prepare
from modeledge.tokenizers import load_tokenizer


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a store, store.json without the names of the sources."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def documents_of(store: Store, tokenizer) -> list[str]:
    at = store.offsets("tokens")
    return [tokenizer.decode(store["tokens"][a:b]) for a, b in zip(at, at[1:], strict=False)]


@pytest.mark.contract
def test_tokens_are_those_of_each_document_encoded_whole(document, write, tokenizer, tmp_path):
    documents = [document(n) for n in range(200)]
    summary = prepare(write("a.jsonl", documents), out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0.1)
    store = Store.open(tmp_path / "s")
    whole = {tokenizer.decode(ids): ids for ids in tokenizer.encode_batch(documents)}
    found = documents_of(store, tokenizer) + documents_of(store.valid, tokenizer)
    assert sorted(found) == sorted(whole)
    assert (summary.rows, summary.valid_rows) == (store.rows, store.valid.rows) and 8 <= store.valid.rows <= 34
    train = [
        d for d in map(tokenizer.decode, tokenizer.encode_batch(documents)) if d in set(documents_of(store, tokenizer))
    ]
    assert documents_of(store, tokenizer) == train  # in their order
    assert (store["frequency"] == np.bincount(store["tokens"], minlength=tokenizer.vocab)).all()
    assert summary.tokens == len(store["tokens"]) and store["tokens"].dtype == np.uint16


def test_sentences_and_words_begin_where_they_should(write, tokenizer, tmp_path):
    path = write("a.jsonl", ["The river ran high. Mr. Brown asked why. 今天天气很好。我们去公园散步。"])
    prepare(path, out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0)
    store = Store.open(tmp_path / "s")
    bounds = [*store["sentences"], len(store["tokens"])]
    told = [tokenizer.decode(store["tokens"][a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    assert told == ["the river ran high.", "mr. brown asked why.", "今 天 天 气 很 好 。", "我 们 去 公 园 散 步 。"]
    tokens = [tokenizer.pieces.tokens[i] for i in store["tokens"]]
    words, chinese = [], "今天天气很好我们去公园散步。"
    for token, begins in zip(tokens, store["word_starts"], strict=True):
        if begins:
            words.append("")
        words[-1] += token.removeprefix("##")
    assert words[:4] == ["the", "river", "ran", "high"]
    assert [w for w in words if w[0] in chinese] == ["今天天气", "很", "好", "。", "我们", "去", "公园", "散步", "。"]
    prepare(path, out=tmp_path / "plain", tokenizer=tokenizer, valid_fraction=0, words="tokenizer")
    plain = Store.open(tmp_path / "plain")
    assert (plain["tokens"] == store["tokens"]).all() and plain["word_starts"].sum() > store["word_starts"].sum()


def test_capitals_are_remembered_for_a_tokenizer_that_forgets_them(tmp_path):
    texts = ["The unbelievable Étienne saw NASA. He didn't; Straße, ÉCOLE and 3D\u0130x: iPod!", "so It goes"]
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts * 30))
    make = find("tokenizers", "wordpiece").Config
    prepare(str(file), out=tmp_path / "s", tokenizer=make(kind="wordpiece", vocab=60), capitals=True, valid_fraction=0)
    store = Store.open(tmp_path / "s")
    tokenizer, at = load_tokenizer(tmp_path / "s"), 0
    for text in texts * 30:
        (encoded,) = tokenizer.encode_spans([text])
        wanted = []
        for (begin, _), starts in zip(encoded.spans, encoded.word_starts, strict=True):
            wanted.append(text[begin].isupper() if starts or not wanted else wanted[-1])
        assert store["capitals"][at : at + len(wanted)].tolist() == wanted
        at += len(wanted)
    assert at == len(store["tokens"]) and 0 < store["capitals"].mean() < 1
    cased = make(kind="wordpiece", vocab=60, lowercase=False)
    with pytest.raises(InputError, match="tells capitals apart by itself"):
        prepare(str(file), out=tmp_path / "c", tokenizer=cased, capitals=True)


def test_two_processes_write_the_bytes_of_one(document, write, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("modeledge.data._text.CHUNK", 2000)
    path = write("a.jsonl", [document(n) for n in range(300)] + ["", document(7)])
    for processes in (1, 2):
        prepare(path, out=tmp_path / f"s{processes}", tokenizer=tokenizer, processes=processes, valid_fraction=0.1)
    assert contents(tmp_path / "s1") == contents(tmp_path / "s2")


def test_training_the_tokenizer_uses_training_documents_only_and_repeats(document, write, tmp_path):
    documents = [document(n) for n in range(150)] + [f"zyx{n} zyx{n}." for n in range(60)]
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=400)
    path = write("a.jsonl", documents)
    for name in ("s1", "s2"):
        summary = prepare(path, out=tmp_path / name, tokenizer=config, valid_fraction=0.3)
    assert contents(tmp_path / "s1") == contents(tmp_path / "s2")
    made = load_tokenizer(tmp_path / "s1")
    assert made.fingerprint == summary.fingerprint == Store.open(tmp_path / "s1").meta["fingerprint"]


def test_equal_documents_go_to_one_side_and_resembling_ones_are_counted(document, write, tokenizer, tmp_path):
    long = [" ".join(document(n * 31 + i) for i in range(12)) for n in range(40)]
    copies = [d.replace("Tuesday", "Sunday", 1) for d in long[:10]]  # a word or two differ
    path = write("a.jsonl", long + copies + long[20:25])
    summary = prepare(path, out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0.4)
    assert summary.counts["near_duplicates"] == 15
    store = Store.open(tmp_path / "s")
    sides = [set(documents_of(s, tokenizer)) for s in (store, store.valid)]
    for one, other in zip(long, copies, strict=False):
        pair = {tokenizer.decode(i) for i in tokenizer.encode_batch([one, other])}
        assert pair <= sides[0] or pair <= sides[1]
    dropped = prepare(path, out=tmp_path / "d", tokenizer=tokenizer, valid_fraction=0.4, near="drop")
    assert dropped.rows + dropped.valid_rows == 40


def test_empty_lines_and_documents_are_counted_and_left_out(document, write, tokenizer, tmp_path):
    summary = prepare(write("a.jsonl", [document(1), "", "  \n", document(2)]), out=tmp_path / "s", tokenizer=tokenizer,
                      valid_fraction=0)  # fmt: skip
    assert summary.rows == 2 and summary.counts["empty_documents"] == 2
    (tmp_path / "b.txt").write_text("a line.\n\n\nanother.\n")
    assert prepare(tmp_path / "b.txt", out=tmp_path / "b", tokenizer=tokenizer, valid_fraction=0,
                   documents="line").counts["empty_lines"] == 2  # fmt: skip
    assert "2 rows for training" in str(summary) and "empty documents: 2" in str(summary)


def test_given_validation_files_are_held_out_and_nothing_else(document, write, tokenizer, tmp_path):
    train, held = (
        write("a.jsonl", [document(n) for n in range(40)]),
        write("b.jsonl", [document(n) for n in range(90, 95)]),
    )
    summary = prepare(train, valid=held, out=tmp_path / "s", tokenizer=tokenizer)
    assert (summary.rows, summary.valid_rows) == (40, 5)


def test_languages_come_from_a_column_or_the_file_s_name(document, write, tokenizer, tmp_path):
    files = [write("en.txt", [document(1)]), write("de.part.txt", [document(2)])]
    prepare(files, out=tmp_path / "s", tokenizer=tokenizer, lang="file", valid_fraction=0)
    store = Store.open(tmp_path / "s")
    assert [store.meta["languages"][i] for i in store["lang"]] == ["en", "de"]


def test_documents_of_one_language_are_laid_side_by_side_with_all_their_columns(document, monkeypatch, tmp_path):
    monkeypatch.setattr("modeledge.data._by_language.PIECE", 100)
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=400)
    texts = [f"{document(n).capitalize()} {document(n + 70)}" for n in range(60)]
    rows = [{"text": text, "lang": "abc"[n % 3]} for n, text in enumerate(texts)]
    apart, held = tmp_path / "apart.jsonl", tmp_path / "held.jsonl"
    for name, tokenizer in (("s", config), ("t", None)):  # as they come, and sorted beforehand
        for file, some in ((apart, rows[:40]), (held, rows[40:])):
            some = some if name == "s" else sorted(some, key=lambda row: row["lang"])
            file.write_text("".join(json.dumps(row) + "\n" for row in some))
        tokenizer = tokenizer or load_tokenizer(tmp_path / "s")
        prepare(apart, valid=held, out=tmp_path / name, tokenizer=tokenizer, lang="lang", capitals=True)
    for part in ("train", "valid"):
        one, other = (Store.open(tmp_path / name).part(part) for name in "st")
        assert len(set(one["lang"].tolist())) == 3 and (np.diff(one["lang"].astype(int)) >= 0).all()
        assert one.columns.keys() == other.columns.keys() >= {"capitals", "sentences", "word_starts"}
        for name, column in one.columns.items():
            assert np.array_equal(column, other[name]), name


def test_training_text_is_cut_by_chance_where_the_tokenizer_samples_and_held_out_text_is_not(document, write, tmp_path):
    path = write("a.jsonl", [document(n) for n in range(80)])
    config = find("tokenizers", "unigram").Config(kind="unigram", vocab=200, sample=0.1)
    for name, processes in (("s", 1), ("t", 2)):
        prepare(path, out=tmp_path / name, tokenizer=config, valid_fraction=0.3, processes=processes)
    assert contents(tmp_path / "s") == contents(tmp_path / "t")
    store, made = Store.open(tmp_path / "s"), load_tokenizer(tmp_path / "s")
    said = {made.decode(ids): len(ids) for ids in made.encode_batch([document(n) for n in range(80)])}
    begun = {made.decode(i): made.word_starts(i).sum() for i in made.encode_batch([document(n) for n in range(80)])}
    for part, share in ((store, (1.03, 9)), (store.valid, (1, 1))):
        offsets = part.offsets("tokens")
        texts = [made.decode(part["tokens"][a:b]) for a, b in itertools.pairwise(offsets)]
        assert share[0] <= len(part["tokens"]) / sum(said[t] for t in texts) <= share[1]
        assert part["word_starts"].sum() == sum(begun[t] for t in texts)
        assert part.meta["tokens"] == offsets[-1] and set(part["sentences"]) >= set(offsets[:-1])


def test_the_held_out_part_tells_its_own_totals(document, write, tokenizer, tmp_path):
    prepare(write("a.jsonl", [document(n) for n in range(60)]), out=tmp_path / "s", tokenizer=tokenizer,
            valid_fraction=0.3)  # fmt: skip
    store = Store.open(tmp_path / "s")
    for part in (store, store.valid):
        assert part.meta["tokens"] == len(part["tokens"]) and part.meta["sentences"] == len(part["sentences"])
    assert store.meta["tokens"] != store.valid.meta["tokens"]


@pytest.mark.parametrize("kind", ["parallel", "table", "fields", "pairs"])
def test_no_tokenizer_is_trained_on_rows_that_are_held_out(kind, tmp_path):
    """Each row has a word of its own; the characters of the held-out ones are unknown."""
    from PIL import Image

    signs = [chr(0x3400 + n) for n in range(120)]
    rows = [{"text": f"a {s} word", "second": f"another {s}", "label": i % 2} for i, s in enumerate(signs)]
    for i, row in enumerate(rows if kind == "pairs" else []):
        Image.new("RGB", (8, 8), (i, 2 * i, 9)).save(tmp_path / f"{i}.png")
        row["image"] = f"{i}.png"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"parallel": {"second": "second"}, "table": {"second": "second", "label": "label"},
               "fields": {"fields": ["text", "second"]}, "pairs": {"size": 8}}[kind]  # fmt: skip
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=4000)
    prepare(tmp_path / "rows.jsonl", out=tmp_path / "s", kind=kind, tokenizer=config, valid_fraction=0.3, **options)
    store = Store.open(tmp_path / "s")
    unknown = load_tokenizer(tmp_path / "s").special["unk"]
    asked = ["tokens", "second"] if "second" in store else ["tokens"]
    assert store.rows > 60 and store.valid.rows > 15
    for column in asked:
        assert unknown not in store[column]
        assert (store.valid[column][:] == unknown).sum() >= store.valid.rows


def test_a_bad_record_stops_with_its_place_or_is_set_aside(document, write, tokenizer, tmp_path):
    path = write("a.jsonl", [document(n) for n in range(20)])
    rows = path.read_bytes().split(b"\n")
    rows[11] = b'{"text": "\xff"}'
    path.write_bytes(b"\n".join(rows))
    with pytest.raises(DataError, match=f"(?s){path}:12: not UTF-8.*byte.*--on-bad skip"):
        prepare(path, out=tmp_path / "s", tokenizer=tokenizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl"]
    summary = prepare(path, out=tmp_path / "s", tokenizer=tokenizer, on_bad="skip", valid_fraction=0)
    rejects = [json.loads(line) for line in (tmp_path / "s" / "rejects.jsonl").read_text().splitlines()]
    assert [(r["line"], r["file"]) for r in rejects] == [(12, str(path))]
    assert summary.rows == 19 and summary.counts["rejected"] == 1


def test_wrong_input_is_refused_before_anything_is_written(document, write, tokenizer, tmp_path):
    path = write("a.jsonl", ["", " "])
    for settings, error, why in [
        ({"tokenizer": tokenizer}, DataError, "no text in it: 2 empty documents"),
        ({"tokenizer": None}, InputError, "needs a tokenizer"),
        ({"tokenizer": tokenizer, "valid_fraction": 1.5}, InputError, "--valid"),
        ({"tokenizer": tokenizer, "kind": "txt"}, InputError, "did you mean 'text'"),
        ({"tokenizer": tokenizer, "on_bad": "skp"}, InputError, "did you mean 'skip'"),
        ({"tokenizer": tokenizer, "processes": -1}, InputError, "--processes"),
        ({"tokenizer": tokenizer, "kind": "parallel"}, InputError, "second"),
    ]:
        with pytest.raises(error, match=why):
            prepare(path, out=tmp_path / "s", **settings)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
    one = write("b.jsonl", [document(1)])
    with pytest.raises(DataError, match="(?s)every document was held out.*--valid 0"):
        prepare(one, out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0.9999)
    prepare(one, out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0)
    with pytest.raises(InputError, match="already a store"):
        prepare(one, out=tmp_path / "s", tokenizer=tokenizer)


def test_sources_are_remembered_with_size_and_hash(document, write, tokenizer, tmp_path):
    path = write("a.jsonl", [document(1), document(2)])
    prepare(path, out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0)
    told = {"file": str(path), "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert Store.open(tmp_path / "s").meta["sources"] == [told]


def test_a_document_without_spaces_and_many_empty_lines_pass(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("天" * 30_000 + "\n" * 200_000 + "x" * 300_000)
    summary = prepare(tmp_path / "a.txt", out=tmp_path / "s", tokenizer=tokenizer, valid_fraction=0)
    assert summary.tokens >= 30_000 and summary.counts["empty_lines"] == 199_999


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_killed_run_is_completed_by_the_next_with_the_bytes_of_a_clean_one(
    document, write, tokenizer, tmp_path, seed
):
    path = write("a.jsonl", [document(n) for n in range(4000)])
    tokenizer.save(tmp_path / "t")
    code = (
        "from modeledge.data.prepare import prepare; from modeledge.tokenizers import load_tokenizer\n"
        f"print('on', flush=True); prepare({str(path)!r}, out={str(tmp_path / 's')!r}, processes=1,"
        f" tokenizer=load_tokenizer({str(tmp_path / 't')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        process.wait(random.Random(seed).uniform(0.01, 0.8))
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    process.stdout.close()
    if not (tmp_path / "s").exists():
        prepare(path, out=tmp_path / "s", tokenizer=tokenizer)
    prepare(path, out=tmp_path / "clean", tokenizer=tokenizer)
    assert contents(tmp_path / "s") == contents(tmp_path / "clean")
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
def test_the_chinese_and_english_corpora_are_prepared(tmp_path):
    if "MODELEDGE_DATA" not in os.environ:
        pytest.skip("set MODELEDGE_DATA to the folder with the real data")
    root = Path(os.environ["MODELEDGE_DATA"]) / "text"
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=4000)
    files = [root / "zh_general.valid.parquet", root / "en_books.valid.parquet"]
    summary = prepare(files, out=tmp_path / "s", tokenizer=config, valid_fraction=0)
    store = Store.open(tmp_path / "s")
    assert summary.rows == 97 and summary.tokens > 250_000
    assert 8 < len(store["tokens"]) / len(store["sentences"]) < 60
