"""One random batch through our model and through that of transformers, both read from the same folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modeledge.core import Facts, build, find
from modeledge.interop._folder import read_config, read_tensors
from modeledge.interop._port import Asked, Port

if TYPE_CHECKING:
    from modeledge.interop import Imported


BOUND = 1e-4
"""How far scores of the same model may lie apart, in parts of the largest score (or of 1): sums in fp32 in another
order come to some 1e-6, a tensor in the wrong place to whole scores."""


@dataclass(frozen=True)
class Check:
    """difference: the largest absolute one of any score; None if nothing was compared, and `reason` says why; size: the
    largest score."""

    difference: float | None
    reason: str = ""
    size: float = 1.0

    @property
    def ok(self) -> bool:
        """Nothing was compared, or both models are the same."""
        return self.difference is None or self.difference <= BOUND * max(1.0, self.size)

    def __str__(self) -> str:
        if self.difference is None:
            return f"not compared with transformers: {self.reason}"
        return f"largest difference to transformers on a random batch: {self.difference:.1e}"


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors into the module, each shared one under its first name; every tensor must have its place."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    assert set(own) == set(tensors), f"{set(own) ^ set(tensors)}"
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def within(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def build_model(found: Imported, port: Port) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The imported backbone and heads, filled, without dropout."""
    facts = Facts(vocab=found.facts["vocab"], special=found.facts["special"], labels=found.facts.get("labels", {}))
    config = find("backbones", found.backbone["kind"]).Config.model_validate(found.backbone)
    backbone = build("backbones", config, facts).eval()
    fill(backbone, within(found.state, "backbone."))
    heads: dict[str, nn.Module] = {}
    for objective in found.objectives:
        part = objective["kind"]
        if "head" in objective:
            heads[part] = Asked(part, objective, facts, backbone).eval()
            fill(heads[part], within(found.state, f"objectives.{part}."))
    return backbone, heads


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without the progress bars and notes of transformers, which are about its own defaults."""
    noise = transformers.utils.logging
    level = noise.get_verbosity()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        noise.enable_progress_bar()


def compare(folder: Path, found: Imported, port: Port, *, seed: int) -> Check:
    """Our scores against those of transformers, where that is installed."""
    if importlib.util.find_spec("transformers") is None:
        return Check(None, "transformers is not installed (pip install 'modeledge[hf]')")
    import transformers

    config = read_config(folder)
    parts = port.found(port.clean(read_tensors(folder)), config)
    backbone, heads = build_model(found, port)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        batch = port.batch(found.backbone, found.facts)
        with quiet(transformers):
            model: Any = getattr(transformers, port.class_of(parts)).from_pretrained(folder, dtype=torch.float32)
        theirs = port.theirs(model.eval(), parts, batch)
        ours = port.ours(backbone, heads, batch)
    assert set(ours) == set(theirs), f"{set(ours)} {set(theirs)}"
    apart = torch.stack([(ours[n] - theirs[n]).abs().max() for n in ours]).max()  # not a number if any is
    return Check(float(apart), size=max(float(theirs[n].abs().max()) for n in theirs))
