"""The verb `predict` on models that fill blanks: one token a blank, or a text."""

from __future__ import annotations

import json

import pytest

from modeledge.run.fill import fill
from modeledge.run.infill import infill
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

TEXT = "The [MASK] sees the cat in the [MASK]."


@pytest.fixture
def predict(command):
    """predict(folder, ...) -> (exit code, the JSON lines printed, what was complained about)."""

    def call(*words):
        code, out, err = command("predict", *words)
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


def test_a_masked_model_puts_its_likeliest_token_into_each_blank(train, tmp_path, predict):
    train(steps=4)
    code, answers, _ = predict(tmp_path / "run", "--text", TEXT, "--text", "The dog [MASK].")
    assert code == 0
    wanted = [found.guesses for found in fill(tmp_path / "run", [TEXT, "The dog [MASK]."])]
    assert [[[tuple(g) for g in place] for place in a["guesses"]] for a in answers] == wanted
    one, other = (place[0][0].removeprefix("##") for place in wanted[0])
    assert answers[0]["filled"] == f"The {one} sees the cat in the {other}."


def test_a_model_of_blanks_writes_as_much_as_each_needs(corpus, tmp_path, predict):
    trunk = ["backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=64"]
    sets = [*trunk, "tokenizer.vocab=200", "data.text.length=32", "loop.batch=8", "loop.steps=2", "loop.precision=fp32"]
    pretrain("glm", data=[str(corpus)], out=tmp_path / "glm", size="tiny", sets=sets, quiet=True)
    code, answers, _ = predict(tmp_path / "glm", "--text", TEXT, "--limit", 3)
    said = infill(tmp_path / "glm", [TEXT], limit=3)
    assert code == 0 and [a["guesses"] for a in answers] == said
    assert answers[0]["filled"] == f"The {said[0][0]} sees the cat in the {said[0][1]}."


def test_a_text_without_a_blank_is_refused_with_what_to_write(train, tmp_path, predict):
    train(steps=2)
    code, _, said = predict(tmp_path / "run", "--text", "The dog sees the cat.")
    assert code == 2 and "[MASK]" in said and "Traceback" not in said
