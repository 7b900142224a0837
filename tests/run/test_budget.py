import pytest

from modeledge.core import RecipeError
from modeledge.run.budget import parse_budget


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("10min", 600, "seconds"),
        ("90s", 90, "seconds"),
        ("1.5h", 5400, "seconds"),
        ("2e15flop", 2e15, "flop"),
        ("3Pflop", 3e15, "flop"),
        ("50Mtok", 50e6, "tokens"),
        ("1000tokens", 1000, "tokens"),
        ("2000steps", 2000, "steps"),
    ],
)
def test_amounts_and_units(text, amount, unit):
    budget = parse_budget(text)
    assert (budget.amount, budget.unit) == (amount, unit)


@pytest.mark.parametrize("text", ["", "ten", "10", "5 parsecs", "-3min", "0s", "1e3Xtok"])
def test_anything_else_is_refused_with_the_forms_that_exist(text):
    with pytest.raises(RecipeError, match="known: 10min, 90s, 2h, 2e15flop, 50Mtok, 2000steps"):
        parse_budget(text)


def test_a_budget_buys_whole_steps_and_at_least_one():
    budget = parse_budget("1000tokens")
    assert budget.steps(tokens=300, flop=1, seconds=1) == 3
    assert budget.steps(tokens=5000, flop=1, seconds=1) == 1
