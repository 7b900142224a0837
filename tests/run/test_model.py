"""A backbone and its objectives: what is trained."""

from __future__ import annotations

import pytest

from modeledge.core import Facts, RecipeError
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.model import make_model


def test_a_model_of_which_nothing_is_left_to_train_is_refused(toy):
    facts = Facts(vocab=50, special={"pad": 0, "cls": 1, "sep": 2, "mask": 3}, words=(4, 50))

    def made(frozen):
        return make_model(check(resolve("bert", sets=[*toy, f"loop.frozen={frozen}"])), facts, seed=0)

    assert any(p.requires_grad for p in made("[backbone]").parameters())
    with pytest.raises(RecipeError, match="loop.frozen: backbone, objectives is all there is; nothing is left"):
        made("[backbone, objectives]")
