import json
from pathlib import Path

import pytest

from modeledge.recipe.resolve import resolve, shipped

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize("name", shipped())
def test_the_resolved_recipe_is_the_one_on_record(name):
    file = GOLDEN / f"{name}.json"
    assert file.is_file(), f"no golden file of {name}: run `make golden` and read the change"
    assert resolve(name).keys == json.loads(file.read_text()), f"{name} resolves otherwise than on record"


def test_no_golden_file_is_left_of_a_recipe_that_is_gone():
    assert sorted(p.stem for p in GOLDEN.glob("*.json")) == sorted(shipped())
