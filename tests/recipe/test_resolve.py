import pytest

from modeledge.core import RecipeError
from modeledge.recipe.resolve import CHAIN, merge, resolve
from modeledge.recipe.schema import check

BASE = """
data: {text: {kind: contiguous, length: 32}}
tokenizer: {kind: wordpiece, vocab: 100}
backbone: {kind: transformer, width: 32, norm: {kind: layer, eps: 1e-5}}
objectives: [{kind: mlm, rate: 0.15}, {kind: nsp}]
optim: {kind: adamw, lr: 1e-3}
sizes: {tiny: {backbone: {width: 16}}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def write(folder, name, text):
    (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{name}.yaml")


def plain_merge(base, over):  # the rules of the recipe page, written once more as plainly as possible
    return merge(base, over, places={}, new={})


def test_mappings_merge_lists_replace_null_removes():
    merged = plain_merge({"a": {"b": 1, "c": 2}, "l": [1, 2], "z": 1}, {"a": {"c": 3}, "l": [9], "z": None})
    assert merged == {"a": {"b": 1, "c": 3}, "l": [9]}


def test_a_changed_kind_drops_its_siblings_and_the_same_kind_keeps_them():
    base = {"norm": {"kind": "layer", "eps": 1e-5}}
    assert plain_merge(base, {"norm": {"kind": "rms"}}) == {"norm": {"kind": "rms"}}
    assert plain_merge(base, {"norm": "rms"}) == {"norm": {"kind": "rms"}}
    assert plain_merge(base, {"norm": {"kind": "layer", "gain": 1}}) == {
        "norm": {"kind": "layer", "eps": 1e-5, "gain": 1}
    }
    assert plain_merge({"join": "post"}, {"join": {"scale": 2}}) == {"join": {"kind": "post", "scale": 2}}


def test_layers_are_parent_then_child_then_size_then_overrides(folder):
    child = write(
        folder, "child", "extends: base.yaml\nbackbone: {width: 64, heads: 2}\nsizes: {tiny: {optim: {lr: 5e-3}}}"
    )
    assert resolve(child).keys["backbone"] == {
        "kind": "transformer",
        "width": 64,
        "norm": {"kind": "layer", "eps": 1e-5},
        "heads": 2,
    }
    tiny = resolve(child, size="tiny", sets=["backbone.heads=4", "objectives.0.rate=0.3"])
    assert tiny.keys["backbone"]["width"] == 16 and tiny.keys["backbone"]["heads"] == 4
    assert tiny.keys["optim"] == {"kind": "adamw", "lr": 5e-3}
    assert tiny.keys["objectives"] == [{"kind": "mlm", "rate": 0.3}, {"kind": "nsp"}]


STAGED = """
extends: base.yaml
stages:
  - {loop: {steps: 5}, optim: {lr: 1.0e-4}}
  - {objectives: [{kind: mlm, rate: 0.5}, {kind: sop}], data: {text: null}}
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("loop.steps=2", [{"loop": {"steps": 2}}, {}]),
        ("optim.lr=1", [{"optim": {"lr": 1}}, {}]),
        ("optim=sgd", [{"optim": "sgd"}, {}]),
        ("objectives.0.rate=0.2", [{}, {"objectives": [{"kind": "mlm", "rate": 0.2}, {"kind": "sop"}]}]),
        ("objectives.1.weight=2", [{}, {}]),  # of another kind there
        ("data.text.length=9", [{}, {}]),  # no longer there
        ("stages.1.optim.lr=3", [{}, {"optim": {"lr": 3}}]),
    ],
)
def test_an_override_holds_in_the_stages_that_give_the_key_a_value_of_their_own(folder, text, wanted):
    child = write(folder, "child", STAGED)
    before, after = resolve(child).keys["stages"], resolve(child, sets=[text]).keys["stages"]
    assert after == [{**stage, **changed} for stage, changed in zip(before, wanted, strict=True)]


def test_every_value_knows_the_file_that_set_it(folder):
    child = write(folder, "child", "extends: base.yaml\n\nbackbone: {width: 64}")
    tree = resolve(child, sets=["optim.lr=1e-2"])
    assert str(tree.place(("backbone", "width"))).endswith("child.yaml:3:12")
    assert str(tree.place(("backbone", "norm", "eps"))).endswith(f"base.yaml:4:{BASE.splitlines()[3].index('eps') + 1}")
    assert str(tree.place(("objectives", 0, "rate"))).endswith(f"base.yaml:5:{BASE.splitlines()[4].index('rate') + 1}")
    assert str(tree.place(("optim", "lr"))) == "--set optim.lr=1e-2"


