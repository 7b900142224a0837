"""Several steps of reading one text in the light of the other; what is answered is the mean of what each step says.

Sources: the stochastic answer network for inference, arXiv:1804.07888 §2; in MT-DNN, arXiv:1901.11504 §3. As in the
released code each step's classifier reads the state before that step's update, and while training some steps are left
out of the mean, never all."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Facts, Part, PartConfig
from modeledge.heads import linear
from modeledge.layers.dropout import Dropout


class StochasticAnswer(nn.Module, Part):
    """head(states, memory, start): log-probabilities of the classes, b c."""

    class Config(PartConfig):
        """steps: how often the memory is read; omit: share of the steps left out of the mean while training; dropout:
        of everything that is read."""

        steps: int = Field(5, ge=1)
        omit: float = Field(0.1, ge=0, lt=1)
        dropout: float = Field(0.1, ge=0, lt=1)

    def __init__(self, config: Config, facts: Facts, backbone: Any, outputs: int = 2):
        super().__init__()
        width = backbone.width
        self.config = config
        self.dropout = Dropout(config.dropout)
        self.weigh = linear(width, 1)
        self.ask = linear(width, width)
        self.update = nn.GRUCell(width, width)
        self.out = linear(4 * width, outputs)

    def forward(
        self, states: Float[Tensor, "b t d"], memory: Bool[Tensor, "b t"], start: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b c"]:
        """`memory`: the text that is read, and `start`: that which the first state is made of; neither is empty."""
        state = weighted(self.weigh(self.dropout(states))[..., 0], start, states)
        said = []
        for _ in range(self.config.steps):
            asked = self.ask(self.dropout(state))
            found = weighted((self.dropout(states) @ asked[..., None])[..., 0], memory, states)
            both = torch.cat([found, state, (found - state).abs(), found * state], -1)
            said.append(self.out(self.dropout(both)).float().softmax(-1))
            state = self.update(found, self.dropout(state))
        return self.mean(torch.stack(said, 1)).clamp_min(1e-30).log()

    def mean(self, said: Float[Tensor, "b k c"]) -> Float[Tensor, "b c"]:
        """The mean over the steps, while training over those that are kept."""
        if not self.training or not self.config.omit:
            return said.mean(1)
        kept = torch.rand(said.shape[:2], device=said.device) >= self.config.omit
        kept.scatter_(1, torch.randint(said.shape[1], (len(said), 1), device=said.device), True)
        return (said * kept[..., None]).sum(1) / kept.sum(1, keepdim=True)


def weighted(
    scores: Float[Tensor, "b t"], among: Bool[Tensor, "b t"], states: Float[Tensor, "b t d"]
) -> Float[Tensor, "b d"]:
    """The mean of the states weighted by the softmax of the scores `among` some places."""
    shares = scores.float().masked_fill(~among, float("-inf")).softmax(-1).to(states.dtype)
    return (shares[:, None] @ states)[:, 0]
