"""A softmax as a walk down a binary tree: at every fork a vector says left or right, and frequent words stand high up.

Source: word2vec, arXiv:1310.4546 §2.1 (the tree is Huffman's, of the words' counts). A word costs the forks of its
path, some log2 v, where a softmax costs v scores; unlike negative sampling it is a distribution over the words."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Part, PartConfig, RecipeError, Sum
from modeledge.losses.hierarchical import hierarchical
from modeledge.visibility.around import neighbours


class HierarchicalSoftmax(nn.Module, Part):
    """A vector for each fork. The tree is saved with the weights, so a model can be read again without counts."""

    class Config(PartConfig):
        """No settings."""

    tree: Tensor

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__()
        if facts.vocab < 2:
            raise RecipeError(f"head hierarchical_softmax: a tree needs two words, the vocabulary has {facts.vocab}")
        self.weight = nn.Parameter(torch.zeros(facts.vocab - 1, backbone.width))  # as the released tool begins
        counts = np.ones(facts.vocab) if facts.counts is None else facts.counts
        self.register_buffer("tree", torch.from_numpy(huffman(counts)))
        self._paths: tuple[Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module.forget())

    def forget(self) -> None:
        """The tree has changed."""
        self._paths = None

    @property
    def paths(self) -> tuple[Int[Tensor, "v l"], Float[Tensor, "v l"]]:
        """The forks on the way to each word, and where it turns there: 1, -1, or 0 where its path has ended."""
        if self._paths is None or self._paths[0].device != self.weight.device:
            forks, turns = paths(self.tree.cpu().numpy())
            self._paths = (torch.from_numpy(forks).to(self.weight.device), torch.from_numpy(turns).to(self.weight))
        return self._paths

    def view(self, batch: Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Whose context each word is in."""
        return {"asked_by": neighbours(batch, of="them")}

    def neighbours(self, states: Float[Tensor, "b t d"], batch: Batch, pairs: Callable[[], Tensor]) -> Sum:
        """-log p of each word of the context of each state, in nats, and how many there are."""
        forks, turns = self.paths
        asked: Tensor = batch.asked_by  # type: ignore[assignment]
        wide = asked.shape[-1]
        near = F.pad(states, (0, 0, wide // 2, wide // 2)).unfold(1, wide, 1)  # b t d w
        scores = near.mT @ F.embedding(forks[batch.ids], self.weight).mT  # b t w l
        return Sum((hierarchical(scores, turns[batch.ids][:, :, None]) * asked).sum(), asked.sum())

    def words(self, states: Float[Tensor, "b t d"], batch: Batch, asked: Float[Tensor, "b t 1"]) -> Sum:
        """-log p of each word by the state at its place, in nats, where it is asked for."""
        forks, turns = self.paths
        scores = (F.embedding(forks[batch.ids], self.weight) @ states[..., None])[..., 0]  # b t l
        return Sum((hierarchical(scores, turns[batch.ids]) * asked[..., 0]).sum(), asked.sum())

    def forward(self, states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n v"]:
        """The log-probability of every word of the vocabulary."""
        forks, turns = self.paths
        return -hierarchical((states @ self.weight.T)[..., forks], turns)


def huffman(counts: Float[np.ndarray, " v"]) -> Int[np.ndarray, "f 2"]:
    """The two children of each fork of the tree with the shortest mean path: a word's id, or v + a fork's number.

    Of equal counts, words come before forks and both in their order."""
    heap = [(float(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    tree = np.empty((len(counts) - 1, 2), np.int32)
    for fork in range(len(tree)):
        (few, left), (more, right) = heapq.heappop(heap), heapq.heappop(heap)
        tree[fork] = left, right
        heapq.heappush(heap, (few + more, len(counts) + fork))
    return tree


def paths(tree: Int[np.ndarray, "f 2"]) -> tuple[Int[np.ndarray, "v l"], Float[np.ndarray, "v l"]]:
    """For each word the forks above it, from below, and 1 or -1 for left or right there; 0 and 0 above the root."""
    vocab = len(tree) + 1
    above, side = np.full(2 * vocab - 1, -1), np.zeros(2 * vocab - 1, np.float32)
    for column, turn in ((0, 1.0), (1, -1.0)):
        above[tree[:, column]], side[tree[:, column]] = np.arange(len(tree)), turn
    node = np.arange(vocab)
    forks, turns = [], []
    while (fork := above[node]).max() >= 0:
        forks.append(np.maximum(fork, 0))
        turns.append(np.where(fork < 0, 0, side[node]))
        node = np.where(fork < 0, node, vocab + fork)
    return np.stack(forks, 1), np.stack(turns, 1)
