"""What sources keep beside a store, against the same computed at once and in memory."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from modeledge.core import Facts, find, keyed
from modeledge.data import Store, StoreWriter, _kept

KINDS = [
    ("full_sentences", {}),
    ("doc_sentences", {}),
    ("segment_pair", {"passes": 2}),
    ("segment_pair", {"negative": "swap", "single": "drop"}),
    ("sentence_pair", {}),
]


@pytest.fixture
def folder(tmp_path):
    """A store of 60 documents of a few sentences each, some longer than a row."""
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 30, rng.integers(1, 9)) for _ in range(60)]
    total = sum(int(s.sum()) for s in sizes)
    with StoreWriter(tmp_path / "store") as writer:
        writer.ragged("tokens", np.uint32, np.arange(10, total + 10), np.array([s.sum() for s in sizes]))
        writer.column("sentences", np.int64).append(np.cumsum(np.concatenate([[0], *sizes]))[:-1])
        writer.finish(rows=60, meta={})
    return tmp_path / "store"


def rows_of(folder, kind, settings, *, length=24):
    """Every row of a source, and the source."""
    store, part = Store.open(folder), find("data.sources", kind)
    special = {"pad": 0, "cls": 1, "sep": 2}
    source = part(part.Config(kind=kind, length=length, **settings), store, Facts(vocab=10**5, special=special))
    return source.rows(np.arange(len(source)), keyed(0)), source


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_rows_in_pieces_and_from_the_disk_are_those_made_at_once(folder, monkeypatch, kind, settings):
    whole, _ = rows_of(folder, kind, settings)
    assert not (folder / "rows").exists()  # so little is not kept
    for size in (64, 7, 1):
        monkeypatch.setattr(_kept, "PIECE", size)
        shutil.rmtree(folder / "rows", ignore_errors=True)
        first, source = rows_of(folder, kind, settings)
        if kind != "segment_pair":  # whose chunks are drawn document by document
            assert same(first, whole)
        assert first.size == len(source) and list((folder / "rows").iterdir())
        monkeypatch.setattr(_kept, "_write", None)  # what is there is opened, not computed
        assert same(rows_of(folder, kind, settings)[0], first)
        monkeypatch.undo()


@pytest.mark.parametrize("size", [16, 1])
def test_chunks_in_pieces_cover_every_sentence_of_every_document(folder, monkeypatch, size):
    monkeypatch.setattr(_kept, "PIECE", size)
    _, source = rows_of(folder, "segment_pair", {"negative": "swap", "short": 0.0})
    begin, end, document, _ = source.chunks
    covered = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
    assert covered.tolist() == list(range(len(source.bounds) - 1))
    assert (np.searchsorted(source.first, begin, side="right") - 1 == document).all()


def kept_folders(folder):
    return sorted(p.name for p in (folder / "rows").iterdir())


@pytest.mark.parametrize("harm", ["byte", "short", "gone", "meta"])
def test_what_was_damaged_is_made_again(folder, monkeypatch, harm):
    monkeypatch.setattr(_kept, "PIECE", 16)
    good, _ = rows_of(folder, "full_sentences", {})
    names = kept_folders(folder)
    (one,) = (folder / "rows").glob("packed-*")
    file = one / ("kept.json" if harm == "meta" else "begins.npy")
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x5A
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-8] if harm == "short" else content)
    assert same(rows_of(folder, "full_sentences", {})[0], good)
    assert kept_folders(folder) == names
    monkeypatch.setattr(_kept, "_write", None)
    assert same(rows_of(folder, "full_sentences", {})[0], good)


def test_other_settings_and_another_store_have_folders_of_their_own(folder, monkeypatch):
    monkeypatch.setattr(_kept, "PIECE", 16)
    rows_of(folder, "full_sentences", {})
    before = set(kept_folders(folder))
    rows_of(folder, "full_sentences", {}, length=12)
    rows_of(folder, "doc_sentences", {})
    assert len(set(kept_folders(folder)) - before) == 2
    file = folder / "store.json"
    meta = json.loads(file.read_text())
    column = np.load(folder / "sentences.npy")[::2]  # half the sentences: other rows of the same tokens
    np.save(folder / "sentences.npy", column)
    about = meta["columns"]["sentences"]
    about.update(shape=[len(column)], sha256=_kept.sha256(folder / "sentences.npy"))
    about["bytes"] = (folder / "sentences.npy").stat().st_size
    file.write_text(json.dumps(meta))
    in_pieces, _ = rows_of(folder, "doc_sentences", {})
    monkeypatch.undo()
    shutil.rmtree(folder / "rows")
    assert same(rows_of(folder, "doc_sentences", {})[0], in_pieces)


def test_a_store_that_cannot_be_written_serves_the_same_rows(folder, monkeypatch):
    monkeypatch.setattr(_kept, "PIECE", 16)
    whole, _ = rows_of(folder, "full_sentences", {})
    shutil.rmtree(folder / "rows")
    (folder / "rows").touch()  # a file where the folder would be: holds for the superuser too
    assert same(rows_of(folder, "full_sentences", {})[0], whole)
    assert (folder / "rows").read_bytes() == b""


def test_an_unfinished_write_leaves_nothing_behind(folder, monkeypatch):
    monkeypatch.setattr(_kept, "PIECE", 16)
    store = Store.open(folder)

    def pieces():
        yield {"x": np.arange(17)}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _kept.kept(store, "cut_off", pieces)
    assert not (folder / "rows").exists() or not kept_folders(folder)
