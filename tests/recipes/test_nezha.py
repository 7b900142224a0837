"""What NEZHA's distances promise: rows longer than those of the training."""

from __future__ import annotations

import pytest
import torch

from modeledge.core import Batch, Facts, build, find, keyed
from modeledge.objectives import gather_targets

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
FORMS = {
    "distances": {"positions": "none", "attention": {"kind": "functional", "distance": 8}},
    "places": {"positions": {"kind": "learned", "max": 128}},
}


def rise(form, steps=500):
    """How much the loss of masked tokens rises from rows of 64 to rows of 128 after training on 64."""
    torch.manual_seed(0)
    facts = Facts(vocab=40, special=dict(SPECIAL), words=(5, 40))
    slots = {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "ffn": {"kind": "mlp", "width": 64},
        "join": "pre",
        "init": {"kind": "normal", "std": 0.15},
        **FORMS[form],
    }
    config = find("backbones", "transformer").Config.model_validate({"kind": "transformer", **slots})
    backbone = build("backbones", config, facts)
    mlm = build("objectives", find("objectives", "mlm").Config(kind="mlm"), facts, backbone)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *mlm.parameters()], lr=5e-3)

    def loss(t, step):
        rng = keyed("counting", t, step)
        ids = 5 + (rng.integers(0, 35, (32, 1)) + rng.integers(1, 3, (32, t)).cumsum(1)) % 35  # steps of one or two
        batch = gather_targets(mlm.view(Batch(ids=ids), rng)).tensors()
        return mlm(backbone, batch)["mlm"].mean()

    for step in range(steps):
        optimizer.zero_grad()
        loss(64, step).backward()
        optimizer.step()
    backbone.eval()
    with torch.no_grad():
        near, far = (sum(loss(t, -1 - i).item() for i in range(8)) / 8 for t in (64, 128))
    return near, far - near


@pytest.mark.slow
def test_rows_twice_as_long_cost_less_with_distances_than_with_learned_places():
    near, rises = rise("distances")
    learned, rises_learned = rise("places")
    assert max(near, learned) < 2.5  # both have learnt something: chance is 3.6
    assert rises < rises_learned - 0.5
