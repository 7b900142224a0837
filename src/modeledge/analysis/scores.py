"""Figures for predicted classes and numbers: accuracy, macro F1, Matthews correlation, Pearson, Spearman.

A figure that is not defined (a correlation with a constant) is 0, as in the released GLUE scripts.
Not here: entities (entities.py), answers (answers.py), generated text (generated.py)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def classification(predicted: Int[np.ndarray, " n"], gold: Int[np.ndarray, " n"], *, classes: int) -> dict[str, float]:
    """`accuracy`, `macro_f1` over the classes that occur, and `mcc`, the Matthews correlation for any number of classes
    (Gorodkin 2004)."""
    table = np.zeros((classes, classes))
    np.add.at(table, (gold, predicted), 1)
    right, asked, said = np.diag(table), table.sum(1), table.sum(0)
    occurs = (asked + said) > 0
    f1 = 2 * right[occurs] / (asked + said)[occurs]
    n = table.sum()
    spread = (n * n - (said**2).sum()) * (n * n - (asked**2).sum())
    mcc = (n * right.sum() - (asked * said).sum()) / np.sqrt(spread) if spread > 0 else 0.0
    return {"accuracy": float(right.sum() / n), "macro_f1": float(f1.mean()), "mcc": float(mcc)}


def regression(predicted: Float[np.ndarray, " n"], gold: Float[np.ndarray, " n"]) -> dict[str, float]:
    """`pearson`, `spearman` and `mse`."""
    x, y = np.asarray(predicted, np.float64), np.asarray(gold, np.float64)
    return {
        "pearson": _correlation(x, y),
        "spearman": _correlation(ranks(x), ranks(y)),
        "mse": float(((x - y) ** 2).mean()),
    }


def ranks(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """0, 1, ... in ascending order; equal values share the mean of their places."""
    _, group, size = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(size)
    return (ends - (size + 1) / 2)[group.reshape(-1)]


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 1e-12 * max(1.0, len(x)) else 0.0
