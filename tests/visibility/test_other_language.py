"""Who sees whom across languages, against a triple loop."""

from __future__ import annotations

import torch

from modeledge.visibility import see
from modeledge.visibility.other_language import other_language


def test_targets_see_the_other_language_and_the_rest_its_own():
    torch.manual_seed(0)
    lang, target = torch.randint(0, 3, (4, 9)), torch.rand(4, 9) < 0.4
    mask = see(other_language(lang, target), 4, 9, device="cpu").mask[:, 0]
    for b in range(4):
        for q in range(9):
            for k in range(9):
                if target[b, q]:
                    wanted = k == q or (lang[b, k] != lang[b, q] and not target[b, k])
                else:
                    wanted = lang[b, k] == lang[b, q] and not target[b, k]
                assert bool(mask[b, q, k]) == bool(wanted)


def test_nothing_of_a_targets_own_language_reaches_it_over_many_layers():
    torch.manual_seed(1)
    lang, target = torch.randint(0, 2, (6, 10)), torch.rand(6, 10) < 0.4
    one = see(other_language(lang, target), 6, 10, device="cpu").mask[:, 0].float()
    reach = torch.linalg.matrix_power(one, 5) > 0
    own = (lang[:, :, None] == lang[:, None]) & ~torch.eye(10, dtype=torch.bool)
    assert not (reach & own & target[:, :, None]).any()
