"""Read paragraphs for the next ones and for answers, and decide on the graph that comes of it.

Source: CogQA, arXiv:1905.05460 §3 and its released code. System 1: four scores a token (names of next paragraphs and of
answers, first and last token; the first token stands for "none"), and a node's meaning, the first token's state three
layers below the last. System 2: a graph convolution over the nodes; comparisons are decided by a difference of two
meanings. Not here: the walk itself (run/explore.py), sentence types (the backbone's `types`)."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modeledge.core import Batch, Facts, Output, PartConfig, Slot, Sum, build, part
from modeledge.heads._scorer import Scorer
from modeledge.objectives._gather import gather
from modeledge.objectives._task import Task

RECENT = 50
"""Steps over which the last loss is averaged."""
FINAL, COMPARED = 0.2, 0.2
"""Factors of System 2's loss, and in it of comparisons."""
DEPTH = 4
"""The layer, counted from the last, whose first state is a node's meaning (the first, where there are not so many)."""


class Hops(Task):
    """Three losses: `<name>_hop` and `<name>_answer` a paragraph, `<name>_final` a question, in nats.

    System 1 stands still until System 2's mean loss over the last steps has fallen below `below`, once."""

    warm: Tensor
    recent: Tensor
    seen: Tensor

    class Config(Task.Config):
        """head: of System 1; graph: of System 2; below: see above (none: System 1 is trained alone)."""

        head: Annotated[PartConfig | None, Slot("heads")] = part("per_token")
        graph: Annotated[PartConfig, Slot("heads")] = part("graph")
        below: float | None = Field(0.9, ge=0)

    config: Config
    needs = ("ids", "sentence", "marks", "edges", "asked", "decided")

    def __init__(self, config: Config, facts: Facts, backbone: Any):
        super().__init__(config, facts, backbone)
        name = self.losses[0]
        self.losses = (f"{name}_hop", f"{name}_answer", f"{name}_final")
        self.layer = f"blocks.{max(backbone.config.layers - DEPTH, 0)}"
        self.graph = build("heads", config.graph, facts, backbone)
        self.yes, self.which = Scorer(backbone.width), Scorer(backbone.width)
        self.register_buffer("recent", torch.zeros(RECENT))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("warm", torch.zeros((), dtype=torch.bool))
        self.waiting: list[Tensor] = []
        self.free = False  # `warm` once it was seen: the device is not asked again

    def outputs(self) -> int:
        return 4

    def counts(self, batch: Batch) -> dict[str, float]:
        hop, answer, final = self.losses
        read = float(batch.paragraph.sum())
        return {hop: read, answer: read, final: float(batch.size)}

    def weights(self, step: int, total: int) -> dict[str, float]:
        factors = (1.0, 1.0, 0.0 if self.config.below is None else FINAL)
        return {n: self.weight(step, total) * f for n, f in zip(self.losses, factors, strict=True)}

    # -- System 1 -----------------------------------------------------------------------------------------------------

    def run(self, backbone: nn.Module, batch: Batch, **options: Any) -> Output:
        options["keep"] = {*options.get("keep", ()), self.layer}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.waits()):
            return super().run(backbone, batch, **options)

    def waits(self) -> bool:
        """Whether System 1 stands still."""
        if not self.training or self.config.below is None:
            return False
        self.free = self.free or bool(self.warm)
        return not self.free

    def names(self) -> list[str]:
        """There are no classes."""
        return []

    def spans(self, out: Output) -> Float[Tensor, "r t 4"]:
        """How well a name could begin and end at each token: of a next paragraph, of an answer."""
        return self.head(out.states).float()

    def meanings(self, out: Output) -> Float[Tensor, "r d"]:
        """A node's vector."""
        return out.kept[self.layer][:, 0]

    def span_losses(self, scores: Float[Tensor, "r t 4"], batch: Batch) -> Float[Tensor, " 2"]:
        """The sums over paragraphs of the mean of both ends, of next paragraphs and of answers."""
        marks = batch.marks.flatten(0, 1)
        if "valid" in batch:
            scores = scores.masked_fill(~batch.valid.flatten(0, 1)[..., None], torch.finfo(scores.dtype).min)
        each = -(marks * scores.log_softmax(1)).sum(1)  # r t 4 -> r 4
        return each.unflatten(1, (2, 2)).mean(2).sum(0)

    # -- System 2 -----------------------------------------------------------------------------------------------------

    def final_loss(self, x: Float[Tensor, "b n d"], batch: Batch) -> Float[Tensor, ""]:
        """The cross-entropy of the answer among a question's nodes, or of a comparison; summed over questions."""
        scores = self.graph(x, batch.edges.to(x.dtype)).float().masked_fill(~batch.nodes, float("-inf"))
        named = F.cross_entropy(scores, torch.where(batch.asked == 0, batch.decided, 0), reduction="none")
        compared = F.binary_cross_entropy_with_logits(
            self.compare(x, batch), (batch.decided > 0).float(), reduction="none"
        )
        return torch.where(batch.asked == 0, named, COMPARED * compared).sum()

    def compare(self, x: Float[Tensor, "b n d"], batch: Batch) -> Float[Tensor, " b"]:
        """Above 0: yes, or the second of the two compared."""
        row = torch.arange(len(x), device=x.device)
        gap = x[row, batch.compared[:, 0]] - x[row, batch.compared[:, 1]]
        return torch.where(batch.asked == 1, self.yes(gap), self.which(gap)).float()

    # -- both ---------------------------------------------------------------------------------------------------------

    def loss(self, out: Output, batch: Batch) -> dict[str, Sum]:
        hop, answer = self.span_losses(self.spans(out), batch)
        if self.waits():
            hop, answer = hop.detach(), answer.detach()
        final = self.final_loss(self.meanings(out).unflatten(0, batch.ids.shape[:2]), batch)
        read, asked = batch.paragraph.sum(), torch.full((), len(batch.ids), device=final.device)
        if self.training:
            self.waiting.append(torch.stack([final.detach(), asked.to(final.dtype)]))
        found = (Sum(hop, read), Sum(answer, read), Sum(final, asked))
        return dict(zip(self.losses, found, strict=True))

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        waiting, self.waiting = self.waiting, []
        if not waiting or self.config.below is None or self.free:
            return
        total, count = gather(torch.stack(waiting).sum(0)[None])[0].sum(0)
        self.recent[self.seen % RECENT] = total / count
        self.seen += 1
        self.warm |= self.recent.sum() / self.seen.clamp(max=RECENT) < self.config.below
