import copy

import torch
from torch import nn

from modeledge.core import find
from modeledge.optim import muon


def stack():
    torch.manual_seed(3)
    return nn.ModuleDict(
        {
            "embed": nn.Embedding(7, 4),
            "blocks": nn.ModuleList([nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 4)]),
            "head": nn.Linear(4, 7),
        }
    )


def make(model, **settings):
    part = find("optim", "muon")
    return part(part.Config(kind="muon", **settings)).make(model.named_parameters())


def give_gradients(model, seed):
    torch.manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn_like(p)


def test_matrices_in_blocks_take_an_orthogonal_step_of_adamws_length_and_the_rest_is_adamw():
    ours, adam = stack(), stack()
    before = {n: p.detach().clone() for n, p in ours.named_parameters()}
    optimizer = make(ours, lr=0.01, weight_decay=0.1, betas=(0.9, 0.999))
    plain = torch.optim.AdamW(
        [
            {"params": [p for p in adam.parameters() if p.ndim == 2]},
            {"params": [p for p in adam.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=0.01,
        weight_decay=0.1,
    )
    for model, step in ((ours, optimizer), (adam, plain)):
        give_gradients(model, 0)
        step.step()
    expected = dict(adam.named_parameters())
    for name, p in ours.named_parameters():
        if name in ("blocks.0.weight", "blocks.2.weight"):
            moved = (before[name] * (1 - 0.01 * 0.1) - p) / (0.01 * 0.2 * max(p.shape) ** 0.5)
            grad = p.grad
            u, _, v = torch.linalg.svd(grad, full_matrices=False)  # the closest orthogonal matrix
            assert torch.cosine_similarity(moved.flatten(), (u @ v).flatten(), dim=0) > 0.97
            values = torch.linalg.svdvals(moved)
            assert values.min() > 0.5 and values.max() < 1.5  # the iteration's five steps leave them near one
        else:
            torch.testing.assert_close(p, expected[name])


def test_matrices_that_move_together_move_as_each_alone_does_in_torch(monkeypatch):
    """Of one shape, wide and tall; more of a shape than are taken at once."""
    monkeypatch.setattr(muon, "AT_ONCE", 5 * 24)
    torch.manual_seed(0)
    shapes = [(4, 6)] * 7 + [(6, 4)] * 2 + [(5, 5), (1, 6)]
    ours = nn.ModuleDict({"blocks": nn.ParameterList([torch.randn(s) for s in shapes])})
    theirs = copy.deepcopy(ours)
    how = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    mine, plain = make(ours, **how), torch.optim.Muon(theirs.parameters(), adjust_lr_fn="match_rms_adamw", **how)
    for seed in range(3):
        for model, optimizer in ((ours, mine), (theirs, plain)):
            give_gradients(model, seed)
            ours["blocks"][3].grad = theirs["blocks"][3].grad = None
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # bf16: 1/256 of a step of 0.02 x 0.2 x 2.4
        state = mine.state[a], plain.state[b]
        torch.testing.assert_close(*(s.get("momentum_buffer", torch.zeros(())) for s in state))


def test_it_continues_from_saved_moments_and_follows_the_schedule():
    one = stack()
    first = make(one, lr=0.02, tables=0.5)
    assert [g["lr"] for g in first.param_groups] == [0.02, 0.01, 0.01]
    for seed in (0, 1):
        give_gradients(one, seed)
        first.step()
    two = copy.deepcopy(one)
    second = make(two, lr=0.02, tables=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in (2, 3):
        for model, optimizer in ((one, first), (two, second)):
            for group in optimizer.param_groups:
                group["lr"] = 0.001 * seed
            give_gradients(model, seed)
            optimizer.step()
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name
    still = copy.deepcopy(one)
    for group in first.param_groups:
        group["lr"] = 0.0
    give_gradients(one, 4)
    first.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), still.parameters(), strict=True))
