"""Fixed relative positions on keys and values against a plain loop of their formula."""

from __future__ import annotations

import math

import pytest
import torch

from modeledge.core import build, find
from modeledge.layers import Sizes
from modeledge.layers.attention import Across, Context

SIZES = Sizes(width=12, heads=3, head_width=4)


def made(kind="functional", **settings):
    config = find("layers.attention", kind).Config(kind=kind, **settings)
    return build("layers.attention", config, SIZES).double()


def wave(row, width=4):
    """The sinusoid at this row of the table, told column by column."""
    cells = []
    for pair in range(width // 2):
        angle = row / 10000 ** (2 * pair / width)
        cells += [math.sin(angle), math.cos(angle)]
    return torch.tensor(cells, dtype=torch.float64)


def by_loop(part, x, mask, distance):
    q, k, v = (f(x).unflatten(-1, (3, 4)) for f in (part.to_q, part.to_k, part.to_v))
    out = torch.zeros_like(q)
    for b in range(x.shape[0]):
        for h in range(3):
            for i in range(x.shape[1]):
                keys = [j for j in range(x.shape[1]) if mask[b, 0, i, j]]
                far = [wave(min(max(j - i, -distance), distance) + distance) for j in keys]
                scores = [(q[b, i, h] @ (k[b, j, h] + r)) / math.sqrt(4) for j, r in zip(keys, far, strict=True)]
                if keys:
                    for p, j, r in zip(torch.stack(scores).softmax(0), keys, far, strict=True):
                        out[b, i, h] += p * (v[b, j, h] + r)
    return part.to_out(out.flatten(2))


@torch.no_grad()
@pytest.mark.parametrize("distance", [2, 9])
def test_it_is_its_formula_and_a_query_that_sees_nothing_reads_nothing(distance):
    part, x = made(distance=distance), torch.randn(2, 7, 12).double()
    mask = torch.rand(2, 1, 7, 7) < 0.6
    mask[0, 0, 3] = False
    out = part(x, Context(mask=mask))
    torch.testing.assert_close(out, by_loop(part, x, mask, distance), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(out[0, 3], part.to_out.bias)


@torch.no_grad()
def test_only_distances_count_and_those_beyond_the_clip_are_one():
    part, x = made(distance=3), torch.randn(1, 12, 12).double()
    wide = torch.randn(1, 20, 12).double()
    for shift in (0, 5):
        row = wide.clone()
        row[:, shift : shift + 12] = x
        inside = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
        inside[..., shift : shift + 12] = True
        torch.testing.assert_close(part(row, Context(mask=inside))[:, shift : shift + 12], part(x, Context()))
    swapped = x.clone()
    swapped[:, [8, 11]] = x[:, [11, 8]]  # both more than three tokens away from the first four
    torch.testing.assert_close(part(swapped, Context())[:, :4], part(x, Context())[:, :4])
    near = x.clone()
    near[:, [1, 2]] = x[:, [2, 1]]
    assert (part(near, Context())[:, 0] - part(x, Context())[:, 0]).abs().max() > 1e-4


def test_the_waves_are_not_trained_nor_saved_and_any_length_runs():
    part = made(distance=4)
    assert {n.split(".")[0] for n, _ in part.named_parameters()} == {"to_q", "to_k", "to_v", "to_out"}
    assert not part.waves.requires_grad and "waves" not in part.state_dict()
    assert part(torch.randn(1, 90, 12).double(), Context(causal=True)).isfinite().all()


@torch.no_grad()
def test_between_two_texts_there_is_no_distance():
    part, plain = made(), made("softmax")
    plain.load_state_dict(part.state_dict())
    x, source = torch.randn(2, 3, 12).double(), torch.randn(2, 5, 12).double()
    torch.testing.assert_close(part(x, Across(source=source)), plain(x, Across(source=source)))
