"""Filling the blanks of texts."""

from __future__ import annotations

import pytest

from modeledge.core import InputError
from modeledge.run.infill import infill
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs


@pytest.fixture(scope="module")
def glm(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("glm") / "run"
    trunk = ["backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=64"]
    sets = [*trunk, "tokenizer.vocab=200", "data.text.length=32", "loop.batch=8", "loop.steps=2"]
    pretrain("glm", data=[str(corpus)], out=out, size="tiny", sets=[*sets, "loop.precision=fp32"], quiet=True)
    return out


def test_every_blank_gets_a_text_of_at_most_so_many_tokens(glm):
    found = infill(glm, ["The [MASK] sees the cat in the [MASK].", "The dog [MASK] the fish."], limit=3)
    assert [len(f) for f in found] == [2, 1]
    assert all(len(said.split()) <= 3 for f in found for said in f)
    assert found == infill(glm, ["The [MASK] sees the cat in the [MASK].", "The dog [MASK] the fish."], limit=3)


def test_a_text_without_a_blank_is_refused(glm):
    with pytest.raises(InputError, match="nothing is hidden"):
        infill(glm, ["The dog sees the cat."])


def test_a_model_that_fills_single_places_is_sent_elsewhere(train, tmp_path):
    train(steps=2)
    with pytest.raises(InputError, match="not to fill blanks"):
        infill(tmp_path / "run", ["The [MASK] sees."])
