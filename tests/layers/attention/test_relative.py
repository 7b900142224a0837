"""Relative attention against a triple loop and against its own gather form."""

import math

import pytest
import torch

from modeledge.layers.attention._relative import RelativeAttention, distances, shift

B, T, M, D, H = 2, 4, 3, 8, 2


def layer():
    torch.manual_seed(0)
    made = RelativeAttention(D, H).double()
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return made


def sinusoid(distance):
    rates = [10000 ** -(i / D) for i in range(0, D, 2)]
    return torch.tensor([math.sin(distance * r) for r in rates] + [math.cos(distance * r) for r in rates]).double()


def by_loop(m, x, memory, mask, other):
    """The formula for every query, key and head."""
    full = torch.cat([memory, x], 1)
    dh, out = D // H, torch.zeros(B, T, D).double()
    head = lambda y, h: y[h * dh : (h + 1) * dh]  # noqa: E731
    for b in range(B):
        for q in range(T):
            for h in range(H):
                qv, scores = head(m.to_q(x[b, q]), h), []
                for k in range(M + T):
                    key = head(m.to_k(full[b, k]), h)
                    far = head(m.to_r(sinusoid(M + q - k)), h)
                    seg = m.segments[int(other[b, q, k]), h]
                    score = (qv + m.content_bias[h]) @ key + (qv + m.distance_bias[h]) @ far
                    scores.append((score + (qv + m.segment_bias[h]) @ seg) / math.sqrt(dh))
                allowed = [k for k in range(M + T) if mask[b, 0, q, k]]
                if not allowed:
                    continue
                p = torch.stack([scores[k] for k in allowed]).softmax(0)
                value = sum(p[i] * head(m.to_v(full[b, k]), h) for i, k in enumerate(allowed))
                out[b, q, h * dh : (h + 1) * dh] = value
    return m.to_o(out)


def test_every_query_and_key_is_as_in_the_formula():
    m = layer()
    x, memory = torch.randn(B, T, D).double(), torch.randn(B, M, D).double()
    mask = torch.rand(B, 1, T, M + T) < 0.6
    mask[0, 0, 2] = False  # an empty row
    other = torch.rand(B, T, M + T) < 0.5
    keys = m.keys(torch.cat([memory, x], 1), distances(D, T, M + T, like=x))
    out, weights = m(x, keys, mask=mask, other=other)
    torch.testing.assert_close(out, by_loop(m, x, memory, mask, other))
    assert (weights.masked_select(~mask) == 0).all()


def test_a_query_that_sees_nothing_gathers_zeros_and_keeps_gradients_finite():
    m = layer()
    x = torch.randn(1, 3, D).double().requires_grad_()
    mask = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    mask[..., 1:, 0] = True
    out, _ = m(x, m.keys(x, distances(D, 3, 3, like=x)), mask=mask)
    out.sum().backward()
    assert (out[0, 0] == 0).all() and torch.isfinite(x.grad).all()


def test_the_shift_moves_column_t_minus_q_to_the_front():
    scores = torch.arange(3 * 8.0).reshape(1, 1, 3, 8)
    shifted = shift(scores, 5)
    for q in range(3):
        assert shifted[0, 0, q].tolist() == scores[0, 0, q, 3 - q : 8 - q].tolist()


@pytest.mark.parametrize("places", [[[0, 1, 2, 3], [0, 1, 2, 3]], [[2, 0], [1, 3]]])
def test_queries_at_chosen_places_equal_those_of_all_places(places):
    m, at = layer(), torch.tensor(places)
    x, memory = torch.randn(B, T, D).double(), torch.randn(B, M, D).double()
    mask = torch.rand(B, 1, T, M + T) < 0.7
    keys = m.keys(torch.cat([memory, x], 1), distances(D, T, M + T, like=x))
    every, _ = m(x, keys, mask=mask)
    row = torch.arange(B)[:, None]
    some, _ = m(x[row, at], keys, mask=mask[row, :, at].transpose(1, 2), at=at, length=T)
    torch.testing.assert_close(some, every[row, at])


def test_clamped_distances_are_alike():
    table = distances(D, 3, 8, clamp=2, like=torch.zeros(1))
    assert torch.equal(table[0], table[6]) and not torch.equal(table[6], table[7])
