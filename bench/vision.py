"""G15: supervised training of a small ViT, pictures a second, against the Hugging Face Trainer with pillow.

    python bench/vision.py --images FILE.parquet [--peer default|tuned] [--size mini] [--device cpu]

The file has pictures (PNG or JPEG bytes) in `image` and a `label`. Both sides train the same sizes with the same batch
on cuts moved by up to 4 pixels and mirrored by half. Ours reads pixels that `prepare` decoded once; the peer decodes a
picture whenever it is shown, as its examples do. The equality gate: same weights and pictures, same loss. Ours is
compiled where the run that the recipe asks for would be; what that took is printed and not part of the windows."""

from __future__ import annotations

import argparse
import io
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _ours import Ours
from _ratio import interleave, ratio

from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.interop import export_folder
from modeledge.layers.pixels import normalise
from modeledge.run.checkpoint import own_tensors
from modeledge.run.keep import facts_to_json


class Pictures(torch.utils.data.Dataset):
    """Encoded pictures, decoded, cut, mirrored and normalised one at a time."""

    def __init__(self, data: list[bytes], labels: list[int], size: int):
        self.data, self.labels, self.size = data, labels, size

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> dict[str, Any]:
        from PIL import Image, ImageOps

        image = Image.open(io.BytesIO(self.data[i])).convert("RGB")
        if image.size != (self.size, self.size):
            image = ImageOps.fit(image, (self.size, self.size))
        image = ImageOps.expand(image, 4)
        left, top = np.random.randint(0, 9, 2)
        image = image.crop((left, top, left + self.size, top + self.size))
        if np.random.rand() < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1)
        return {"pixel_values": pixels, "labels": self.labels[i]}


class Peer:
    """transformers.Trainer; a window is a `train` call of so many steps on the next slice of the pictures."""

    def __init__(self, config: dict[str, Any], pictures: Pictures, *, batch: int, tuned: bool, device: str):
        from transformers import ViTConfig, ViTForImageClassification

        self.model = ViTForImageClassification(ViTConfig(**config))
        self.pictures, self.batch, self.tuned, self.cpu, self.place = pictures, batch, tuned, device == "cpu", 0

    def __call__(self, steps: int) -> float:
        from transformers import Trainer, TrainingArguments

        size = steps * self.batch
        at = [(self.place + i) % len(self.pictures) for i in range(size)]
        self.place += size
        extra: dict[str, Any] = {}
        if self.tuned:
            extra = {"optim": "adamw_torch_fused", "logging_nan_inf_filter": False}
            extra["dataloader_num_workers"] = 1 if self.cpu else 8
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=self.batch, bf16=True,
                use_cpu=self.cpu, learning_rate=1e-3, report_to="none", save_strategy="no", disable_tqdm=True,
                logging_strategy="no", **extra,
            )  # fmt: skip
            shown = torch.utils.data.Subset(self.pictures, at)
            trainer = Trainer(model=self.model, args=arguments, train_dataset=shown)
            begun = time.perf_counter()
            trainer.train()
            return size / (time.perf_counter() - begun)


def gate(ours: Ours, peer: Peer) -> float:
    """The difference of the losses of both models with the same weights on the same pictures, in fp32."""
    recipe = ours.trainer.recipe
    tree = {"backbone": recipe.backbone.model_dump(), "objectives": [o.model_dump() for o in recipe.objectives]}
    with torch.no_grad():
        for parameter in ours.model.parameters():  # the head starts at zero, which would hide everything before it
            parameter.add_(0.02 * torch.randn_like(parameter))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "vit"
        export_folder(folder, tree, own_tensors(ours.model), facts_to_json(ours.facts), model_type="vit")
        peer.model = type(peer.model).from_pretrained(folder)
    device = next(ours.model.parameters()).device
    batch = ours.feed.step(0).works[0].micros[0].tensors(device)
    ours.model.eval()
    peer.model.to(device).eval()
    with torch.no_grad():
        sums = ours.model(("image_label",), batch)["image_label"]
        pixels = normalise(batch.image, recipe.backbone.embedding.pixels)
        theirs = peer.model(pixel_values=pixels, labels=batch.label.long()).loss
    ours.model.train()
    peer.model.train()
    return abs(float(sums.total / sums.count) - float(theirs))


def main() -> None:
    """Parse, build both sides, check the gate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a parquet file with columns image and label")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--peer", choices=["default", "tuned"], default="default")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="optimizer steps in a window")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import pyarrow.parquet as pq

    columns = pq.read_table(given.images, columns=["image", "label"]).to_pydict()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        prepare([str(given.images)], out=store, kind="images", valid_fraction=0.0)
        sets = [f"loop.batch={given.batch}", "loop.precision=bf16"]
        ours = Ours(Store.open(store), "vit", size=given.size, sets=sets, device=given.device)
        sizes = ours.trainer.recipe.backbone
        labels = sorted(set(columns["label"]))
        config = {
            "image_size": sizes.embedding.size, "patch_size": sizes.embedding.patch, "hidden_size": sizes.width,
            "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads, "num_labels": len(labels),
            "intermediate_size": sizes.ffn.width, "layer_norm_eps": sizes.norm.eps,
        }  # fmt: skip
        pictures = Pictures(columns["image"], [labels.index(v) for v in columns["label"]], sizes.embedding.size)
        peer = Peer(config, pictures, batch=given.batch, tuned=given.peer == "tuned", device=given.device)
        difference = gate(ours, peer)
        print(f"gate: same weights, same pictures: losses differ by {difference:.1e}")
        assert difference < 1e-3, "the two sides do not compute the same loss"
        begun = time.perf_counter()
        ours(3)
        first = time.perf_counter() - begun
        print(f"the first three steps of ours took {first:.1f} s")
        one, two = interleave(lambda: rows(ours, given.steps), lambda: peer(given.steps), windows=given.windows)
    floor, goal = (2.0, 4.0) if given.device == "cpu" else (3.0, 8.0)
    name = f"vision_{given.device}_{given.peer}_{given.size}"
    ratio(name, one, two, floor=floor, goal=goal, unit="pictures/s", gate=difference, batch=given.batch, first=first)


def rows(ours: Ours, steps: int) -> float:
    """Pictures a second of one window."""
    begun = time.perf_counter()
    ours(steps)
    return steps * ours.trainer.recipe.loop.batch / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
