"""The published numbers of systems, written down by hand: a change in a parent must not change them in its heirs."""

import pytest

from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check

BERT = {"layers": 12, "width": 768, "heads": 12, "ffn": 3072, "activation": "gelu", "dropout": 0.1, "reading": 0.1}
LARGE = {"layers": 24, "width": 1024, "heads": 16, "ffn": 4096}
XLM = {"layers": 12, "width": 1024, "heads": 8, "ffn": 4096, "dropout": 0.1}

PUBLISHED = [
    ("transformer", None, {"layers": 6, "width": 512, "heads": 8, "ffn": 2048, "activation": "relu", "warmup": 4000}),
    ("transformer", "big", {"width": 1024, "heads": 16, "ffn": 4096}),
    ("gpt", None, {"layers": 12, "width": 768, "heads": 12, "ffn": 3072, "dropout": 0.1, "vocab": 40478}),
    ("gpt2", None, {"layers": 12, "width": 768, "heads": 12, "vocab": 50257}),
    ("bert", None, {**BERT, "vocab": 30522, "lr": 1e-4, "warmup": 10_000, "steps": 1_000_000, "batch": 256}),
    ("bert", "large", LARGE),
    ("roberta", None, {**BERT, "vocab": 50265}),
    ("roberta", "large", LARGE),
    ("albert", None, {"layers": 12, "width": 768, "vocab": 30000}),
    ("electra", None, {**BERT, "lr": 2e-4, "warmup": 10_000, "steps": 766_000, "batch": 256}),
    ("electra", "small", {"layers": 12, "width": 256, "lr": 5e-4, "warmup": 10_000, "steps": 1_000_000, "batch": 128}),
    ("electra", "large", {**LARGE, "lr": 2e-4, "warmup": 10_000, "steps": 400_000, "batch": 2048}),
    ("ernie", None, {**BERT, "activation": "relu", "vocab": 18_000}),
    ("ernie2", None, {**BERT, "vocab": 30522}),
    ("nezha", None, {**BERT, "vocab": 21_128}),
    ("mpnet", None, {**BERT, "vocab": 30_527}),
    ("unilm", None, {**BERT, "vocab": 28_996}),
    ("unilm", "large", LARGE),
    ("xlnet", "large", {**LARGE, "vocab": 32_000}),
    ("t5", None, {"layers": 12, "width": 768, "heads": 12, "dropout": 0.1, "reading": 0.1, "vocab": 32_128}),
    ("mass", None, {"layers": 6, "width": 1024, "heads": 8, "dropout": 0.1, "reading": 0.1, "lr": 1e-4}),
    ("bart", None, {"layers": 6, "width": 768, "activation": "gelu", "lr": 4e-4}),
    ("bart", "large", {"layers": 12, "width": 1024, "heads": 16}),
    ("pegasus", None, {"layers": 16, "width": 1024, "ffn": 4096}),
    ("palm", None, {"layers": 12, "width": 768}),
    ("xlm", None, {**XLM, "lr": 1e-4}),
    ("xlm_r", None, {**BERT, "vocab": 250_002}),
    ("xlm_r", "large", LARGE),
    ("infoxlm", None, {"layers": 12, "width": 768, "lr": 2e-4, "warmup": 10_000, "steps": 200_000, "batch": 2048}),
    ("mbart", None, {"layers": 12, "width": 1024, "heads": 16, "dropout": 0.1}),
    ("kepler", None, {"layers": 12, "width": 768, "warmup": 10_000, "steps": 125_000}),
    ("mbert", None, {"layers": 12, "width": 768, "vocab": 119_547}),
]  # fmt: skip


def numbers(recipe):
    """What papers state, under one name each."""
    b, attention = recipe.backbone, getattr(recipe.backbone, "attention", None)
    warmup = recipe.schedule.warmup if hasattr(recipe.schedule, "warmup") else None
    steps = recipe.loop.steps
    return {
        "layers": b.layers,
        "width": b.width,
        "heads": b.heads,
        "ffn": b.ffn.width or 4 * b.width,
        "activation": b.ffn.activation,
        "dropout": b.dropout,
        "reading": getattr(attention, "dropout", None),
        "vocab": getattr(recipe.tokenizer, "vocab", None),
        "lr": recipe.optim.lr,
        "warmup": round(warmup * steps) if warmup is not None and warmup < 1 else warmup,
        "steps": steps,
        "batch": recipe.loop.batch,
    }


@pytest.mark.parametrize(("name", "size", "stated"), PUBLISHED, ids=[f"{n}-{s or 'paper'}" for n, s, _ in PUBLISHED])
def test_a_recipe_has_the_published_numbers(name, size, stated):
    found = numbers(check(resolve(name, size=size)))
    if "warmup" in stated:  # a share, in round figures
        assert found["warmup"] == pytest.approx(stated["warmup"], rel=1e-3)
        found["warmup"] = stated["warmup"]
    assert {k: found[k] for k in stated} == stated
