"""The vision Transformer: the unified Transformer on patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from modeledge.backbones.resnet import ResNet
from modeledge.backbones.transformer import Transformer
from modeledge.core import Batch, Facts, InputError, RecipeError
from modeledge.interop import import_folder
from modeledge.objectives.image_label import ImageLabel
from modeledge.recipe.resolve import resolve


def make(*, seed=0, positions="grid", pool="cls", first="cls", size=8, patch=2, layers=2, std=0.3, **more):
    torch.manual_seed(seed)
    config = Transformer.Config(
        width=16, layers=layers, heads=4, join="pre", ffn={"kind": "mlp", "width": 32},
        embedding={"kind": "patches", "patch": patch, "size": size, "first": first},
        positions=positions, pool=pool, init={"kind": "normal", "std": std}, **more,
    )  # fmt: skip
    model = Transformer(config, Facts()).eval()
    nn.init.normal_(model.embedding.first, std=std)
    return model


def pictures(b=3, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (b, size, size, 3), dtype=np.uint8))


def test_the_recipe_has_the_published_number_of_parameters():
    recipe = resolve("vit").keys
    with torch.device("meta"):
        backbone = Transformer(Transformer.Config.model_validate(recipe["backbone"]), Facts(image=(224, 224, 3)))
        head = nn.Linear(backbone.width, 1000)
    count = sum(p.numel() for p in backbone.parameters())
    assert count == recipe["expect"]["backbone_params"]
    assert count + sum(p.numel() for p in head.parameters()) == 86_567_656


def reorder(image, order, *, patch=2):
    """The picture with its patches in another order."""
    b, side = len(image), image.shape[1] // patch
    cells = image.reshape(b, side, patch, side, patch, 3).transpose(2, 3).reshape(b, side * side, patch, patch, 3)
    return cells[:, order].reshape(b, side, side, patch, patch, 3).transpose(2, 3).reshape(image.shape)


def test_patches_moved_together_with_their_positions_leave_the_first_token_unchanged():
    model, image = make(), pictures()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    plain, moved = model(Batch(image=image)).pooled, model(Batch(image=reorder(image, order))).pooled
    assert (plain - moved).abs().max() > 1e-3  # positions tell the difference
    with torch.no_grad():
        table = model.positions.table.weight
        table[1:] = table[1:][order].clone()
    together = model(Batch(image=reorder(image, order))).pooled
    torch.testing.assert_close(together, plain, atol=1e-5, rtol=0)


def test_without_positions_any_order_of_patches_is_the_same():
    model, image = make(positions="none"), pictures()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    plain, moved = model(Batch(image=image)).pooled, model(Batch(image=reorder(image, order))).pooled
    torch.testing.assert_close(moved, plain, atol=1e-5, rtol=0)


def test_positions_at_the_trained_size_are_the_table_and_others_lie_between():
    model = make()
    twice = model(Batch(image=pictures(size=16)))
    assert twice.states.shape == (3, 1 + 64, 16)
    with torch.no_grad():
        model.positions.table.weight[1:] = torch.tensor([1.0, -2.0] * 8)  # the same for every patch
    add = model.positions.add
    at = torch.arange(65)[None]
    same = add(torch.zeros(1, 17, 16), at[:, :17], (4, 4))
    torch.testing.assert_close(same[0], model.positions.table.weight)
    larger = add(torch.zeros(1, 65, 16), at, (8, 8))
    torch.testing.assert_close(larger[0, 1:], same[0, 1:2].expand(64, -1), atol=1e-5, rtol=1e-5)
    assert torch.equal(larger[0, 0], same[0, 0])


def test_the_patch_projection_is_cutting_and_multiplying():
    model, image = make(), pictures()
    patch = model.embedding.patch
    cells = (image.float() / 127.5 - 1).permute(0, 3, 1, 2)
    flat = F.unfold(cells, 2, stride=2).transpose(1, 2)
    wanted = flat @ patch.weight.flatten(1).T + patch.bias
    got = model(Batch(image=image), keep=["embedding"]).kept["embedding"][:, 1:] - model.positions.table.weight[1:]
    torch.testing.assert_close(got, wanted, atol=8e-6, rtol=1e-5)


def test_the_mean_pool_is_the_average_of_the_states():
    out = make(pool="mean", first="none")(Batch(image=pictures()))
    assert out.states.shape == (3, 16, 16)
    torch.testing.assert_close(out.pooled, sum(out.states[:, i] for i in range(16)) / 16)


def test_the_scores_of_attention_grow_with_the_fourth_power_of_the_side():
    small, large = (make(first="none")(Batch(image=pictures(1, s)), keep=["blocks.0.attention"]) for s in (8, 16))
    sizes = [out.kept["blocks.0.attention"].numel() for out in (small, large)]
    assert sizes[1] == 16 * sizes[0]


def test_a_patch_that_does_not_divide_the_picture_is_refused():
    with pytest.raises(RecipeError, match="backbone.embedding.patch: 3 does not divide the picture's side 8"):
        make(patch=3)
    with pytest.raises(InputError, match="9 x 9 pixels cannot be cut into patches of 2 x 2"):
        make()(Batch(image=pictures(size=9)))


@pytest.mark.slow
def test_convolutions_need_less_data_than_attention_and_attention_needs_positions():
    found = {rows: [accuracy(kind, rows) for kind in ("conv", "grid", "none")] for rows in (50, 1400)}
    for conv, vit, blind in found.values():
        assert conv > vit > blind
    assert found[1400][0] - found[1400][1] < found[50][0] - found[50][1]  # the gap shrinks with data


def accuracy(kind, rows):
    """On the digits not trained on, after 300 steps on `rows` of them."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    image = torch.from_numpy((data.images[order, :, :, None] * 15.9).astype(np.uint8).repeat(3, -1))
    label = torch.from_numpy(data.target[order])
    torch.manual_seed(0)
    if kind == "conv":
        config = ResNet.Config(blocks=(1, 1), widths=(16, 32), stem_width=16, block="basic", stem="small")
        model = ResNet(config, Facts())
    else:
        model = make(positions=kind, std=0.02)
    head = nn.Linear(model.width, 10)
    optim = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=3e-3)
    rng = np.random.default_rng(0)
    model.train()
    for _ in range(300):
        at = torch.from_numpy(rng.integers(0, rows, 32))
        loss = F.cross_entropy(head(model(Batch(image=image[at])).pooled), label[at])
        optim.zero_grad()
        loss.backward()
        optim.step()
    model.eval()
    with torch.no_grad():
        right = head(model(Batch(image=image[1400:])).pooled).argmax(1) == label[1400:]
    return float(right.float().mean())


