"""Masks drawn in proportion to gradient norms, and weights that take the preference back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from modeledge.core import keyed
from modeledge.objectives.guided_mlm import gradient_norms
from modeledge.views.corrupt.mask import budget


def make(lab, **settings):
    backbone = lab.backbone(embedding={"kind": "tokens", "types": {"segments": 2}})
    objective = lab.objective("guided_mlm", backbone, **settings)
    return backbone, objective.train()


def taught(objective, seed=0):
    """Running means that differ between tokens."""
    objective.norms.copy_(torch.rand(60, generator=torch.Generator().manual_seed(seed)) ** 3 + 0.01)
    return objective


def per_token_gradients(backbone, objective, rows, wanted):
    """The gradient of the loss of each wanted token at every parameter of the model."""
    states = objective.run(backbone, rows).states
    parameters = [*backbone.parameters(), *objective.head.parameters()]
    out = []
    for at in wanted.nonzero():
        loss = F.cross_entropy(objective.head(states[*at])[None], rows.ids[*at][None])
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        out.append(torch.cat([g.flatten() for g in grads if g is not None]).detach())
    return torch.stack(out)


def test_the_norm_of_a_targets_gradient_at_the_decoder_is_a_product_of_two_norms():
    torch.manual_seed(0)
    table, x, labels = torch.randn(11, 5, requires_grad=True), torch.randn(7, 5), torch.randint(0, 11, (7,))
    found = gradient_norms(x @ table.T, labels, x)
    for i in range(7):
        (grad,) = torch.autograd.grad(F.cross_entropy((x @ table.T)[i : i + 1], labels[i : i + 1]), table)
        assert found[i].item() == pytest.approx(grad.norm().item(), rel=1e-4)


@pytest.fixture
def learnt(lab):
    """A model of one layer after some steps on text in which every second token is the same."""
    torch.manual_seed(0)
    backbone = lab.backbone(layers=1, embedding={"kind": "tokens", "types": {"segments": 2}})
    objective = lab.objective("guided_mlm", backbone, uniform=1.0).train()

    def rows(seed):
        plain, rng = lab.rows(16, 24, padded=False, seed=seed), np.random.default_rng(seed)
        common = 7 + np.minimum(rng.zipf(1.5, plain.ids.shape), 40).astype(np.int32)
        common[:, 1::2] = 48
        return plain.but(ids=np.where(plain.special, plain.ids, common))

    optimizer = torch.optim.Adam([*backbone.parameters(), *objective.parameters()], lr=1e-2)
    for step in range(60):
        loss = objective(backbone, lab.ready(objective, rows(step), step))["guided_mlm"].mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        objective.after_step(step)
    return backbone, objective, lab.ready(objective, rows(999), 999)


def test_that_norm_orders_targets_as_the_norm_of_the_whole_gradient_does(learnt):
    backbone, objective, rows = learnt
    chosen = objective.hide(rows).chosen
    x = objective.head.transformed(objective.run(backbone, rows).states[chosen])
    proxy = gradient_norms(objective.scores(x), rows.ids[chosen], x).detach()
    whole = per_token_gradients(backbone, objective, rows, chosen).norm(dim=1)
    assert len(proxy) > 10 and spearmanr(proxy, whole).statistic > 0.8


def away_of(share, gram):
    """The mean squared distance of estimates from their mean, each a mixture of gradients with these products."""
    away = share - share.mean(0)
    return torch.einsum("na,ab,nb->n", away, gram, away).mean().item()


def test_weighted_masks_have_the_gradient_of_all_tokens_and_vary_less_than_random_ones(learnt):
    """Over ten thousand masks of a row, each token's gradient taken as it is with half of the row hidden."""
    backbone, objective, rows = learnt
    rows = rows.rows(slice(0, 1))
    free = ~rows.special
    grads = per_token_gradients(backbone, objective, rows.but(wanted=rows.wanted * 3), free).double()
    draws = torch.rand(10_000, rows.chance.shape[1] + 1, generator=torch.Generator().manual_seed(1))
    many = rows.rows(torch.zeros(len(draws), dtype=torch.long)).but(chance=draws[:, 1:], start=draws[:, 0])
    plain, gram, found = rows.wanted[0] / free.sum(), grads @ grads.T, {}
    for uniform in (0.1, 1.0):
        objective.config = objective.config.model_copy(update={"uniform": uniform})
        hidden = objective.hide(many)
        share = (hidden.chosen * hidden.weights)[:, free[0]].double()  # of each token's gradient in an estimate
        mean = share.mean(0) @ grads
        assert F.cosine_similarity(mean, grads.sum(0), dim=0) > 0.99
        assert mean.norm().item() == pytest.approx((plain * grads.sum(0)).norm().item(), rel=0.05)
        found[uniform] = away_of(share, gram)
    assert found[0.1] < found[1.0]


