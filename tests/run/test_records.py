"""The verb `predict` on models of records: a name for what is missing, and what is no record."""

from __future__ import annotations

import json

import pytest

from modeledge.core import find
from modeledge.data.prepare import prepare
from modeledge.run.frozen import look
from modeledge.run.keep import load_model
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs


@pytest.fixture
def model(tmp_path):
    """The run of a small model of records, which has seen them for two steps."""
    towns = ["berlin", "lima", "oslo", "cairo", "delhi", "paris", "quito", "tunis", "dakar", "seoul", "minsk"]
    rows = [{"seat": t, "staff": [f"{t} anna", f"{t} ben"], "id": str(i)} for i, t in enumerate(towns * 4)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=120)
    fields = ["seat", "staff", "id"]
    prepare(
        tmp_path / "r.jsonl", out=tmp_path / "s", kind="fields", fields=fields, tokenizer=config, valid_fraction=0.3
    )
    sets = ["backbone.width=32", "backbone.ffn.width=64", "data.text.length=64", "data.text.longest=4"]
    sets += ["data.text.most=5", "backbone.embedding.types.order=6", "loop.steps=2", "loop.batch=8"]
    pretrain("oag_bert", data=[str(tmp_path / "s")], out=tmp_path / "run", size="tiny", sets=sets, quiet=True)
    return tmp_path / "run"


def test_the_missing_name_is_written_and_put_into_the_record(model, command):
    record = {"seat": "oslo", "staff": ["oslo anna", "[MASK]"]}
    code, out, _ = command("predict", model, "--text", json.dumps(record), "--limit", 2, "--beams", 4)
    answer = json.loads(out)
    assert code == 0 and len(answer["guesses"]) == 4
    names, chances = zip(*answer["guesses"], strict=True)
    assert answer["filled"] == {"seat": "oslo", "staff": ["oslo anna", names[0]]}
    assert list(chances) == sorted(chances, reverse=True) and 0 < chances[0] < 1
    assert load_model(model).facts.labels["text"] == ["seat", "staff", "id"]
    assert "[" not in "".join(names)  # no special tokens


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("oslo", "not JSON"),
        ('["[MASK]"]', "not an object"),
        ('{"seet": "[MASK]"}', "no field named 'seet'; did you mean 'seat'"),
        ('{"seat": "oslo"}', "0 names are hidden in it, one is wanted"),
        ('{"seat": "[MASK]", "staff": ["[MASK]"]}', "2 names are hidden"),
        ('{"seat": 3, "id": "[MASK]"}', "expected text or a list"),
        (json.dumps({"seat": "[MASK]", "staff": ["a"] * 6}), "7 names of"),
    ],
)
def test_what_is_no_record_is_refused_with_what_is(model, command, text, said):
    code, _, complaint = command("predict", model, "--text", text)
    assert code == 2 and said in complaint


def test_records_of_more_names_than_the_model_tells_apart_are_no_question(model, tmp_path):
    rows = [{"seat": f"town {i}", "staff": [f"name {i}"] * (9 if i % 2 else 2), "id": str(i)} for i in range(60)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    loaded, out = load_model(model), tmp_path / "long"
    config = {"kind": "fields", "fields": ["seat", "staff", "id"], "tokenizer": loaded.facts.tokenizer}
    prepare(tmp_path / "q.jsonl", out=out, **config, valid_fraction=0.5)
    assert 0 < look(loaded, out, "names")["n"] < 30
