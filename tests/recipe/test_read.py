import pytest
import yaml

from modeledge.core import RecipeError
from modeledge.recipe import read
from modeledge.recipe.read import read_file, read_yaml, scalar
from modeledge.recipe.resolve import shipped

LOADERS = sorted({yaml.SafeLoader, read.LOADER}, key=lambda loader: loader.__name__)
"""PyYAML's parsers: the one in Python, and the one in C where there is one."""


def test_every_recipe_reads_the_same_with_either_parser(monkeypatch):
    found = []
    for loader in (yaml.SafeLoader, read.LOADER):
        monkeypatch.setattr(read, "LOADER", loader)
        found.append({name: read_file(path) for name, path in shipped().items()})
    assert found[0] == found[1] and len(found[0]) > 60


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_nothing(text):
    assert read_yaml(text, file="x")[0] is None


def test_scalars_mean_what_they_look_like():
    texts = ["1e-4", "on", "no", "12:30:00", "0123", "1_000", "-3", "2.5", "null", "true", "1.", ".5", "5e4", "abc"]
    values = [1e-4, "on", "no", "12:30:00", "0123", 1000, -3, 2.5, None, True, "1.", 0.5, 5e4, "abc"]
    found = [scalar(t) for t in texts]
    assert found == values or found == [v if v != "1." else 1.0 for v in values]
    assert [type(f) for f in found[:6]] == [float, str, str, str, str, int]


def test_quotes_keep_text_as_text():
    assert read_yaml("a: '1e-4'\nb: \"true\"\nc: 1e-4", file="x")[0] == {"a": "1e-4", "b": "true", "c": 1e-4}


def test_every_key_knows_its_line_and_column():
    _, places = read_yaml("a: 1\nb:\n  c: [1, {d: 2}]\n", file="r.yaml")
    assert str(places[("b", "c")]) == "r.yaml:3:3" and str(places[("b", "c", 1, "d")]) == "r.yaml:3:11"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "x:2:1: the key 'a' is repeated"),
        ("a: &n [1]\nb: *n", "x:2:4: anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']", "tags are not allowed"),
        ("a: !mine 1", "x:1:4: tags are not allowed"),
        ("a: 1\n b: 2", "x:2:3: not valid YAML"),
        ("a: [1, 2}", "x:1:9: not valid YAML"),
        ("[" * 20_000, "x:1:66: too large for a recipe (at most 64 levels"),
        ("- " * 20_000 + "1", "at most 64 levels"),
        ("? [1, 2]\n: 3", "x:1:3: a key must be a plain word"),
        ("a: 1\n---\nb: 2", "x:2:1: not valid YAML: a second document"),
    ],
)
@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_not_plain_data_is_refused_with_its_place(monkeypatch, text, says, loader):
    monkeypatch.setattr(read, "LOADER", loader)
    with pytest.raises(RecipeError) as error:
        read_yaml(text, file="x")
    assert says in str(error.value)