@pytest.mark.parametrize("side", [8, 12])
def test_states_and_scores_are_those_of_hugging_face_also_at_another_size(side, tmp_path):
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_hidden_layers": 3}
    torch.manual_seed(0)
    theirs = ViTForImageClassification(ViTConfig(**shape, image_size=8, patch_size=2, num_labels=5)).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
    theirs.save_pretrained(tmp_path)
    found = import_folder(tmp_path)
    facts = Facts(labels=found.facts["labels"])
    model = Transformer(Transformer.Config.model_validate(found.backbone), facts).eval()
    objective = ImageLabel(ImageLabel.Config.model_validate(found.objectives[0]), facts, model).eval()
    both = nn.ModuleDict({"backbone": model, "objectives": nn.ModuleDict({"image_label": objective})})
    both.load_state_dict(found.state)
    batch = Batch(image=torch.randn(2, side, side, 3), label=torch.tensor([1, 4]))
    pixels = batch.image.permute(0, 3, 1, 2)
    wanted = theirs(pixel_values=pixels, labels=batch.label, interpolate_pos_encoding=side != 8)
    out = objective.run(model, batch)
    torch.testing.assert_close(objective.scores(out), wanted.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(objective.loss(out, batch)["image_label"].mean(), wanted.loss, atol=1e-6, rtol=0)
