"""What is predicted when several texts were read and none is known to be the right one: a sum over them.

Sources: REALM, arXiv:2002.08909 §3.1 eq. 1 (over whole targets; its released code sums for each token); RAG,
arXiv:2005.11401 §2.1 (both). Not here: where the prior comes from (objectives/_index.py)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modeledge.core import IGNORE, Sum

Per = Literal["token", "sequence"]


def log_likelihood(
    states: Float[Tensor, "m d"], labels: Int[Tensor, " m"], head: nn.Module, *, chunk: int = 1024
) -> Float[Tensor, " m"]:
    """log p of each label under `head(states)`, 0 where it is IGNORE; never all m x v scores at once."""
    parts = [
        checkpoint(_own, head, part, wanted, use_reentrant=False, preserve_rng_state=False)
        for part, wanted in zip(states.split(chunk), labels.split(chunk), strict=True)
    ]
    return torch.cat(parts)  # type: ignore[arg-type]


def _own(head: nn.Module, states: Tensor, labels: Tensor) -> Tensor:
    return -F.cross_entropy(head(states).float(), labels, ignore_index=IGNORE, reduction="none")


def marginal_nll(
    prior: Float[Tensor, "b k"],
    likelihood: Float[Tensor, "b m k"],
    counted: Bool[Tensor, "b m"],
    *,
    per: Per,
) -> Sum:
    """Minus the log of sum over k of p(k) p(target | k), in nats, and how many targets there are.

    prior: log p(k); likelihood: log p of each of a row's m targets given k. per token: each target is summed over k by
    itself; per sequence: all of a row's targets have the same k."""
    return Sum(-(mixed(prior, likelihood, counted, per=per) * counted).sum(), counted.sum())


def mixed(
    prior: Float[Tensor, "b k"], likelihood: Float[Tensor, "b m k"], counted: Bool[Tensor, "b m"], *, per: Per
) -> Float[Tensor, "b m"]:
    """log p of each target; of a sequence, given those before it in the row, so that they add up to its log p."""
    weights = beliefs(prior, likelihood, counted) if per == "sequence" else prior[:, None].float()
    return (weights + likelihood.float()).logsumexp(-1)


def beliefs(
    prior: Float[Tensor, "b k"], likelihood: Float[Tensor, "b m k"], counted: Bool[Tensor, "b m"]
) -> Float[Tensor, "b m k"]:
    """log p(k | the counted targets before each): the prior as each target changes it."""
    known = likelihood.float() * counted[..., None]
    return (prior[:, None].float() + known.cumsum(1) - known).log_softmax(-1)
