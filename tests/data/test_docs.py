"""The page on the store says what the store is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from modeledge.data import Store
from modeledge.data.prepare import prepare

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text()


def test_the_code_on_the_page_runs_and_every_key_and_column_is_on_it(document, write, tokenizer, tmp_path):
    path = write("a.jsonl", [document(n) for n in range(20)])
    prepare(path, out=tmp_path / "corpus", tokenizer=tokenizer, lang="file", valid_fraction=0.2)
    store = Store.open(tmp_path / "corpus")
    names = set(re.findall(r"`([\w.]+)`", PAGE))
    assert set(store.meta) <= names
    assert {c.removesuffix(".offsets") for c in store.columns} <= names
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        space = {}
        exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), space)
    finally:
        os.chdir(here)
    at = store.offsets("tokens")
    assert (space["third"] == store["tokens"][at[2] : at[3]]).all()
