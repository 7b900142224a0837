"""One layer of LSTM with a projection, and optional bounds on the cell and on what it gives out.

Source: Sak et al., arXiv:1402.1128 (projection); the bounds as in ELMo's released training code; weights left out,
AWD-LSTM, arXiv:1708.02182 §2. Gates in torch's order i, f, g, o; one bias, whose forget part begins at 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modeledge.layers.dropout import dropout

Held = tuple[Tensor, Tensor]
"""What a layer remembers: its output b p and its cell b c."""


class Recurrence(nn.Module):
    """width: of the input; cell: of the cell; out: of the output; clip: the bound (0: none); drop: the share of the
    weights from step to step that is left out, one draw for all steps of a pass.

    Without bounds torch's own kernel runs where there is one (on CPU not with a projection: its fallback is no faster);
    otherwise the steps are taken one by one, to the same result."""

    def __init__(self, width: int, *, cell: int, out: int, clip: float = 0.0, drop: float = 0.0):
        super().__init__()
        self.cell, self.out, self.clip, self.drop = cell, out, clip, drop
        self.to_gates = nn.Parameter(torch.empty(4 * cell, width))
        self.again = nn.Parameter(torch.empty(4 * cell, out))
        self.bias = nn.Parameter(torch.zeros(4 * cell))
        self.project = nn.Parameter(torch.empty(out, cell)) if out != cell else None
        for weight in (self.to_gates, self.again, self.project):
            if weight is not None:
                nn.init.xavier_uniform_(weight)
        with torch.no_grad():
            self.bias[cell : 2 * cell] = 1.0

    def forward(self, x: Float[Tensor, "b t d"], held: Held | None = None) -> tuple[Float[Tensor, "b t p"], Held]:
        """The outputs at all places, and what is remembered after the last; `held`: from before the first."""
        if held is None:
            held = x.new_zeros(len(x), self.out), x.new_zeros(len(x), self.cell)
        fused = self.clip == 0 and (x.is_cuda or self.project is None)
        return self.fused(x, held) if fused else self.stepwise(x, held)

    def thinned(self) -> Float[Tensor, "g p"]:
        """The weights from step to step, some of them left out in training."""
        return dropout(self.again, self.drop, self.training)

    def fused(self, x: Float[Tensor, "b t d"], held: Held) -> tuple[Float[Tensor, "b t p"], Held]:
        """All steps in torch's kernel."""
        weights = [self.to_gates, self.thinned(), self.bias, torch.zeros_like(self.bias)]
        weights += [] if self.project is None else [self.project]
        first = [s.to(x.dtype)[None].contiguous() for s in held]
        y, h, c = torch.lstm(x, first, [w.to(x.dtype) for w in weights], True, 1, 0.0, self.training, False, True)
        return y, (h[0], c[0])

    def stepwise(self, x: Float[Tensor, "b t d"], held: Held) -> tuple[Float[Tensor, "b t p"], Held]:
        """Step by step, with the bounds."""
        bound, again = self.clip or torch.inf, self.thinned()
        gates = F.linear(x, self.to_gates, self.bias)  # b t 4c, for all steps at once
        h, c = held
        out = []
        for step in gates.unbind(1):
            i, f, g, o = (step + F.linear(h.to(step.dtype), again)).chunk(4, -1)
            c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).clamp(-bound, bound)
            h = o.sigmoid() * c.tanh()
            if self.project is not None:
                h = F.linear(h, self.project).clamp(-bound, bound)
            out.append(h)
        return torch.stack(out, 1), (h, c)
