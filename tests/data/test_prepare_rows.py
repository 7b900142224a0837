"""Pictures, pairs, parallel text and tables to aligned stores, and back as rows."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from modeledge.core import DataError, find, keyed
from modeledge.data import Store, facts_of
from modeledge.data._aligned import _natural
from modeledge.data.prepare import prepare
from modeledge.tokenizers import load_tokenizer


def picture(red: int, *, size=(8, 6), mode="RGB", form="PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, (red, 0, 255) if mode == "RGB" else red).save(out, form)
    return out.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels in a few kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side // 8 + 1) * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def parquet(tmp_path):
    def make(name, **columns):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    return make


def rows_of(folder, kind, **settings):
    store = Store.open(folder)
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").exists() else None
    part = find("data.sources", kind)
    return part(part.Config(kind=kind, **settings), store, facts_of(store, tokenizer))


def test_a_folder_of_pictures_is_labelled_by_its_folders(tmp_path):
    for name, red in (("cat/1.png", 10), ("cat/2.jpg", 20), ("dog/3.png", 30)):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(picture(red, form="PNG" if name.endswith("png") else "JPEG"))
    summary = prepare(tmp_path / "in", out=tmp_path / "s", kind="images", size=4, valid_fraction=0)
    batch = rows_of(tmp_path / "s", "images").rows(np.arange(3), keyed(0))
    assert summary.labels == ["cat", "dog"] and batch.label.tolist() == [0, 0, 1]
    assert batch.image.shape == (3, 4, 4, 3) and np.abs(batch.image[:, 0, 0, 0] - np.array([10, 20, 30])).max() <= 2


def test_pictures_are_brought_to_one_size_without_distortion(tmp_path, parquet):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the middle third
    out = io.BytesIO()
    Image.fromarray(wide).save(out, "PNG")
    path = parquet("a.parquet", image=[out.getvalue(), picture(7, size=(10, 10), mode="L")])
    prepare(path, out=tmp_path / "s", kind="images", valid_fraction=0)
    batch = rows_of(tmp_path / "s", "images").rows(np.arange(2), keyed(0))
    assert batch.image.shape == (2, 10, 10, 3) and (batch.image[0] == 200).all() and (batch.image[1] == 7).all()
    assert "label" not in batch


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no picture", "not a picture"),
        (picture(1, size=(200, 200), form="JPEG")[:-300], "damaged picture"),
        (bomb(20_000), "million"),
        (bomb(13_000), "more than 64 million"),
        (b"", "not a picture"),
    ],
)
def test_one_bad_picture_among_good_ones_is_a_counted_reject(tmp_path, parquet, data, why):
    path = parquet("a.parquet", image=[picture(1), picture(2), data, picture(3)], label=[0, 1, 0, 1])
    with pytest.raises(DataError, match=f"{path}:3: .*{why}"):
        prepare(path, out=tmp_path / "s", kind="images")
    summary = prepare(path, out=tmp_path / "s", kind="images", on_bad="skip", valid_fraction=0)
    assert summary.rows == 3 and summary.counts["rejected"] == 1
    reject = json.loads((tmp_path / "s" / "rejects.jsonl").read_text())
    assert (reject["line"], reject["file"]) == (3, str(path))
    assert rows_of(tmp_path / "s", "images").rows(np.arange(3), keyed(0)).label.tolist() == [0, 1, 1]


def test_pictures_and_their_texts_stay_together(tmp_path, parquet, tokenizer):
    texts = ["the river", "a boat ran", "nobody asked"]
    path = parquet("a.parquet", image=[picture(n) for n in (1, 2, 3)], text=texts)
    prepare(path, out=tmp_path / "s", kind="pairs", tokenizer=tokenizer, valid_fraction=0)
    batch = rows_of(tmp_path / "s", "image_text", length=8).rows(np.array([2, 0]), keyed(0))
    assert batch.image[:, 0, 0, 0].tolist() == [3, 1]
    assert [tokenizer.decode(ids) for ids in batch.ids] == [texts[2], texts[0]]
    assert (batch.ids[:, 0] == tokenizer.special["cls"]).all() and batch.valid.sum(1).tolist() == [4, 4]


def test_pictures_may_be_named_by_files_beside_the_table_only(tmp_path, tokenizer):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.png").write_bytes(picture(9))
    (tmp_path / "secret.png").write_bytes(picture(9))
    for name, why in (("1.png", None), ("../secret.png", "not below"), ("2.png", "there is no picture")):
        (tmp_path / "in" / "a.jsonl").write_text(json.dumps({"image": name, "text": "the river"}))
        settings = {"kind": "pairs", "tokenizer": tokenizer, "valid_fraction": 0, "size": 4}
        if why is None:
            assert prepare(tmp_path / "in" / "a.jsonl", out=tmp_path / "s", **settings).rows == 1
        else:
            with pytest.raises(DataError, match=why):
                prepare(tmp_path / "in" / "a.jsonl", out=tmp_path / "t", **settings)


def test_parallel_rows_are_two_texts_with_their_ends(tmp_path, parquet, tokenizer):
    path = parquet("a.parquet", en=["the river ran", "she asked", "late"], zh=["今天天气", "我们去公园散步", ""])
    summary = prepare(path, out=tmp_path / "s", kind="parallel", text="en", second="zh", tokenizer=tokenizer,
                      valid_fraction=0)  # fmt: skip
    assert summary.rows == 2 and summary.counts["empty_rows"] == 1
    batch = rows_of(tmp_path / "s", "parallel", length=7).rows(np.arange(2), keyed(0))
    assert [tokenizer.decode(i) for i in batch.ids] == ["the river ran", "she asked"]
    assert [tokenizer.decode(i) for i in batch.target_ids] == ["今 天 天 气", "我 们 去 公 园 散"]
    ends = batch.target_valid.sum(1) - 1
    assert ends.tolist() == [4, 6] and (batch.target_ids[[0, 1], ends] == tokenizer.special["eos"]).all()


def test_a_prepared_table_gives_the_rows_of_the_table_itself(tmp_path, parquet, tokenizer):
    from modeledge.data.tables import Table

    path = parquet(
        "a.parquet", text=["the river", "she asked", "a boat"], other=["ran", "why", "it"], label=["b", "a", "b"]
    )
    prepare(path, out=tmp_path / "s", kind="table", second="other", tokenizer=tokenizer, valid_fraction=0)
    part = find("data.sources", "table")
    config = part.Config(kind="table", length=12, second="other")
    plain = part(config, Table.open(path), facts_of(None, tokenizer))
    stored = part(config, Store.open(tmp_path / "s"), facts_of(None, tokenizer))
    one, two = (s.rows(np.arange(3), keyed(0)) for s in (plain, stored))
    assert set(one) == set(two) and all((one[k] == two[k]).all() for k in one)
    assert plain.labels == stored.labels == ["a", "b"]


def test_numbers_stay_numbers(tmp_path, parquet, tokenizer):
    path = parquet("a.parquet", text=["the river", "she asked"], label=[0.5, 2.25])
    prepare(path, out=tmp_path / "s", kind="table", tokenizer=tokenizer, valid_fraction=0)
    assert Store.open(tmp_path / "s")["label"].tolist() == [0.5, 2.25]


def test_numbers_of_separated_values_are_numbers_if_one_has_a_fraction(tmp_path, tokenizer):
    (tmp_path / "a.csv").write_text("text,label\nthe river,0.5\nshe asked,2\na boat,-1e-1\n")
    prepare(tmp_path / "a.csv", out=tmp_path / "s", kind="table", tokenizer=tokenizer, valid_fraction=0.0)
    assert Store.open(tmp_path / "s")["label"].tolist() == pytest.approx([0.5, 2, -0.1])
    (tmp_path / "b.csv").write_text("text,label\nthe river,0.25\nshe asked,many\n")
    files = {"kind": "table", "tokenizer": tokenizer, "valid": tmp_path / "b.csv"}
    with pytest.raises(DataError, match=r"b.csv:3: label: expected a finite number, found 'many'"):
        prepare(tmp_path / "a.csv", out=tmp_path / "t", **files)
    (tmp_path / "a.csv").write_text("text,label\nthe river,2\nshe asked,10\n")
    plain = {"kind": "table", "tokenizer": tokenizer, "valid_fraction": 0.0}
    assert prepare(tmp_path / "a.csv", out=tmp_path / "u", **plain).labels == ["2", "10"]
    (tmp_path / "n.jsonl").write_text('{"text": "the river", "label": 0.5}\n{"text": "a boat", "label": NaN}\n')
    with pytest.raises(DataError, match=r"n.jsonl:2: label: expected a finite number"):
        prepare(tmp_path / "n.jsonl", out=tmp_path / "v", **plain)


def test_a_held_out_label_that_training_lacks_is_an_error(tmp_path, parquet, tokenizer):
    train = parquet("a.parquet", text=["the river"], label=["x"])
    held = parquet("b.parquet", text=["she asked"], label=["y"])
    with pytest.raises(DataError, match=r"b.parquet:1: label: no class in training named 'y'"):
        prepare(train, valid=held, out=tmp_path / "s", kind="table", tokenizer=tokenizer)


def test_two_processes_decode_the_same_pictures(tmp_path, parquet):
    path = parquet(
        "a.parquet", image=[picture(n % 250, size=(9, 7)) for n in range(150)], label=[n % 3 for n in range(150)]
    )
    for processes in (1, 2):
        prepare(path, out=tmp_path / f"s{processes}", kind="images", processes=processes)
    one, two = (Store.open(tmp_path / f"s{n}") for n in (1, 2))
    assert one.meta == two.meta and one.valid.meta == two.valid.meta


def test_classes_are_sorted_by_their_numbers_and_what_only_looks_like_one_comes_last():
    assert sorted(["10", "--5", "9", "-2", "²", "a"], key=_natural) == ["-2", "9", "10", "--5", "a", "²"]
