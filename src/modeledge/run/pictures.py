"""A vision model and a store of labelled pictures: image classification as fine-tuning."""

from __future__ import annotations

from typing import Any

from modeledge.core import InputError
from modeledge.data.store import Store
from modeledge.run.setting import Setting


class Pictures(Setting):
    """Settings for `image_label`: pictures are shown as in pre-training, the head is new."""

    def require(self) -> None:
        t = self.tuning
        if self.loaded.facts.image is None or self.loaded.recipe.backbone.kind == "dual":
            then = "a model pre-trained from a recipe like vit or resnet"
            raise InputError(f"{self.loaded.path}: --task image_label needs a model of pictures alone\n  next: {then}")
        if t.labels is not None or t.auxiliary or t.mix or t.train == "head":
            raise InputError("--task image_label: takes no --labels, --auxiliary, --mix or --train head")

    def data_keys(self) -> dict[str, Any]:
        return {"kind": "images"}

    def read(self, store: Any, keys: dict[str, Any]) -> Any:
        if not isinstance(store, Store) or "image" not in store:
            then = f"modeledge prepare {store.path} --kind images --out STORE"
            raise InputError(f"{store.path}: not a store of pictures\n  next: {then}")
        return super().read(store, keys)

    def objective(self) -> dict[str, Any]:
        shown = next((o.model_dump()["show"] for o in self.loaded.recipe.objectives if hasattr(o, "show")), {})
        return {"kind": "image_label", "show": shown}
