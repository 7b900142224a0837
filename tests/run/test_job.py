import numpy as np
import pytest

from modeledge.core import RecipeError
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run import stage
from modeledge.run.job import stores_for
from modeledge.run.known import bigram_cost
from modeledge.run.stage import largest_divisor


class Columns(dict):
    valid = None


def test_the_bigram_baseline_of_a_chain_is_its_conditional_entropy_and_of_noise_its_unigram_entropy():
    rng = np.random.default_rng(0)
    chain = np.cumsum(rng.integers(1, 3, 200_000)) % 50  # one of two successors: ln 2 nats, unigram ln 50
    noise = rng.integers(0, 50, 200_000)
    mixed = -np.log(0.7 / 2 + 0.3 / 50)
    assert bigram_cost(Columns(tokens=chain), 50) == pytest.approx(mixed, rel=1e-2)
    assert bigram_cost(Columns(tokens=noise), 50) == pytest.approx(np.log(50), rel=1e-2)


def test_the_largest_divisor_within_a_bound():
    assert [largest_divisor(n, m) for n, m in ((64, 64), (64, 63), (60, 7), (7, 6), (5, 0))] == [64, 32, 6, 1, 1]


def test_data_arguments_find_their_source_and_a_wrong_or_missing_name_is_told():
    recipe = check(resolve("bert"))
    assert {k: str(v) for k, v in stores_for(recipe, ["a/b"]).items()} == {"text": "a/b"}
    assert {k: str(v) for k, v in stores_for(recipe, ["text=a"]).items()} == {"text": "a"}
    with pytest.raises(RecipeError, match="no source named 'txt'; did you mean 'text'"):
        stores_for(recipe, ["txt=a"])
    with pytest.raises(RecipeError, match="nothing was given for text\n  next: --data text=PATH"):
        stores_for(recipe, [])
    with pytest.raises(RecipeError, match="this recipe reads 1 source"):
        stores_for(recipe, ["a", "b"])


def test_a_path_may_have_an_equals_sign_in_it(tmp_path):
    recipe, file = check(resolve("bert")), tmp_path / "lang=en" / "a.txt"
    file.parent.mkdir()
    file.write_text("text")
    assert stores_for(recipe, [str(file)]) == {"text": file} == stores_for(recipe, [f"text={file}"])


@pytest.mark.parametrize(("load", "told"), [(0.4, 0.0), (1.4, 0.0), (1.6, 1.6), (9.0, 9.0)])
def test_a_busy_machine_is_told_from_an_idle_one(load, told, monkeypatch):
    monkeypatch.setattr(stage.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(stage.os, "cpu_count", lambda: 2)
    assert stage.busy() == told
