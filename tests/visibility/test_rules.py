"""Rules as pictures, as plain loops, and as FlexAttention sees them."""

import pytest
import torch
from torch import tensor
from torch.nn.attention.flex_attention import create_mask

from modeledge.visibility import Seen, both, draw, either, see
from modeledge.visibility.causal import anticausal, causal
from modeledge.visibility.cross import cross
from modeledge.visibility.document import document
from modeledge.visibility.full import full
from modeledge.visibility.memory import after_memory, memory
from modeledge.visibility.permutation import content, query
from modeledge.visibility.prefix import prefix
from modeledge.visibility.valid import valid
from modeledge.visibility.window import window


def test_full_and_the_two_directions():
    assert draw(full, 3) == ["###", "###", "###"]
    assert draw(causal, 3) == ["#..", "##.", "###"]
    assert draw(anticausal, 3) == ["###", ".##", "..#"]


def test_prefix_is_bidirectional_inside_the_prefix():
    assert draw(prefix(tensor([2])), 4) == ["##..", "##..", "###.", "####"]


def test_prefix_of_nothing_is_causal_and_of_everything_full():
    assert draw(prefix(tensor([0])), 4) == draw(causal, 4)
    assert draw(prefix(tensor([4])), 4) == draw(full, 4)


def test_window_counts_neither_side_with_the_query():
    assert draw(window(1), 4) == ["#...", "##..", ".##.", "..##"]
    assert draw(window(0, 2), 4) == ["###.", ".###", "..##", "...#"]


def test_documents_do_not_see_each_other():
    assert draw(document(tensor([[0, 0, 1, -1]])), 4) == ["##..", "##..", "..#.", "...#"]


def test_padding_is_seen_by_nobody():
    assert draw(valid(tensor([[True, True, False]])), 3) == ["##.", "##.", "##."]


def test_xlnet_streams_for_the_order_3_2_4_1():
    """The published example: every token is a target; row i says what token i + 1 sees."""
    rank, target = tensor([[3, 1, 0, 2]]), torch.ones(1, 4, dtype=torch.bool)
    assert draw(content(rank, target), 4) == ["####", ".##.", "..#.", ".###"]
    assert draw(query(rank, target), 4) == [".###", "..#.", "....", ".##."]


def test_xlnet_context_is_seen_by_all_and_sees_no_target():
    """Tokens 0 and 1 are context, 2 and 3 targets in the order 3, 2, token 4 is functional and last."""
    rank = tensor([[-1, -1, 1, 0, 2]])
    target = tensor([[False, False, True, True, False]])
    assert draw(query(rank, target), 5) == ["##...", "##...", "##.#.", "##...", "#####"]
    assert draw(content(rank, target), 5) == ["##...", "##...", "####.", "##.#.", "#####"]


def test_memory_stands_in_front_and_may_have_a_reach():
    assert draw(memory(2), 2, 4) == ["###.", "####"]
    assert draw(memory(2, reach=2), 3, 5) == ["###..", ".###.", "..###"]
    assert draw(after_memory(1, document(tensor([[0, 1]]))), 2, 3) == ["##.", "#.#"]


def test_cross_sees_valid_places_of_its_own_document():
    assert draw(cross(), 2, 3) == ["###", "###"]
    keys, docs = tensor([[True, True, True, False]]), (tensor([[0, 1]]), tensor([[0, 0, 1, 1]]))
    assert draw(cross(keys, docs=docs), 2, 4) == ["##..", "..#."]


def test_full_disappears_from_combinations():
    rule = window(1)
    assert both(full, rule) is rule and both(rule, full) is rule and both(causal, causal) is causal
    assert either(full, rule) is full and either(rule, full) is full and either(causal, causal) is causal


def test_full_and_causal_need_no_mask():
    assert see(full, 2, 4, device="cpu") == Seen()
    assert see(both(causal, full), 2, 4, device="cpu") == Seen(causal=True)


def test_queries_that_follow_a_cache_are_numbered_after_it():
    assert see(causal, 1, 1, device="cpu", start=5) == Seen()
    mask = see(causal, 1, 2, device="cpu", start=3).mask
    assert mask is not None and mask[0, 0].tolist() == [[True] * 4 + [False], [True] * 5]


def test_a_rule_may_tell_heads_apart():
    def even_heads_look_back(b, h, q, k):
        return (h % 2 == 1) | (k <= q)

    mask = see(even_heads_look_back, 2, 3, device="cpu", heads=4).mask
    assert mask is not None and mask.shape == (2, 4, 3, 3)
    assert mask[0, 0].tolist() == torch.ones(3, 3).tril().bool().tolist() and mask[:, 1].all()


def random_rules():
    doc, real = torch.randint(0, 3, (2, 6)), torch.rand(2, 6) < 0.6
    rank, target = torch.stack([torch.randperm(6), torch.randperm(6)]), torch.rand(2, 6) < 0.5
    return {
        "full": (full, lambda b, q, k: True),
        "causal": (causal, lambda b, q, k: k <= q),
        "anticausal": (anticausal, lambda b, q, k: k >= q),
        "prefix": (prefix(tensor([2, 5])), lambda b, q, k: k < [2, 5][b] or k <= q),
        "window": (window(2, 1), lambda b, q, k: q - 2 <= k <= q + 1),
        "document": (document(doc), lambda b, q, k: doc[b, q] == doc[b, k]),
        "valid": (valid(real), lambda b, q, k: real[b, k]),
        "query": (query(rank, target), lambda b, q, k: rank[b, q] + (0 if target[b, q] else 1) > rank[b, k]),
        "both, with empty rows": (
            both(valid(real), document(doc)),
            lambda b, q, k: real[b, k] and doc[b, q] == doc[b, k],
        ),
        "either": (either(window(1), valid(real)), lambda b, q, k: q - 1 <= k <= q or real[b, k]),
    }


@pytest.mark.parametrize("name", random_rules())
def test_mask_equals_a_plain_loop_and_the_fused_form(name):
    rule, loop = random_rules()[name]
    mask = see(rule, 2, 6, device="cpu").mask
    wanted = tensor([[[[bool(loop(b, q, k)) for k in range(6)] for q in range(6)]] for b in range(2)])
    fused = create_mask(rule, 2, 1, 6, 6, device="cpu")
    assert torch.equal(fused, wanted)
    if name in ("full", "causal"):
        assert mask is None
    else:
        assert torch.equal(mask, wanted)
