"""The pointer-generator against a plain loop in float64."""

import math

import pytest
import torch

from modeledge.core import Facts, build, find

V, WIDTH = 12, 6


def make():
    torch.manual_seed(0)
    facts = Facts(vocab=V, special={"pad": 0})
    config = find("backbones", "encoder_decoder").Config.model_validate(
        {"kind": "encoder_decoder", "width": WIDTH, "layers": 1, "heads": 2}
    )
    backbone = build("backbones", config, facts).double()
    head = build("heads", find("heads", "copy").Config(kind="copy"), facts, backbone).double()
    with torch.no_grad():
        for p in [*head.parameters(), *backbone.parameters()]:
            p.copy_(torch.randn_like(p))
    return head


def given(b=2, u=3, s=5):
    states, source = torch.randn(b, u, WIDTH).double(), torch.randn(b, s, WIDTH).double()
    ids = torch.tensor([[3, 4, 3, 5, 0], [7, 7, 7, 8, 9]])
    copied = torch.tensor([[True, True, True, True, False], [True, False, True, True, True]])
    return states, source, ids, copied


@torch.no_grad()
def by_hand(head, states, source, ids, copied):
    """Probabilities b u v, one number after the other."""
    out = torch.zeros(2, 3, V, dtype=torch.float64)
    for b in range(2):
        for u in range(3):
            h = states[b, u]
            e = {}
            for s in range(5):
                if copied[b, s]:
                    e[s] = float(head.score.weight[0] @ torch.tanh(head.source.weight @ source[b, s]
                                 + head.state.weight @ h + head.state.bias))  # fmt: skip
            total = sum(math.exp(x) for x in e.values())
            a = {s: math.exp(x) / total for s, x in e.items()}
            found = sum(a[s] * source[b, s] for s in a)
            z = float(head.gate.weight[0] @ torch.cat([found, h]) + head.gate.bias[0])
            g = 1 / (1 + math.exp(-z))
            out[b, u] = g * head.token(h).softmax(-1)
            for s, weight in a.items():
                out[b, u, ids[b, s]] += (1 - g) * weight
    return out


def test_the_mixture_is_that_of_a_plain_loop_and_sums_to_one():
    head, (states, source, ids, copied) = make(), given()
    found = head(states, source, ids, copied).exp().double()
    torch.testing.assert_close(found, by_hand(head, states, source, ids, copied), atol=2e-6, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3).double(), atol=2e-6, rtol=0)


def test_a_gate_that_only_writes_gives_the_plain_decoder_and_one_that_only_copies_the_attention():
    head, (states, source, ids, copied) = make(), given()
    head.gate.weight.data.zero_()
    head.gate.bias.data.fill_(200.0)
    plain = head.token(states).log_softmax(-1)
    torch.testing.assert_close(head(states, source, ids, copied).double(), plain, atol=1e-5, rtol=1e-5)
    head.gate.bias.data.fill_(-200.0)
    weights, _ = head.point(states, source, copied)
    copy = head(states, source, ids, copied).exp()
    torch.testing.assert_close(copy[1, :, 7], weights[1, :, 0] + weights[1, :, 2], atol=1e-6, rtol=0)  # 7 stands twice
    assert (copy[0, :, 0] < 1e-9).all() and (weights[1, :, 1] == 0).all()  # closed places are not copied


def test_nothing_to_copy_leaves_the_plain_decoder_and_finite_gradients():
    head, (states, source, ids, copied) = make(), given()
    copied[0] = False
    found = head(states, source, ids, copied)
    torch.testing.assert_close(found[0].double(), head.token(states)[0].log_softmax(-1), atol=1e-5, rtol=1e-5)
    found.gather(-1, torch.full((2, 3, 1), 8)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


@pytest.mark.parametrize("label", [3, 11])
def test_the_gradient_is_that_of_the_log_of_the_mixture(label):
    """3 may be copied in the first row, 11 nowhere."""
    head, (states, source, ids, copied) = make(), given()
    states.requires_grad_()
    (found,) = torch.autograd.grad(head(states, source, ids, copied)[0, 0, label], states)
    step, numeric = 1e-4, torch.zeros(WIDTH).double()
    for i in range(WIDTH):
        ends = []
        for sign in (1, -1):
            moved = states.detach().clone()
            moved[0, 0, i] += sign * step
            ends.append(by_hand(head, moved, source, ids, copied)[0, 0, label].log())
        numeric[i] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(found[0, 0], numeric, atol=1e-4, rtol=1e-3)


def test_no_number_is_kept_for_each_pair_of_places_and_channel():
    """The gradient is that of the plain loop's formula; what is kept is b u s and smaller, not b u s d."""
    head, (states, source, _, copied) = make(), given()
    states.requires_grad_()
    kept = []

    def pack(x):
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        weights, _ = head.point(states, source, copied)
    assert max(kept) < 2 * 3 * 5 * WIDTH
    (found,) = torch.autograd.grad(weights[..., 0].sum(), states)
    mixed = torch.tanh(head.source(source)[:, None] + head.state(states)[:, :, None])
    plain = head.score(mixed).squeeze(-1).masked_fill(~copied[:, None], float("-inf")).softmax(-1)
    (wanted,) = torch.autograd.grad(plain[..., 0].sum(), states)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
