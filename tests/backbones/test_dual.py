"""Two towers that never meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.backbones.dual import Dual
from modeledge.core import Batch, Facts, RecipeError
from modeledge.recipe.resolve import resolve
from modeledge.visibility import Seen

FACTS = Facts(vocab=40, special={"pad": 0, "bos": 1, "eos": 2}, words=(3, 40), image=(8, 8, 3))
TEXT = {
    "kind": "transformer", "width": 16, "layers": 2, "heads": 2, "join": "pre", "pool": "last",
    "positions": {"kind": "learned", "max": 12}, "ffn": {"kind": "mlp", "activation": "quick_gelu"},
}  # fmt: skip
VIT = {
    "kind": "transformer", "width": 24, "layers": 2, "heads": 2, "join": "pre", "pool": "cls", "positions": "grid",
    "embedding": {"kind": "patches", "patch": 4, "size": 8, "bias": False, "norm": "layer", "pixels": "clip"},
}  # fmt: skip
CONV = {"kind": "resnet", "blocks": (1, 1), "widths": (8, 16), "block": "basic", "stem": "small", "stem_width": 8}
SEEN = {"image": Seen(), "text": Seen(causal=True)}


def make(image=VIT, text=TEXT):
    torch.manual_seed(0)
    return Dual(Dual.Config(kind="dual", width=10, towers={"image": image, "text": text}), FACTS).eval()


def rows(b=4):
    rng = np.random.default_rng(0)
    return Batch(image=rng.integers(0, 256, (b, 8, 8, 3), dtype=np.uint8), ids=rng.integers(3, 40, (b, 9))).tensors()


def test_the_recipe_has_the_published_number_of_parameters():
    recipe = resolve("clip").keys
    with torch.device("meta"):
        model = Dual(Dual.Config.model_validate(recipe["backbone"]), Facts(vocab=49408, image=(224, 224, 3)))
    count = sum(p.numel() for p in model.parameters())
    assert count == recipe["expect"]["backbone_params"]
    assert count + 1 == 151_277_313  # with the scale, which belongs to the objective


@pytest.mark.parametrize("image", [VIT, CONV], ids=["vit", "resnet"])
def test_each_side_depends_on_its_own_input_alone(image):
    model, batch = make(image), rows()
    out = model(batch, SEEN)
    assert {n: t.pooled.shape for n, t in out.towers.items()} == {"image": (4, 10), "text": (4, 10)}
    other = model(batch.but(image=255 - batch.image), SEEN)
    assert torch.equal(other.towers["text"].pooled, out.towers["text"].pooled)
    assert not torch.equal(other.towers["image"].pooled, out.towers["image"].pooled)


def test_one_side_runs_without_the_other():
    model, batch = make(), rows()
    both = model(batch, SEEN)
    for name, field in (("image", "ids"), ("text", "image")):
        alone = model(batch.but(**{field: None}), SEEN)
        assert list(alone.towers) == [name]
        assert torch.equal(alone.towers[name].pooled, both.towers[name].pooled)


def test_the_vector_is_a_projection_without_shift_of_what_the_tower_pools():
    model, batch = make(), rows()
    out = model(batch, SEEN).towers["image"]
    wanted = model.towers["image"](batch).pooled @ model.projections["image"].weight.T
    torch.testing.assert_close(out.pooled, wanted)
    assert [n for n, _ in model.projections.named_parameters()] == ["image.weight", "text.weight"]


def test_intermediates_are_asked_for_by_tower():
    out = make()(rows(), SEEN, keep=["image.blocks.0", "text.blocks.*.attention"])
    assert set(out.kept) == {"image.blocks.0", "text.blocks.0.attention", "text.blocks.1.attention"}
    assert out.kept["image.blocks.0"].shape == (4, 5, 24)


def test_a_tower_that_does_not_pool_is_refused_by_name():
    with pytest.raises(RecipeError, match="backbone.towers.text: it gives no single vector\n  next: give it a `pool`"):
        make(text={**TEXT, "pool": None})(rows(), SEEN)
