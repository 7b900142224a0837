"""modeledge: pre-train, transfer, compress and dissect pre-trained models of every family through one interface.

The verbs of the command line as functions, imported when first used:

    import modeledge
    modeledge.pretrain("bert", size="mini", data=["corpus/"], budget="10min", out="run")
    loaded = modeledge.load("run")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeledge.data.prepare import prepare
    from modeledge.run.compare import compare
    from modeledge.run.embed import embed
    from modeledge.run.finetune import finetune
    from modeledge.run.keep import load_model as load
    from modeledge.run.port import export_model, import_model
    from modeledge.run.predict import evaluate_model, predict
    from modeledge.run.pretrain import pretrain

_WHERE = {
    "compare": "run.compare:compare",
    "embed": "run.embed:embed",
    "evaluate_model": "run.predict:evaluate_model",
    "export_model": "run.port:export_model",
    "finetune": "run.finetune:finetune",
    "import_model": "run.port:import_model",
    "load": "run.keep:load_model",
    "predict": "run.predict:predict",
    "prepare": "data.prepare:prepare",
    "pretrain": "run.pretrain:pretrain",
}

__all__ = [
    "compare",
    "embed",
    "evaluate_model",
    "export_model",
    "finetune",
    "import_model",
    "load",
    "predict",
    "prepare",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'modeledge' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(importlib.import_module(f"modeledge.{module}"), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
