"""Classify pictures by the names of the classes: each class is the mean of its prompts' vectors.

Source: CLIP, arXiv:2103.00020 §3.1.2 and §3.1.4 (prompts, ensembles of prompts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.analysis._collect import still
from modeledge.core import Batch, Facts, InputError
from modeledge.data.sources._forms import frame_texts
from modeledge.data.sources._rows import Rows

TextEmbed = Callable[[Sequence[str]], Tensor]
"""From texts to one vector each: n d."""

TEMPLATES = ("a photo of a {}.",)


def text_embedder(
    model: nn.Module, embed: Callable[[Batch], Tensor], facts: Facts, *, length: int
) -> Callable[[Sequence[str]], Tensor]:
    """An embedder of texts, framed as the rows a dual model was trained on (`data.<name>.length` tokens).

    embed: from a batch with `ids` to a vector a row; `model` is held still while it runs."""

    def vectors(texts: Sequence[str]) -> Tensor:
        ids = facts.tokenizer.encode_batch(texts)
        rows = Rows([frame_texts(facts.tokenizer, [one], length)[0] for one in ids], {"ids": facts.pad})
        batch = rows.pad(np.arange(len(rows)), length).tensors(next(model.parameters()).device)
        with still(model):
            return embed(batch).float().cpu()

    return vectors


class Remembered:
    """An embedder of texts that asks `embed` only for texts it has not seen."""

    def __init__(self, embed: TextEmbed):
        self.embed = embed
        self.known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        new = [t for t in dict.fromkeys(texts) if t not in self.known]
        if new:
            self.known.update(zip(new, self.embed(new), strict=True))
        return torch.stack([self.known[t] for t in texts])


def class_vectors(
    embed: TextEmbed, names: Sequence[str], *, templates: Sequence[str] = TEMPLATES, chunk: int = 256
) -> Float[Tensor, "c d"]:
    """One unit vector a class: the mean of the unit vectors of its prompts, brought to length 1.

    Each template has one `{}` for the name. Raises InputError for one that has not."""
    for template in templates:
        if template.count("{}") != 1:
            raise InputError(f"template {template!r}: needs one {{}} where the name of the class goes")
    prompts = [t.replace("{}", n) for n in names for t in templates]
    parts = [embed(prompts[i : i + chunk]) for i in range(0, len(prompts), chunk)]
    each = F.normalize(torch.cat(parts).float(), dim=-1).unflatten(0, (len(names), len(templates)))
    return F.normalize(each.mean(1), dim=-1)


def classify(images: Float[Tensor, "n d"], vectors: Float[Tensor, "c d"]) -> Int[Tensor, " n"]:
    """The class of highest cosine similarity for each picture."""
    return (F.normalize(images.float(), dim=-1) @ vectors.T).argmax(1)


def zero_shot(images: Float[Tensor, "n d"], labels: np.ndarray, vectors: Float[Tensor, "c d"]) -> dict[str, float]:
    """Accuracy of `classify`, the mean of the classes' accuracies, and what guessing would get."""
    right = classify(images, vectors).numpy() == np.asarray(labels)
    each = [right[labels == c].mean() for c in np.unique(labels)]
    common = np.bincount(labels).max() / len(labels)
    return {
        "accuracy": float(right.mean()),
        "class_accuracy": float(np.mean(each)),
        "chance": 1 / len(vectors),
        "majority": float(common),
        "n": float(len(labels)),
    }
