"""Yes or no at every ordinary token, against torch's own loss over a plain selection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.core import keyed


@pytest.mark.parametrize("field", ["capitals", "recurs"])
def test_the_loss_is_over_ordinary_tokens_the_hidden_ones_too(lab, field):
    backbone = lab.backbone(embedding={"kind": "tokens", "types": {"segments": 2}}, positions="sinusoidal")
    mlm, flag = lab.objective("mlm", backbone), lab.objective("flag", backbone, field=field)
    rows = lab.rows()
    rows[field] = keyed("flags").random(rows.ids.shape) < 0.3
    view = flag.view(lab.view(mlm, rows, 1), keyed(2))  # the words are hidden, what is asked of them is not
    assert (view.labels >= 0).any() and np.array_equal(view[field], rows[field])
    batch = mlm.finish(view).tensors()
    out = mlm.run(backbone, batch)
    found = flag.loss(out, batch)["flag"]
    scores = out.states @ flag.head.out.weight[0] + flag.head.out.bias
    counted = torch.from_numpy(~rows.special)
    wanted = F.binary_cross_entropy_with_logits(scores[counted], batch[field][counted].float(), reduction="sum")
    torch.testing.assert_close(found.total, wanted)
    assert float(found.count) == flag.counts(view)["flag"] == counted.sum()
    right = flag.metrics(out, batch)["accuracy"].total
    assert right == ((scores > 0) == batch[field])[counted].sum()
