"""What frozen features know: a linear probe with a sweep of its L2 penalty, and nearest neighbours.

Sources: linear probes of visual features with a penalty chosen on held-out rows, CLIP, arXiv:2103.00020 appendix A.3;
cosine nearest neighbours, arXiv:1805.01978 §3.4. Features come from `collect`, which holds the model still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from modeledge.core import keyed

STRENGTHS = tuple(10.0**e for e in range(-6, 2))


class Linear(NamedTuple):
    """A fitted linear classifier: scores = x @ weight.T + bias."""

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]

    def predict(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The class with the highest score."""
        return (x @ self.weight.T + self.bias).argmax(1)


def standardise(train: Float[Tensor, "n d"], *others: Float[Tensor, "_ d"]) -> list[Tensor]:
    """Each dimension to mean 0 and deviation 1 on `train`, the others by the same numbers; a dimension that is
    constant on `train` becomes 0 everywhere."""
    mean, deviation = train.mean(0), train.std(0, correction=0)
    moving = deviation > 1e-6 * (1 + mean.abs())
    factor = torch.where(moving, 1 / deviation.clamp(min=1e-30), 0.0)
    return [(x - mean) * factor for x in (train, *others)]


def fit_linear(
    x: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    *,
    classes: int,
    l2: float,
    start: Linear | None = None,
    rounds: int = 200,
) -> Linear:
    """Multinomial logistic regression by L-BFGS: the mean cross-entropy plus l2 / 2 * |weight|^2, bias unpenalised."""
    weight = x.new_zeros(classes, x.shape[1]) if start is None else start.weight.clone()
    bias = x.new_zeros(classes) if start is None else start.bias.clone()
    found = [weight.requires_grad_(), bias.requires_grad_()]
    search = torch.optim.LBFGS(found, max_iter=rounds, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + l2 / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(cost)
    return Linear(weight.detach(), bias.detach())


def linear_probe(
    train: tuple[Tensor, np.ndarray],
    test: tuple[Tensor, np.ndarray],
    *,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy on `test` of a linear classifier on standardised features, each side given as (features, labels).

    The penalty is the one of `strengths` that does best on a fifth of the training rows; the classifier is then fitted
    to all of them. Returns accuracy, l2, held_out (accuracy on that fifth), chance, majority and n."""
    x, x_test = standardise(train[0], test[0])
    y, y_test = torch.as_tensor(train[1]).long(), torch.as_tensor(test[1]).long()
    classes = int(y.max()) + 1
    order = torch.from_numpy(keyed(seed, "probe").permutation(len(x)))
    held, kept = order[: max(1, len(x) // 5)], order[max(1, len(x) // 5) :]
    best, chosen, fitted = -1.0, strengths[0], None
    for l2 in sorted(strengths, reverse=True):  # from stiff to loose, each starting where the last one ended
        fitted = fit_linear(x[kept], y[kept], classes=classes, l2=l2, start=fitted)
        right = float((fitted.predict(x[held]) == y[held]).float().mean())
        if right > best:
            best, chosen = right, l2
    final = fit_linear(x, y, classes=classes, l2=chosen)
    accuracy = float((final.predict(x_test) == y_test).float().mean())
    return {"accuracy": accuracy, "l2": chosen, "held_out": best, **reference(train[1], test[1])}


def nearest_neighbours(
    train: tuple[Tensor, np.ndarray], test: tuple[Tensor, np.ndarray], *, k: int = 20, chunk: int = 1024
) -> dict[str, float]:
    """Accuracy on `test` of the commonest class among the `k` training rows of highest cosine similarity.

    Equally common classes: the lowest number. Returns accuracy, k, chance, majority and n."""
    keys, y = F.normalize(train[0], dim=1), torch.as_tensor(train[1]).long()
    k = min(k, len(keys))
    votes = [(F.normalize(q, dim=1) @ keys.T).topk(k, dim=1).indices for q in test[0].split(chunk)]
    chosen = F.one_hot(y[torch.cat(votes)], int(y.max()) + 1).sum(1).argmax(1)
    accuracy = float((chosen.numpy() == np.asarray(test[1])).mean())
    return {"accuracy": accuracy, "k": k, **reference(train[1], test[1])}


def reference(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """What a classifier that looks at nothing gets: by guessing (chance) and by the commonest training class."""
    common = np.bincount(np.asarray(train)).argmax()
    return {
        "chance": 1 / len(np.unique(train)),
        "majority": float((np.asarray(test) == common).mean()),
        "n": float(len(test)),
    }
