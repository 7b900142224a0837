"""Names by their mean log-probability, against one pass a candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeledge.analysis.names import ask, naming, score_names, write_names
from modeledge.core import Batch, Facts, build, find
from modeledge.objectives import own_document
from modeledge.visibility import see
from modeledge.visibility.full import full

FACTS = Facts(vocab=40, special={"pad": 0, "cls": 2, "sep": 3, "mask": 4}, words=(7, 40))
RECORD = [(1, np.array([10, 11, 12])), (2, np.array([20])), (3, np.array([30, 31]))]
NAMES = [np.array([20]), np.array([21, 22]), np.array([23, 24, 25])]


def test_scores_are_those_of_each_candidate_asked_alone():
    torch.manual_seed(0)
    types = {"types": 4, "order": 8}
    config = find("backbones", "transformer").Config.model_validate(
        {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "embedding": {"kind": "tokens", "types": types}}
    )
    backbone = build("backbones", config, FACTS).eval()
    torch.nn.init.normal_(backbone.embed.weight)

    def score(asked):
        batch = asked.tensors()
        seen = see(own_document(batch, full), *batch.ids.shape, device="cpu")
        return (backbone(batch, seen).states @ backbone.embed.weight.T)[batch.labels >= 0]

    found = score_names(score, ask(RECORD, 1, NAMES, FACTS))
    for name, value in zip(NAMES, found, strict=True):
        n = len(name)
        ids = [2, 10, 11, 12, *[4] * n, 30, 31, 3]
        kinds = [0, 1, 1, 1, *[2] * n, 3, 3, 0]
        order = [0, 1, 1, 1, *[2] * n, 3, 3, 0]
        inner = [0, 0, 1, 2, *range(n), 0, 1, 0]
        fields = {"ids": ids, "types": kinds, "order": order, "positions": inner}
        with torch.no_grad():
            states = backbone(Batch({k: torch.tensor([v]) for k, v in fields.items()})).states[0, 4 : 4 + n]
            log_p = (states @ backbone.embed.weight.T).log_softmax(-1)
        assert value == pytest.approx(float(log_p[torch.arange(n), torch.tensor(name)].mean()), abs=1e-4)


def test_figures_of_known_ranks():
    assert naming([1, 2, 4, 1], 5) == {"accuracy": 0.5, "mrr": (1 + 0.5 + 0.25 + 1) / 4, "chance": 0.2, "n": 4.0}


def said(asked):
    """Made-up scores that depend on all that is shown of a row, for each labelled place of it."""
    found = []
    for ids, labels in zip(asked.ids, asked.labels, strict=True):
        for place in np.flatnonzero(labels >= 0):
            found.append(np.random.default_rng([*ids, int(place)]).normal(size=40) * 2)
    return torch.tensor(np.array(found))


def log_p(shown):
    """The same for one record: log-probabilities of the tokens at each mask of the name, by plain loops."""
    ids = [2, 10, 11, 12, *shown, 30, 31, 3]
    out = {}
    for place, token in enumerate(shown):
        if token == 4:
            scores = np.random.default_rng([*ids, 4 + place]).normal(size=40) * 2
            out[place] = scores - np.log(np.exp(scores).sum())
    return out


def every_way(orders):
    """The best log p of each name of two tokens over the orders of filling it."""
    best = {}
    words = [i for i in range(40) if i not in (0, 2, 3, 4)]
    for first, second in orders:
        before = log_p([4, 4])[first]
        for word in words:
            shown = [4, 4]
            shown[first] = word
            after = log_p(shown)[second]
            for other in words:
                name = (word, other) if first == 0 else (other, word)
                best[name] = max(best.get(name, -np.inf), before[word] + after[other])
    return sorted(best.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize("forward", [True, False])
def test_with_beams_for_all_the_names_written_are_the_likeliest_of_all(forward):
    wanted = every_way([(0, 1)] if forward else [(0, 1), (1, 0)])
    found = write_names(said, RECORD, 1, FACTS, size=2, beams=2 * 36 * 36, forward=forward)
    assert len(found) == len(wanted) == 36 * 36
    assert [name for name, _ in found[:50]] == [name for name, _ in wanted[:50]]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in wanted], atol=1e-5)


def test_one_beam_takes_the_surest_place_and_token_each_time():
    shown, total = [4, 4, 4], 0.0
    for _ in range(3):
        surest = [(p[w], place, w) for place, p in log_p(shown).items() for w in range(40) if w not in (0, 2, 3, 4)]
        value, place, word = max(surest)
        shown[place], total = word, total + value
    ((name, found),) = write_names(said, RECORD, 1, FACTS, size=3)
    assert name == tuple(shown) and found == pytest.approx(total, abs=1e-5)