def test_an_override_of_a_kind_drops_what_belonged_to_the_old_one(folder):
    tree = resolve(str(folder / "base.yaml"), sets=["optim.kind=sgd", "backbone.norm=rms"])
    assert tree.keys["optim"] == {"kind": "sgd"} and tree.keys["backbone"]["norm"] == {"kind": "rms"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: bas", "no recipe named 'bas'"),
        ("extends: child.yaml", "goes in a circle"),
        ("extends: ../../etc/x.yaml", "leaves the recipe's own folder"),
        ("extends: [a, b]", "one parent"),
        ("extends: base.yaml\nobjectve: []", "did you mean 'objectives'?"),
        ("- 1", "a recipe is a mapping"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_line(folder, text, says):
    child = write(folder, "child", text)
    with pytest.raises(RecipeError) as error:
        resolve(child)
    assert says in str(error.value) and "child.yaml" in str(error.value)


def test_a_chain_longer_than_allowed_is_refused(folder):
    above = "base.yaml"
    for i in range(CHAIN):
        write(folder, f"c{i}", f"extends: {above}")
        above = f"c{i}.yaml"
    assert resolve(str(folder / f"c{CHAIN - 2}.yaml"))
    with pytest.raises(RecipeError, match="chain of more than 4"):
        resolve(str(folder / above))


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["optim.lr"], "write it as key.path=value"),
        (["optm.lr=1"], "did you mean 'optim'?"),
        (["objectives.7.rate=1"], "has 2 items"),
    ],
)
def test_a_wrong_override_is_refused(folder, sets, says):
    with pytest.raises(RecipeError) as error:
        resolve(str(folder / "base.yaml"), sets=sets)
    assert says in str(error.value)


def test_an_unknown_size_names_the_nearest(folder):
    with pytest.raises(RecipeError, match="no size of base named 'tinny'; did you mean 'tiny'"):
        resolve(str(folder / "base.yaml"), size="tinny")


def test_a_users_recipe_may_have_the_name_of_the_one_it_extends(tmp_path):
    mine = write(tmp_path, "bert", "extends: bert\noptim: {lr: 5e-4}")
    tree = resolve(mine)
    assert tree.keys["optim"]["lr"] == 5e-4 and tree.chain == ("bert", "bert")


def test_a_size_that_is_no_mapping_is_refused_with_its_place(tmp_path):
    (tmp_path / "own.yaml").write_text("family: own\nsizes: {mini: null, odd: 3}\n")
    for size, found in (("mini", "None"), ("odd", "3")):
        with pytest.raises(RecipeError, match=rf"own\.yaml:2.*: sizes\.{size}: a mapping of keys, found {found}"):
            resolve(str(tmp_path / "own.yaml"), size=size)


def test_no_objective_takes_a_word_that_torch_uses():
    from torch import nn

    for name in dir(nn.ModuleDict()):
        home = getattr(getattr(nn.ModuleDict, name, None), "__module__", None) or "torch"
        if not home.startswith("torch"):
            continue  # hung onto it by another library
        with pytest.raises(RecipeError, match=f"cannot be named '{name}'"):
            check(resolve("bert", sets=[f"objectives=[{{kind: mlm, name: {name}}}]"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim.betas=[0.9, 1.0]", r"optim.betas\[1\]: .*less than 1"),
        ("optim={kind: sgd, nesterov: true}", "nesterov looks ahead along the momentum, which is 0"),
        ("objectives.0.replace=[0.9, 0.9]", "together are 1.8; expected at most 1"),
        ("objectives.0.ngrams=0", "objectives.0.ngrams.*greater than or equal to 1"),
        ("objectives.0.ngrams=[0.0, 0.0]", "at least one probability above 0"),
        ("objectives=[{kind: rtd, mask: {kind: guided_mlm}}]", "'guided_mlm' cannot hide tokens for another objective"),
        ("backbone.positions={kind: bucketed, distance: 16}", "expected more than 16"),
    ],
)
def test_settings_that_could_not_be_trained_with_are_refused_by_name(text, said):
    with pytest.raises(RecipeError, match=said):
        check(resolve("bert", sets=[text]))