def test_at_random_it_is_the_fixed_count_of_plain_masks(lab):
    """Whatever the running means are: to the last bit what it does without any, every place equally often, all pairs
    of places too."""
    _, objective = make(lab, uniform=1.0)
    rows = lab.view(objective, lab.rows(1, 24, padded=False).rows(np.zeros(20_000, int)), 5)
    plain = objective.hide(rows.tensors())
    assert torch.equal(taught(objective).hide(rows.tensors()).chosen, plain.chosen)
    assert torch.equal(plain.weights[0], (~torch.tensor(rows.special[0])).float())
    free = ~rows.special[0]
    n, k = int(free.sum()), int(budget(~rows.special[:1], rate=0.15)[0])
    assert (plain.chosen.sum(1) == k).all()
    together = plain.chosen[:, free].double()
    pairs = (together.T @ together / len(together)).numpy()
    expected = np.full((n, n), k * (k - 1) / (n * (n - 1)))
    np.fill_diagonal(expected, k / n)
    assert (np.abs(pairs - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_tokens_are_hidden_at_their_odds_and_weighed_by_the_inverse(lab):
    _, objective = make(lab, rate=0.1, uniform=0.25)
    taught(objective)
    base = lab.rows(1, 24, padded=False)
    view = objective.view(base.rows(np.zeros(20_000, int)), keyed("many"))
    hidden = objective.hide(view.tensors())
    free = ~view.special[0]
    norms = objective.norms.numpy()[view.ids[0]] * free
    plain = view.wanted[0] / free.sum()
    likely = np.minimum(plain * (0.25 + 0.75 * norms * free.sum() / norms.sum()), 1.0)
    share = hidden.chosen.double().mean(0).numpy()
    assert (np.abs(share - likely)[free] < 4 * np.sqrt(likely * (1 - likely) / 20_000)[free]).all()
    assert not share[~free].any()
    assert np.allclose(hidden.weights[0].numpy()[free], plain / likely[free], rtol=1e-4)
    assert hidden.weights.max() <= 1 / 0.25 + 1e-4


def test_the_loss_is_the_weighted_sum_of_a_plain_loop_over_the_wanted_count(lab):
    backbone, objective = make(lab)
    taught(objective)
    batch = lab.ready(objective, lab.rows(6), 3)
    found, hidden = objective(backbone, batch)["guided_mlm"], objective.hide(batch)
    shown = batch.ids.clone()
    shown[hidden.chosen] = batch.shown[hidden.chosen]
    scores = objective.head(super(type(objective), objective).run(backbone, batch.but(ids=shown)).states)
    total = 0.0
    for row, at in hidden.chosen.nonzero().tolist():
        total += hidden.weights[row, at] * -scores[row, at].log_softmax(-1)[batch.ids[row, at]]
    assert found.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert found.count == batch.wanted.sum()


def test_what_is_hidden_cannot_be_told_from_what_is_shown(lab):
    """Another token at a place whose draw hides it behind [MASK] changes no score there."""
    backbone, objective = make(lab, replace=(1.0, 0.0))
    batch = lab.ready(objective, lab.rows(4), 3)
    hidden = objective.hide(batch).chosen
    row, at = hidden.nonzero()[0].tolist()
    other = batch.ids.clone()
    other[row, at] = 7 + (other[row, at] - 6) % 40
    one, two = (objective.run(backbone, batch.but(ids=ids)).states for ids in (batch.ids, other))
    assert torch.equal(one, two)


def test_running_means_follow_the_norms_of_the_targets_and_begin_with_the_first(lab):
    backbone, objective = make(lab, keep=0.75)
    known: dict[int, float] = {}
    for step in range(3):
        batch = lab.ready(objective, lab.rows(4, seed=step), step)
        met: dict[int, list[float]] = {}
        for part in (batch.rows(slice(0, 2)), batch.rows(slice(2, 4))):  # micro-batches
            chosen = objective.hide(part).chosen
            x = objective.head.transformed(objective.run(backbone, part).states[chosen])
            norms = gradient_norms(objective.scores(x), part.ids[chosen], x)
            for token, norm in zip(part.ids[chosen].tolist(), norms.tolist(), strict=True):
                met.setdefault(token, []).append(norm)
            objective(backbone, part)
        objective.after_step(step)
        for token, values in met.items():
            mean = sum(values) / len(values)
            known[token] = 0.75 * known[token] + 0.25 * mean if token in known else mean
        expected = torch.tensor([known.get(i, 0.0) for i in range(60)])
        torch.testing.assert_close(objective.norms, expected)


def test_held_out_text_is_hidden_at_random_and_teaches_nothing(lab):
    backbone, objective = make(lab)
    taught(objective).eval()
    batch, before = lab.ready(objective, lab.rows(4), 3), objective.norms.clone()
    assert torch.equal(objective.hide(batch).weights, (~batch.special).float())
    objective(backbone, batch), objective.after_step(0)
    assert torch.equal(objective.norms, before)
