"""What the multilingual recipes promise: sizes of the papers, what reads what, languages drawn with temperature."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import find, keyed
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.explain import explain


@pytest.mark.parametrize(("name", "millions"), [("mbert", 177.9), ("xlm", 249.0), ("xlm_r", 277.5)])
def test_the_published_sizes(name, millions):
    assert explain(resolve(name)).parameters["backbone parameters"] / 1e6 == pytest.approx(millions, abs=0.06)


def test_xlm_r_large_with_its_head_has_560_million():
    told = explain(resolve("xlm_r", size="large")).parameters
    assert told["all parameters"] / 1e6 == pytest.approx(560.1, abs=0.1)


def test_only_the_systems_that_say_so_know_languages():
    for name, languages in {"mbert": None, "xlm_r": None, "xlm": 15, "xlm_tlm": 15, "unicoder": 15}.items():
        recipe = check(resolve(name))
        assert recipe.backbone.embedding.types.get("lang") == languages


@pytest.mark.parametrize(("name", "alpha"), [("mbert", 0.7), ("xlm", 0.5), ("xlm_r", 0.3)])
def test_languages_are_drawn_by_their_shares_to_a_power(toy, stores, name, alpha):
    tree, recipe = toy(name)
    assert recipe.data["text"].sampling == alpha
    from modeledge.data.facts import facts_of

    store = stores(recipe)["text"]
    part = find("data.sources", recipe.data["text"].kind)
    plain = part(recipe.data["text"].model_copy(update={"sampling": 1.0}), store, facts_of(store))
    made = part(recipe.data["text"], store, facts_of(store))
    sizes = np.bincount(store.part("train")["lang"][plain.documents])
    drawn = store.part("train")["lang"][made.documents[made.languages.choose(np.arange(len(made)), keyed(0))]]
    wanted = (sizes / sizes.sum()) ** alpha
    assert np.abs(np.bincount(drawn) - len(made) * wanted / wanted.sum()).max() <= 1
