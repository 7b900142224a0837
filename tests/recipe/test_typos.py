import importlib.util
import sys
from pathlib import Path

import pytest

from modeledge.core import RecipeError
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check

BENCH = Path(__file__).parents[2] / "bench"


def test_fifty_seeded_typos_are_each_answered_with_the_right_word():
    spec = importlib.util.spec_from_file_location("feel", BENCH / "feel.py")
    feel = importlib.util.module_from_spec(spec)
    sys.modules["feel"] = feel  # its NamedTuple looks its module up
    spec.loader.exec_module(feel)
    made = feel.make_typos()
    assert len(made) == 50 and len({wrong for _, wrong, _ in made}) > 40
    assert [typo for typo in made if not feel.answered(*typo)] == []


@pytest.mark.parametrize(
    ("recipe", "change", "says"),
    [
        (
            "awd_lstm",
            "backbone.dropout.wieghts=0.5",
            "backbone.dropout.wieghts: there is no such key; did you mean 'weights'?\n"
            "  allowed here: between, input, output, weights",
        ),
        ("awd_lstm", "backbone.dropout.weights=2", "backbone.dropout.weights: Input should be less than 1; found 2"),
        (
            "awd_lstm",
            "backbone.dropout=2",
            "backbone.dropout: Input should be less than 1; found 2\n"
            "--set backbone.dropout=2: backbone.dropout: holds input, between, output, weights; found 2",
        ),
        (
            "cove",
            "backbone.dropout=2",
            "backbone.dropout: Input should be less than 1; found 2\n"
            "--set backbone.dropout=2: backbone.dropout: holds input, between, output, weights; found 2",
        ),
        ("electra", "objectives.0.generator=unifrom", "found 'unifrom'; did you mean 'uniform'?"),
    ],
)
def test_of_the_shapes_a_value_may_have_the_one_that_fits_farthest_is_told(recipe, change, says):
    with pytest.raises(RecipeError) as error:
        check(resolve(recipe, sets=[change]))
    told = str(error.value)
    assert told.startswith(f"--set {change}: ") and told.endswith(says)
    assert "constrained" not in told and "Variational" not in told


def test_a_word_that_is_none_of_the_choices_is_answered_with_the_nearest():
    with pytest.raises(RecipeError, match=r"mix\.kind: .*found 'unoin'; did you mean 'union'\?"):
        check(resolve("bert", sets=["mix.kind=unoin"]))
    with pytest.raises(RecipeError, match="found 'zzz'$"):
        check(resolve("bert", sets=["mix.kind=zzz"]))
