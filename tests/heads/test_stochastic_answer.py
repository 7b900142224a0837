"""The stochastic answer network against a plain loop over rows, tokens and steps."""

import math

import pytest
import torch
from torch import nn

from modeledge.core import Facts, build, find


class Wide(nn.Module):
    width = 6


def make(**settings):
    config = find("heads", "stochastic_answer").Config(kind="stochastic_answer", **settings)
    head = build("heads", config, Facts(), Wide(), outputs=3)
    with torch.no_grad():
        for p in head.parameters():
            p.normal_(std=0.5)
    return head.eval()


@pytest.fixture
def texts():
    torch.manual_seed(0)
    states = torch.randn(3, 9, 6)
    first = torch.tensor([[1] * 4 + [0] * 5, [1] * 2 + [0] * 7, [1] * 5 + [0] * 4]).bool()
    second = torch.tensor([[0] * 4 + [1] * 5, [0] * 2 + [1] * 3 + [0] * 4, [0] * 5 + [1] * 1 + [0] * 3]).bool()
    return states, first, second


@torch.no_grad()
def by_hand(head, states, memory, start, steps):
    """Probabilities of one row's classes at each step."""
    read, begin = [x for x, m in zip(states, memory, strict=True) if m], states[start]
    shares = [math.exp(float(head.weigh(x))) for x in begin]
    state = sum(s / sum(shares) * x for s, x in zip(shares, begin, strict=True))
    said = []
    for _ in range(steps):
        asked = head.ask.weight @ state + head.ask.bias
        shares = [math.exp(float(x @ asked)) for x in read]
        found = sum(s / sum(shares) * x for s, x in zip(shares, read, strict=True))
        both = torch.cat([found, state, (found - state).abs(), found * state])
        scores = head.out.weight @ both + head.out.bias
        said.append(scores.exp() / scores.exp().sum())
        state = head.update(found[None], state[None])[0]
    return torch.stack(said)


@pytest.mark.parametrize("steps", [1, 5])
def test_scores_are_the_log_of_the_mean_over_the_steps(texts, steps):
    head = make(steps=steps)
    found = head(*texts)
    for row, wanted in enumerate(zip(*texts, strict=True)):
        torch.testing.assert_close(found[row].exp(), by_hand(head, *wanted, steps).mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(3))


def test_one_step_from_nothing_is_one_layer_on_the_mean_of_what_is_read(texts):
    states, first, second = texts
    states = torch.where(second[..., None], 0.0, states)
    head = make(steps=1)
    with torch.no_grad():
        head.ask.bias.zero_()
    mean = (states * first[..., None]).sum(1) / first.sum(1, keepdim=True)
    zero = torch.zeros_like(mean)
    wanted = head.out(torch.cat([mean, zero, mean.abs(), zero], 1)).log_softmax(-1)
    torch.testing.assert_close(head(states, first, second), wanted)


def test_what_stands_outside_both_texts_does_not_matter(texts):
    states, first, second = texts
    head, outside = make(), ~(first | second)
    other = torch.where(outside[..., None], torch.full_like(states, 9.0), states)
    torch.testing.assert_close(head(other, first, second), head(states, first, second))


def test_training_leaves_out_its_share_of_the_steps_and_never_all():
    head = make(omit=0.6, dropout=0.0).train()
    said = torch.eye(5)[None].expand(4000, 5, 5)  # step k says class k
    torch.manual_seed(0)
    kept = head.mean(said) > 0
    counts = kept.sum(1)
    assert counts.min() == 1
    each = 1 - 0.6 * 4 / 5  # kept by chance, or as the one that always is
    assert abs(float(kept.float().mean()) - each) < 3 * (each * (1 - each) / 20000) ** 0.5
    torch.testing.assert_close(head.mean(said).sum(1), torch.ones(4000))
    assert torch.equal(head.eval().mean(said), torch.full((4000, 5), 0.2))
