"""The store: written aside, opened by numpy, refused when damaged."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from modeledge.core import DataError, InputError
from modeledge.data import Store, StoreWriter


@pytest.fixture
def folder(tmp_path):
    with StoreWriter(tmp_path / "store") as writer:
        writer.ragged("tokens", np.uint16, np.arange(10), np.array([4, 6]))
        writer.ragged("tokens", np.uint16, np.arange(3), np.array([3]))
        writer.column("image", np.uint8, (2, 2, 3)).append(np.ones((3, 2, 2, 3)))
        writer.valid().ragged("tokens", np.uint16, np.arange(2), np.array([2]))
        writer.finish(rows=3, valid_rows=1, meta={"kind": "text"})
    return tmp_path / "store"


def test_numpy_alone_opens_every_column(folder):
    tokens, offsets = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("tokens", "tokens.offsets"))
    assert tokens.dtype == np.uint16 and offsets.tolist() == [0, 4, 10, 13]
    assert tokens[offsets[1] : offsets[2]].tolist() == [4, 5, 6, 7, 8, 9]
    assert np.load(folder / "image.npy").shape == (3, 2, 2, 3)
    assert json.loads((folder / "store.json").read_text())["format"] == 1


def test_columns_are_mapped_and_named(folder):
    store = Store.open(folder)
    assert isinstance(store["tokens"], np.memmap) and "tokens" in store and store.rows == 3
    assert store.part("valid").rows == 1 and store.part("train") is store and store.valid.valid is None
    with pytest.raises(DataError, match="no column named 'token'; did you mean 'tokens'"):
        store["token"]
    with pytest.raises(DataError, match="nothing was held out"):
        store.valid.part("valid")


def test_nothing_stands_under_the_name_before_it_is_complete(tmp_path):
    with pytest.raises(ValueError), StoreWriter(tmp_path / "s") as writer:
        writer.column("label", np.int32).append(np.arange(3))
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.partial").mkdir()  # what a killed process leaves behind
    (tmp_path / "s.partial" / "tokens.npy").write_bytes(b"x")
    with StoreWriter(tmp_path / "s") as writer:
        assert not (tmp_path / "s").exists()
        writer.finish(rows=0, meta={})
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["store.json"]


def test_files_and_folders_are_synced_before_the_name_is_given(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")))
    with StoreWriter(tmp_path / "s") as writer:
        writer.column("label", np.int32).append(np.arange(3))
        writer.finish(rows=3, meta={})
    names = [os.path.relpath(d, tmp_path) for d in done]
    assert names == ["s.partial/label.npy", "s.partial/store.json", "s.partial", "."]


def test_a_folder_in_use_is_not_overwritten(folder, tmp_path):
    with pytest.raises(InputError, match="already a store here.*\n.*next"):
        StoreWriter(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    with pytest.raises(InputError, match="not a store"):
        StoreWriter(tmp_path / "other")


@pytest.mark.parametrize("name", ["tokens.npy", "tokens.offsets.npy", "image.npy", "store.json", "valid/store.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_named(folder, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=name):
        Store.open(folder)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_in_a_column_is_noticed(folder, seed):
    rng = np.random.default_rng(seed)
    file = folder / ["tokens.npy", "tokens.offsets.npy", "image.npy"][seed % 3]
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)
    with pytest.raises(DataError, match=file.name):
        Store.open(folder)


def change(folder, **keys):
    meta = json.loads((folder / "store.json").read_text())
    meta.update(keys)
    (folder / "store.json").write_text(json.dumps(meta))


def test_a_store_of_a_newer_format_asks_for_an_upgrade(folder):
    change(folder, format=2)
    with pytest.raises(DataError, match="format 2 is newer"):
        Store.open(folder)


def test_missing_columns_and_stores_say_what_to_do(folder, tmp_path):
    (folder / "image.npy").unlink()
    with pytest.raises(DataError, match=r"image\.npy: missing"):
        Store.open(folder)
    with pytest.raises(DataError, match="(?s)no such store.*modeledge prepare"):
        Store.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cut off"):
        Store.open(tmp_path / "empty")


def test_an_object_column_is_refused_without_being_read(folder):
    class Canary:
        def __reduce__(self):
            return (open, (str(folder / "canary"), "w"))

    np.save(folder / "tokens.npy", np.array([Canary()], dtype=object), allow_pickle=True)
    size = (folder / "tokens.npy").stat().st_size
    meta = json.loads((folder / "store.json").read_text())
    meta["columns"]["tokens"] |= {"bytes": size, "dtype": "object", "shape": [1]}
    change(folder, **meta)
    with pytest.raises(DataError, match="tokens"):
        Store.open(folder)
    assert not (folder / "canary").exists()


@pytest.mark.parametrize("columns", [{"../x": {}}, {"a/b": {}}, [], {"tokens": {"bytes": 1}}, {"tokens": None}])
def test_a_strange_list_of_columns_is_refused(folder, columns):
    change(folder, columns=columns)
    with pytest.raises(DataError):
        Store.open(folder)


def test_a_large_store_is_hashed_only_on_request(folder, monkeypatch):
    monkeypatch.setattr("modeledge.data.store._VERIFIED_AT_ONCE", 0)
    content = bytearray((folder / "tokens.npy").read_bytes())
    content[-1] ^= 1
    (folder / "tokens.npy").write_bytes(content)
    store = Store.open(folder)
    with pytest.raises(DataError, match="tokens"):
        store.verify()
