"""What a picture is as numbers, here and in the image processor that transformers makes of an exported folder."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor

from modeledge.core import Facts, InputError, build, find
from modeledge.data._pixels import to_pixels
from modeledge.interop import export_folder, import_folder
from modeledge.layers.pixels import STATISTICS, normalise

NORM = {"kind": "layer", "eps": 1e-12}
SIDE = 8


@pytest.fixture
def vit(tmp_path):
    """Writes a ViT with one of the normalisations as a folder of theirs."""

    def write(pixels="half"):
        tree = {
            "kind": "transformer", "width": 16, "layers": 1, "heads": 2, "join": "pre", "norm": NORM,
            "embedding": {"kind": "patches", "size": SIDE, "patch": 4, "first": "cls", "pixels": pixels},
            "positions": {"kind": "grid"}, "ffn": {"kind": "mlp", "width": 24}, "pool": {"kind": "cls"},
        }  # fmt: skip
        backbone = build(
            "backbones", find("backbones", "transformer").Config.model_validate(tree), Facts(image=(8, 8, 3))
        )
        state = dict(nn.ModuleDict({"backbone": backbone}).named_parameters())
        folder = tmp_path / pixels
        export_folder(folder, {"backbone": tree, "objectives": []}, state, {"image": (SIDE, SIDE, 3)}, model_type="vit")
        return folder

    return write


@pytest.mark.parametrize("pixels", sorted(STATISTICS))
def test_an_exported_folder_opens_as_an_image_processor_that_gives_our_numbers(vit, pixels):
    folder = vit(pixels)
    processor = AutoImageProcessor.from_pretrained(folder)
    drawn = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    theirs = processor(Image.fromarray(drawn), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(normalise(torch.from_numpy(drawn)[None], pixels), theirs, atol=1e-5, rtol=0)
    assert import_folder(folder).backbone["embedding"]["pixels"] == pixels


def test_a_picture_of_another_shape_is_brought_to_the_same_middle(vit):
    processor = AutoImageProcessor.from_pretrained(vit())
    smooth = np.add.outer(np.arange(40), 2 * np.arange(64)).astype(np.uint8)[..., None].repeat(3, -1)
    png = io.BytesIO()
    Image.fromarray(smooth).save(png, "png")
    theirs = processor(Image.fromarray(smooth), return_tensors="pt")["pixel_values"]
    ours = normalise(torch.from_numpy(to_pixels(png.getvalue(), SIDE).copy())[None], "half")
    assert (ours - theirs).abs().mean() < 0.05  # cut before or after it is made smaller: a fraction of a pixel


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_mean": [0.1, 0.2, 0.3]}, "none of the normalisations"),
        ({"do_normalize": False}, "without normalisation"),
        ({"image_std": "x"}, "not the settings of an image processor"),
    ],
)
def test_an_image_processor_we_have_no_counterpart_of_is_refused(vit, changes, reason):
    file = vit() / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=reason):
        import_folder(file.parent)
