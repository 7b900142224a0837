"""What a small pair of towers learns in seconds: to classify by names, and to find unseen pictures by their names."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from modeledge.analysis._collect import collect, still
from modeledge.analysis.probe import linear_probe
from modeledge.analysis.retrieval import retrieval
from modeledge.analysis.zero_shot import class_vectors, zero_shot
from modeledge.backbones.dual import Dual
from modeledge.core import Batch, Facts, find
from modeledge.objectives.contrast import Contrast
from modeledge.views.images.cut import resize

TEXT = {"kind": "transformer", "heads": 2, "join": "pre", "init": "clip", "pool": "last"}
TEMPLATES = ("a photo of a {}", "the number {}", "{}")
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
WORDS = {w: i + 3 for i, w in enumerate([*sorted({w for t in TEMPLATES for w in t.split()} - {"{}"}), *NAMES])}


def frame(texts, length):
    """Ids of each text between 1 and 2, filled up with 0."""
    out = np.zeros((len(texts), length), np.int64)
    for row, ids in zip(out, texts, strict=True):
        framed = [1, *ids[: length - 2], 2]
        row[: len(framed)] = framed
    return out


def spell(texts):
    return frame([[WORDS[w] for w in t.split()] for t in texts], 8)


def train(image, width, facts, batches, *, lr, text):
    """The objective and its towers after one step on each batch."""
    torch.manual_seed(0)
    towers = {"image": image, "text": {**TEXT, "width": width, **text}}
    model = Dual(Dual.Config(kind="dual", width=width, towers=towers), facts)
    objective = Contrast(Contrast.Config(kind="contrast", positives="same"), facts, model)
    optim = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=lr, weight_decay=0.1)
    for i, batch in enumerate(batches):
        shown = objective.view(batch, np.random.default_rng(i)).tensors()
        loss = objective(model, shown)["contrast"].mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
        objective.after_step(i)
    return objective, model


@pytest.mark.slow
def test_classes_are_told_by_their_names_nearly_as_well_as_by_a_linear_probe():
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.images[order, :, :, None] * 15.9).astype(np.uint8).repeat(3, -1), data.target[order]

    def batches():
        rng = np.random.default_rng(0)
        for _ in range(150):
            at, how = rng.integers(0, 1400, 64), rng.integers(0, len(TEMPLATES), 64)
            captions = [TEMPLATES[h].replace("{}", NAMES[c]) for h, c in zip(how, y[at], strict=True)]
            yield Batch(image=x[at], ids=spell(captions))

    conv = {"kind": "resnet", "blocks": (1, 1), "widths": (16, 32), "stem_width": 16, "block": "basic", "stem": "small"}
    facts = Facts(vocab=24, special={"pad": 0, "bos": 1, "eos": 2}, words=(3, 24), image=(8, 8, 3))
    text = {"layers": 1, "positions": {"kind": "learned", "max": 8}}
    objective, model = train(conv, 32, facts, batches(), lr=3e-3, text=text)

    def of_texts(texts):
        with still(model):
            return objective.embed(model, Batch(ids=torch.from_numpy(spell(texts))))["text"]

    def of_images(batch):
        return objective.embed(model, batch)["image"]

    seen, unseen = (
        collect(model, of_images, [Batch(image=x[s], label=y[s])]) for s in (slice(1400), slice(1400, None))
    )
    named = zero_shot(*unseen, class_vectors(of_texts, NAMES, templates=TEMPLATES))
    probed = linear_probe(seen, unseen, strengths=(1e-4, 1e-2, 1.0))
    assert named["accuracy"] > 0.9 and named["accuracy"] > probed["accuracy"] - 0.05


@pytest.mark.slow
def test_unseen_pictures_are_found_by_their_names_well_above_chance():
    root = os.environ.get("MODELEDGE_DATA")
    if root is None:
        pytest.skip("MODELEDGE_DATA is not set")
    pq, image = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("PIL.Image")

    def load(split):
        rows = pq.read_table(Path(root, "image", f"emoji.{split}.parquet")).to_pylist()
        pictures = [np.asarray(image.open(io.BytesIO(r["image"])).convert("RGB")) for r in rows]
        return resize(np.stack(pictures), size=32), [r["name_en"].lower() for r in rows]

    (pictures, names), (unseen, their_names) = load("train"), load("valid")
    kind = find("tokenizers", "byte_bpe")
    tokenizer = kind(kind.Config(kind="byte_bpe", vocab=1000)).train(iter(names))

    def write(texts):
        return frame([[i + 3 for i in ids] for ids in tokenizer.encode_batch(texts)], 16)

    def batches():
        rng = np.random.default_rng(0)
        for _ in range(120):
            at = rng.permutation(len(names))[:128]
            yield Batch(image=pictures[at], ids=write([names[i] for i in at]))

    vit = {
        "kind": "transformer", "width": 64, "heads": 2, "layers": 2, "join": "pre", "init": "clip", "pool": "cls",
        "positions": "grid",
        "embedding": {"kind": "patches", "patch": 8, "size": 32, "norm": "layer", "pixels": "clip"},
    }  # fmt: skip
    facts = Facts(vocab=tokenizer.vocab + 3, special={"pad": 0, "bos": 1, "eos": 2}, image=(32, 32, 3))
    text = {"layers": 2, "positions": {"kind": "learned", "max": 16}}
    objective, model = train(vit, 64, facts, batches(), lr=1e-3, text=text)
    with still(model):
        z = objective.embed(model, Batch(image=unseen, ids=write(their_names)).tensors())
    found = retrieval(z["image"], z["text"], np.arange(len(unseen)))
    for way in found.values():
        assert way["recall@10"] > 2 * 10 / 150 and way["median_rank"] < 60  # chance: .067 and 75
