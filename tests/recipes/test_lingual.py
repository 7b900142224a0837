"""What the multilingual recipes promise: sizes of the papers, what reads what, languages drawn with temperature."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.core import RecipeError, find, keyed
from modeledge.data.facts import facts_of
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.explain import explain
from modeledge.tokenizers import load_tokenizer


@pytest.mark.parametrize(("name", "millions"), [("mbert", 177.9), ("xlm", 249.0), ("xlm_r", 277.5), ("mbart", 610.9)])
def test_the_published_sizes(name, millions):
    assert explain(resolve(name)).parameters["backbone parameters"] / 1e6 == pytest.approx(millions, abs=0.06)


def test_xlm_r_large_with_its_head_has_560_million():
    told = explain(resolve("xlm_r", size="large")).parameters
    assert told["all parameters"] / 1e6 == pytest.approx(560.1, abs=0.1)


def test_only_the_systems_that_say_so_know_languages():
    known = dict.fromkeys(["xlm", "xlm_tlm", "unicoder", "alm"], 15) | dict.fromkeys(["mbert", "xlm_r", "mbart"])
    for name, languages in known.items():
        recipe = check(resolve(name))
        assert recipe.backbone.embedding.types.get("lang") == languages


@pytest.mark.parametrize("name", ["xlm_tlm", "alm", "unicoder"])
def test_a_language_that_the_model_has_no_row_for_is_refused(name):
    tree = resolve(name)
    source = next(n for n, c in tree.keys["data"].items() if c["kind"] in ("translations", "code_switched"))
    with pytest.raises(RecipeError, match=rf"data\.{source}\.langs names language 15 .* has 15 rows"):
        check(resolve(name, sets=[f"data.{source}.langs=[0, 15]"]))


def test_a_row_of_mbart_has_one_language_whose_token_is_the_last(toy, stores):
    _, recipe = toy("mbart")
    store = stores(recipe)["text"]
    facts = facts_of(store, load_tokenizer(store.path))
    source = find("data.sources", recipe.data["text"].kind)(recipe.data["text"], store, facts)
    backbone = find("backbones", recipe.backbone.kind)(recipe.backbone, facts)
    objective = find("objectives", "reconstruct")(recipe.objectives[0], facts, backbone)
    rows = source.rows(np.arange(0, len(source), 3), keyed(0))
    assert len(set(rows.lang[:, 0])) == 2 and (rows.lang == rows.lang[:, :1]).all()
    view = objective.view(rows, keyed(1))
    last = np.take_along_axis(view.ids, view.valid.sum(1)[:, None] - 1, 1)[:, 0]
    assert last.tolist() == [facts.special[f"lang{i}"] for i in rows.lang[:, 0]] == view.decoder_ids[:, 0].tolist()


@pytest.mark.parametrize(("name", "alpha"), [("mbert", 0.7), ("xlm", 0.5), ("xlm_r", 0.3), ("mbart", 0.7)])
def test_languages_are_drawn_by_their_shares_to_a_power(toy, stores, name, alpha):
    tree, recipe = toy(name)
    assert recipe.data["text"].sampling == alpha
    store = stores(recipe)["text"]
    part = find("data.sources", recipe.data["text"].kind)
    plain = part(recipe.data["text"].model_copy(update={"sampling": 1.0}), store, facts_of(store))
    made = part(recipe.data["text"], store, facts_of(store))
    sizes = np.bincount(store.part("train")["lang"][plain.documents])
    drawn = store.part("train")["lang"][made.documents[made.languages.choose(np.arange(len(made)), keyed(0))]]
    wanted = (sizes / sizes.sum()) ** alpha
    assert np.abs(np.bincount(drawn) - len(made) * wanted / wanted.sum()).max() <= 1
