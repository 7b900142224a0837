"""Readers: the same documents from every format, and every fault told with its place."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections import Counter

import numpy as np
import pytest

from modeledge.core import DataError
from modeledge.data.readers import Bad, Packed, Record, Wanted, expand, read
from modeledge.data.readers._bytes import lines

TEXT = Wanted({"text": (str,)})
DOCUMENTS = [f"Document {n} says {n * n}, ünïcode 天气." for n in range(1200)]


def texts(path, wanted=TEXT):
    return [r.value["text"] for r in read(path, wanted, Counter())]


def bad(path, wanted=TEXT):
    return [r for r in read(path, wanted, Counter()) if isinstance(r, Bad)]


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.csv", "a.csv.gz", "a.tsv", "a.tsv.zst", "a.parquet", "a.txt",
     "a.txt.gz", "a.txt.zst"],
)  # fmt: skip
def test_every_format_gives_the_same_documents(write, name):
    assert texts(write(name, DOCUMENTS), TEXT._replace(documents="line")) == DOCUMENTS


def test_a_datasets_folder_gives_the_same_documents(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"text": DOCUMENTS})
    made.save_to_disk(str(tmp_path / "set"), num_shards=3)
    (path,) = expand(tmp_path / "set")
    assert texts(path) == DOCUMENTS
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "dict"))
    assert texts(expand(tmp_path / "dict")[0]) == DOCUMENTS


def shard(path, members, mode="w"):
    """A tar file with these members, in this order."""
    with tarfile.open(path, mode) as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("packing", ["w", "w:gz"])
def test_a_webdataset_shard_gives_the_same_documents(tmp_path, packing):
    name = "a.tar" if packing == "w" else "a.tar.gz"
    plain = [(f"part/{n:05d}.txt", d.encode()) for n, d in enumerate(DOCUMENTS)]
    assert texts(shard(tmp_path / name, plain, packing)) == DOCUMENTS
    objects = [(f"part/{n:05d}.json", json.dumps({"text": d}).encode()) for n, d in enumerate(DOCUMENTS)]
    assert texts(shard(tmp_path / name, objects, packing)) == DOCUMENTS


def test_neighbouring_members_of_a_shard_with_one_name_are_one_record(tmp_path):
    members = [("a/1.jpg", b"\xff\xd8"), ("a/1.cls", b"7"), ("a/1.json", b'{"text": "one"}'), ("b/1.jpg", b"x"),
               ("b/1.cls", b"cat"), ("b/1.caption.txt", b"two"), ("b/.hidden", b""), ("b/README", b"")]  # fmt: skip
    wanted = Wanted({"image": (bytes,), "label": (int, str), "text": (str,)})
    found = [r.value for r in read(shard(tmp_path / "a.tar", members), wanted, Counter())]
    assert found == [{"image": b"\xff\xd8", "label": 7, "text": "one"}, {"image": b"x", "label": "cat", "text": "two"}]


def test_what_is_wrong_with_a_record_of_a_shard_is_told_with_its_number_and_name(tmp_path):
    members = [("1.txt", b"good"), ("2.txt", b"bad \xff"), ("3.json", b"{"), ("4.jpg", b"no text")]
    path = shard(tmp_path / "a.tar", members)
    found = bad(path)
    assert [b.line for b in found] == [2, 3, 4]
    assert "2: 'utf-8' codec can't decode byte 0xff" in str(found[0])
    assert "field 'text' is missing" in str(found[2])
    assert texts_of(path) == ["good"]


@pytest.mark.parametrize("kept", [0, 300, 700, 5000])
def test_a_truncated_shard_is_named(tmp_path, kept):
    path = shard(tmp_path / "a.tar", [("1.txt", b"x" * 100), ("2.txt", b"y" * 9000)])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"a\.tar: (the file is empty|damaged tar file)"):
        list(read(path, TEXT, Counter()))


def texts_of(path):
    return [r.value["text"] for r in read(path, TEXT, Counter()) if isinstance(r, Record)]


LETTERS = Packed(lambda ids: "".join(chr(i) for i in ids), 0, 1 << 16)


@pytest.mark.parametrize("header", [b"", np.pad(np.array([20240520, 1, 9], "<i4"), (0, 253)).tobytes()])
def test_packed_ids_give_the_same_documents(tmp_path, header):
    ids = [i for d in DOCUMENTS for i in (*map(ord, d), 0)]
    path = tmp_path / "a.bin"
    path.write_bytes(header + np.array([0, *ids, 0], "<u2").tobytes())
    assert texts(path, TEXT._replace(packed=LETTERS)) == DOCUMENTS
    path.write_bytes(np.array(ids[:-1], "<u4").tobytes())
    assert texts(path, TEXT._replace(packed=LETTERS._replace(vocab=1 << 17))) == DOCUMENTS


def test_packed_ids_without_an_end_are_cut_so_that_memory_stays_flat(tmp_path):
    ids = np.random.default_rng(0).integers(97, 123, 3_000_000).astype("<u2")
    path, tally = tmp_path / "a.bin", Counter()
    path.write_bytes(ids.tobytes())
    found = [r.value["text"] for r in read(path, TEXT._replace(packed=LETTERS), tally)]
    assert "".join(found) == LETTERS.decode(ids) and tally["documents_cut"] == 2
    assert max(map(len, found)) < 1_200_000


def test_what_is_wrong_with_packed_ids_is_told(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(np.array([5, 6, 900], "<u2").tobytes())
    with pytest.raises(DataError, match="need the tokenizer"):
        texts(path)
    with pytest.raises(DataError, match="id 900 at byte 4, but the tokenizer has 500 ids"):
        texts(path, TEXT._replace(packed=LETTERS._replace(vocab=500)))
    path.write_bytes(b"abc")
    with pytest.raises(DataError, match="truncated: 1 bytes left"):
        texts(path, TEXT._replace(packed=LETTERS))


def test_documents_of_plain_text_are_files_paragraphs_or_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\n\n  \nthree\xe2\x80\xa8more\n")
    found = {d: texts(path, TEXT._replace(documents=d)) for d in ("file", "blank", "line")}
    assert found["line"] == ["one", "two", "three\u2028more"]
    assert found["blank"] == ["one\ntwo", "three\u2028more"]
    assert found["file"] == ["one\ntwo\n\n\n  \nthree\u2028more"]
    tally = Counter()
    list(read(path, TEXT, tally))
    assert tally["empty_lines"] == 3


def line_501(fault):
    """A file of 600 good lines but for one, and where its first wrong byte is."""
    rows = [json.dumps({"text": d}).encode() for d in DOCUMENTS[:600]]
    rows[500] = fault
    return b"\n".join(rows) + b"\n", sum(len(r) + 1 for r in rows[:500])


@pytest.mark.parametrize(
    ("fault", "at", "reason"),
    [
        (b'{"text": "bad \xff byte"}', 14, "not UTF-8: byte 0xff"),
        (b'{"text": "no end}', 9, "malformed JSON"),
        (b'{"text": "nul \x00"}', 14, "NUL"),
        (b'{"txet": "x"}', 0, "field 'text' is missing; it has txet"),
        (b'{"text": 12}', 0, "expected text, found a number"),
        (b'{"text": null}', 0, "is null"),
        (b'{"text": "a \\u0000"}', 0, "NUL"),
        (b"[1, 2]", 0, "expected an object"),
        (b'{"text":' + b"[" * 100_000, 0, "nested too deeply"),
    ],
)
def test_a_fault_in_line_501_is_told_with_line_and_byte(tmp_path, fault, at, reason):
    content, offset = line_501(fault)
    path = tmp_path / "b.jsonl"
    path.write_bytes(content)
    (found,) = bad(path)
    assert (found.line, found.offset) == (501, offset + at) and reason in found.reason
    assert str(found).startswith(f"{path}:501: ") and len(texts_good(path)) == 599


def texts_good(path, wanted=TEXT):
    return [r for r in read(path, wanted, Counter()) if isinstance(r, Record)]


def test_faults_in_other_formats_are_told_with_their_row(tmp_path):
    (tmp_path / "a.csv").write_text('text,n\nfine,1\n"two\nlines",2\nthree,3,4\nfour,\n')
    found = bad(tmp_path / "a.csv", Wanted({"text": (str,), "n": (str, int)}))
    assert [(b.line, b.reason) for b in found] == [
        (5, "3 values under a header of 2"),
        (6, "field 'n' is null"),
    ]
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a", None, "c"]}), tmp_path / "a.parquet")
    assert [b.line for b in bad(tmp_path / "a.parquet")] == [2]
    (tmp_path / "a.txt").write_bytes(b"fine\nnot \xc3\n")
    assert [(b.line, b.offset) for b in bad(tmp_path / "a.txt")] == [(2, 9)]


def test_quotation_marks_in_tabs_are_text_unless_they_hold_a_value_together(tmp_path):
    wanted = Wanted({"text": (str,), "label": (str,)})
    lines = [
        "text\tlabel",
        '"what a film\t1',
        "bad one\t0",
        'the end of it"\t1',
        '"Oh" he said\t0',
        'so "so"\t1',
        '"a\t"b',
    ]
    (tmp_path / "glue.tsv").write_text("\n".join(lines))
    found = [tuple(r.value.values()) for r in read(tmp_path / "glue.tsv", wanted, Counter())]
    assert found == [tuple(line.split("\t")) for line in lines[1:]]
    import pandas

    rows = [["a\ttab", "1"], ['all of "it"', "0"], ['"', "1"], ["", "0"], ["plain", "1"]]
    pandas.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    assert [list(r.value.values()) for r in read(tmp_path / "p.tsv", wanted, Counter())] == rows
    (tmp_path / "p.tsv").write_text('text\tlabel\n"two\nlines"\t1\n')
    assert [b.line for b in bad(tmp_path / "p.tsv", wanted)] == [2]


def test_an_empty_text_in_a_table_of_values_is_an_empty_text(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n,yes\nfine,\n")
    found = list(read(tmp_path / "a.csv", Wanted({"text": (str,), "label": (str, int)}), Counter()))
    assert found[0].value == {"text": "", "label": "yes"} and found[1].reason == "field 'label' is null"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.tsv.gz"])
def test_a_wrong_column_names_the_nearest(write, name):
    with pytest.raises(DataError, match=f"(?s){name}.*no column named 'texts'; did you mean 'text'"):
        texts(write(name, ["a"]), Wanted({"texts": (str,)}))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_named(write, name, share):
    path = write(name, DOCUMENTS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"{name}: .*(truncated|damaged)"):
        texts(path)


def test_a_corrupt_gzip_is_named(write):
    path = write("a.jsonl.gz", DOCUMENTS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.jsonl.gz: (corrupt|truncated) gzip"):
        texts(path)


def test_a_flipped_page_of_parquet_is_noticed(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    rng = random.Random(0)
    column = pa.array(["".join(rng.choices("abcdefgh ", k=60)) for _ in range(500)])
    pq.write_table(pa.table({"text": column}), path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.parquet: damaged"):
        texts(path)


@pytest.mark.parametrize("name", ["bomb.jsonl.zst", "bomb.txt.gz"])
def test_a_decompression_bomb_is_stopped(tmp_path, name):
    zeros = b"0" * (128 << 20)
    if name.endswith("gz"):
        data = gzip.compress(zeros)
    else:
        import zstandard

        data = zstandard.compress(zeros, 19)
    assert len(data) * 1000 < len(zeros)
    (tmp_path / name).write_bytes(data)
    del zeros
    with pytest.raises(DataError, match=f"{name}: .*bomb"):
        for _ in lines(tmp_path / name, Counter(), split=1 << 20):
            pass


def test_a_line_of_20_mib_is_refused_and_the_next_one_read(tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "' + b"x" * (20 << 20) + b'"}\n{"text": "b"}\n')
    found = list(read(path, TEXT, Counter()))
    assert [type(f) for f in found] == [Record, Bad, Record]
    assert found[1].line == 2 and "16 MiB" in found[1].reason and found[2].line == 3
    assert found[1].offset == 14  # where the line begins
    path.write_bytes(b"\n" + b"x" * (40 << 20))
    assert bad(path)[0].offset == 1


def test_a_long_line_of_plain_text_is_cut_up_and_nothing_is_lost(tmp_path):
    path = tmp_path / "long.txt"
    text = "天气x" * 2_000_000
    path.write_text(text)
    tally = Counter()
    found = [r.value["text"] for r in read(path, TEXT, tally)]
    assert "".join(found) == text
    assert tally["documents_cut"] == len(found) - 1 > 0 and max(map(len, found)) <= 4 << 20


def test_a_long_line_is_one_document_where_lines_are(tmp_path):
    (tmp_path / "a.txt").write_text("word " * 500_000 + "\nshort\n\nlast")
    found = [r.value["text"] for r in read(tmp_path / "a.txt", TEXT._replace(documents="line"), Counter())]
    assert [len(text) for text in found] == [2_500_000, 5, 4]
    whole = [r.value["text"] for r in read(tmp_path / "a.txt", TEXT, Counter())]
    assert whole == ["word " * 500_000 + "\nshort\n\nlast"]


def test_an_integer_of_thousands_of_digits_is_a_bad_record(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "n": ' + "9" * 5000 + "}\n")
    assert [(b.line, b.offset) for b in bad(tmp_path / "a.jsonl")] == [(2, 14)]


def test_lines_do_not_depend_on_the_size_of_blocks(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfab\r\n\ncd\r\nlast")
    monkeypatch.setattr("modeledge.data.readers._bytes._BLOCK", 3)
    found = [tuple(line) for line in lines(path, Counter())]
    assert found == [(1, 3, b"ab"), (2, 7, b""), (3, 8, b"cd"), (4, 12, b"last")]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"", "empty"),
        ("a.parquet", b"", "empty"),
        ("a.txt", b"PK\x03\x04rest", "zip"),
        ("a.txt", bytes(range(256)) * 20, "not a text file"),
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        ("a.jsonl", b'[{"text": "a"}]', "JSON array"),
        ("a.parquet", b"not parquet at all", "damaged"),
    ],
)
def test_files_that_are_something_else_are_named(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{why}"):
        texts(tmp_path / name)


def test_missing_files_folders_and_globs_are_told(tmp_path):
    (tmp_path / "corpus.txt").write_text("x")
    with pytest.raises(DataError, match="no such file; did you mean .*corpus.txt"):
        expand(tmp_path / "corpu.txt")
    with pytest.raises(DataError, match="no folder"):
        expand(tmp_path / "nowhere" / "x.txt")
    with pytest.raises(DataError, match="no file matches"):
        expand(tmp_path / "*.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="(?s)no file in this folder.*known endings"):
        expand(tmp_path / "empty")
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(DataError, match="(?s)docx.*known endings"):
        expand(tmp_path / "x.docx")
    with pytest.raises(DataError, match="no input"):
        expand([])


def test_folders_and_globs_are_sorted_and_hidden_files_left_out(tmp_path):
    for name in ("b/2.txt", "b/1.jsonl.gz", "a.txt", ".git/x.txt", "b/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [str(p.relative_to(tmp_path)) for p in expand(tmp_path)] == ["a.txt", "b/1.jsonl.gz", "b/2.txt"]
    assert expand([tmp_path / "*.txt", tmp_path]) == expand(tmp_path)
