"""Parts of a backbone from the input to the output: what learning rates by depth and unfreezing go by."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, find, kinds
from modeledge.recipe.resolve import resolve, shipped
from modeledge.recipe.schema import check
from modeledge.run.explain import stand_in_facts
from modeledge.run.model import Model

FACTS = Facts(vocab=20, special={"pad": 0}, words=(1, 20))
STACK = {"width": 8, "layers": 2, "heads": 2, "ffn": {"kind": "mlp", "width": 8}}
LSTM = {"width": 8, "layers": 3, "skip": "none", "embedding": {"kind": "tokens"}}
SHAPES = {
    "transformer": {**STACK, "pool": {"kind": "first"}},
    "encoder_decoder": {**STACK, "decoder_layers": 1},
    "lstm": LSTM,
    "lstm, joined": {**LSTM, "directions": "joined"},
    "resnet": {"blocks": [1, 2], "widths": [8, 16], "stem_width": 4},
}
LEVELS = {
    "transformer": ["embedding positions", "blocks.0", "blocks.1"],
    "encoder_decoder": [
        "encoder.embedding encoder.positions decoder.embedding decoder.positions",
        "encoder.blocks.0",
        "encoder.blocks.1",
        "decoder.blocks.0",
    ],
    "lstm": ["embedding", "stacks.0.0 stacks.1.0", "stacks.0.1 stacks.1.1", "stacks.0.2 stacks.1.2"],
    "resnet": ["stem", "stages.0", "stages.1"],
}


def make(name):
    kind = name.split(",")[0]
    backbone = find("backbones", kind)
    return backbone(backbone.Config.model_validate({"kind": kind, **SHAPES[name]}), FACTS)


def batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 20, (2, 6))
    return Batch(ids=ids, decoder_ids=ids, image=rng.integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)).tensors()


@pytest.mark.parametrize("name", LEVELS)
def test_layers_are_told_from_the_input_to_the_output(name):
    assert make(name).levels() == [tuple(level.split()) for level in LEVELS[name]]


@pytest.mark.parametrize("name", SHAPES)
def test_levels_follow_one_another_as_the_network_runs(name):
    """No module of a level runs for the first time after one of the level above it has."""
    backbone, ran = make(name), []
    for number, parts in enumerate(backbone.levels()):
        for part in parts:
            for module in backbone.get_submodule(part).modules():
                module.register_forward_hook(lambda *_, number=number: ran.append(number))
    backbone(batch())
    first = {number: ran.index(number) for number in ran}
    assert list(first) == sorted(first) == list(range(len(backbone.levels())))


@cache
def first_with():
    """A recipe for each kind of backbone or tower."""
    trunks = {name: resolve(name).keys["backbone"] for name in reversed(list(shipped()))}
    towers = {t["kind"]: n for n, trunk in trunks.items() for t in trunk.get("towers", {}).values()}
    return towers | {trunk["kind"]: name for name, trunk in trunks.items()}


@pytest.mark.parametrize("kind", kinds("backbones"))
def test_every_part_of_every_backbone_is_in_one_group_and_shared_ones_in_the_lowest(kind):
    recipe = check(resolve(first_with()[kind], size="tiny"))
    with torch.device("meta"):
        model = Model(recipe, stand_in_facts(recipe))
    assert model.backbone.levels()
    for part in (part for parts in model.backbone.levels() for part in parts):
        home, _, last = part.rpartition(".")
        assert hasattr(model.backbone.get_submodule(home), last)
    grouped = [n for names in model.layer_groups() for n in names]
    assert sorted(grouped) == sorted(n for n, p in model.named_parameters() if p.requires_grad)


def test_layers_that_share_their_weights_are_one_group():
    recipe = check(resolve("albert", size="tiny", sets=["backbone.layers=4"]))
    with torch.device("meta"):
        model = Model(recipe, stand_in_facts(recipe))
    groups = model.layer_groups()
    assert len(groups) == 4  # embedding, the one block, pool, heads
    assert all(n.startswith("backbone.blocks.0.") for n in groups[1])
    assert all(n.startswith("backbone.pool.") for n in groups[2])


def test_towers_are_counted_from_their_outputs():
    recipe = check(resolve("clip", size="tiny"))
    with torch.device("meta"):
        model = Model(recipe, stand_in_facts(recipe))
    depth = {n: len(tower.blocks) for n, tower in model.backbone.towers.items()}
    last = model.backbone.levels()[-1]
    assert set(last) == {f"towers.{n}.blocks.{d - 1}" for n, d in depth.items()}
    assert any("towers.image.embedding" in names for names in model.backbone.levels()[:1])
