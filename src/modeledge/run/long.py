"""Teach a task on texts longer than the model: a judge that picks blocks and a reasoner that reads them, by turns.

Source: CogLTX (NeurIPS 2020) §3 and its released code. Without labels of relevance, blocks that share most words with
the question (BM25) are relevant at first, and the block of a known answer always; later, blocks are left out one at a
time, and those without which the reasoner's loss rises have mattered. The release measures this during training, here
it is done after each round. Not here: the picking (recall.py), the rows (data/sources/blocks.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from modeledge.analysis.bm25 import BM25
from modeledge.core import Facts, InputError, Output, keyed
from modeledge.data.sources.blocks import Blocks, Picked, Shown
from modeledge.engine.device import choose_device
from modeledge.objectives import Objective
from modeledge.recipe.resolve import Tree
from modeledge.recipe.schema import check
from modeledge.run.answer import judge
from modeledge.run.checkpoint import own_tensors
from modeledge.run.folder import RunFolder
from modeledge.run.forms import check_length, is_causal
from modeledge.run.job import run_job
from modeledge.run.keep import save_model
from modeledge.run.model import Model
from modeledge.run.progress import Progress, Silent
from modeledge.run.recall import JUDGE, judging, pick, recall, survey
from modeledge.run.setting import SOURCE, Setting
from modeledge.run.stage import Done, Job

TASKS = ("classify", "regress", "span_qa")
"""What can be asked of a long text."""
ROUNDS = 2
"""How often judge and reasoner are taught in turn."""
NEAR = 0.15
"""Blocks whose BM25 is at most this share below the best one's are relevant at first."""
RISE, FALL = 0.2, -0.05
"""Loss in nats by which leaving a block out shows that it mattered, or that it did not."""
LEVELS = (-1, 2)
"""The least and the greatest level of relevance; from 1 on a block is relevant."""
ROWS = 64
"""Rows in one forward pass."""
Levels = list[Int[np.ndarray, " n"]]


class LongTexts(Setting):
    """Settings for texts that are read in blocks."""

    source: Blocks
    valid: Blocks | None
    picker: Done
    """The judge of the seed that was taught last."""

    def require(self) -> None:
        if self.question.task not in TASKS:
            raise InputError(f"--long recall: for {', '.join(TASKS)}; not for --task {self.question.task}")
        if self.tuning.mix or self.tuning.auxiliary or self.question.orders == "both":
            raise InputError("--long recall: takes no --mix, --auxiliary or --orders both")
        if {"graph", "entities"} & self.columns.keys():
            raise InputError("--long recall: takes no --graph or --entities")
        super().require()

    def data_keys(self) -> dict[str, Any]:
        """Rows as long as the model, blocks of an eighth (63 tokens and their end at 512, as released)."""
        length = check_length(self.loaded.recipe, self.question.length, 512)
        form = "span" if self.kind.form == "span" else "text"
        block = min(max(15, length // 8 - 1), length // 4)
        keys = {"kind": "blocks", "form": form, "target": self.kind.target, "length": length, "block": block}
        return keys | self.columns

    # -- training -----------------------------------------------------------------------------------------------------

    def train(self, seed: int, out: Path | None, *, device: str, progress: Progress, resume: bool = False) -> Done:
        """Judge and reasoner by turns; the run folder is the reasoner's, the judge lies in its model folder. What went
        before the last turn is done again when the seed goes on."""
        tree = self.tree(seed)
        config = check(tree).data[SOURCE]
        source = self.read(self.bare(check(tree)), config.model_dump())
        texts = Rounds(source, keyed(seed, "long"))
        weights: dict[str, dict[str, torch.Tensor] | None] = {}
        for number in range(ROUNDS):
            last = number == ROUNDS - 1
            asked = Picked(source, texts.mixtures(), texts.relevant())
            self.picker = run_job(self.turn(self.judge_tree(tree), asked, weights.get("judge"), None, device, progress))
            if self.picker.result.exit_code:
                return self.picker
            weights["judge"] = own_tensors(self.picker.model)
            score = judging(self.picker.model, source, device=choose_device(device))
            texts.estimates = survey(source, score, [np.zeros(0, np.int64)] * len(source.blocks))
            shown = texts.promising()
            home = out if last else None
            job = self.turn(tree, Picked(source, shown), weights.get("reasoner"), home, device, progress)
            job.resume = resume and home is not None and RunFolder(home).holds_run()
            done = run_job(job)
            if done.result.exit_code:
                return done
            weights["reasoner"] = own_tensors(done.model)
            if not last:
                texts.intervene(done.model, shown, device=choose_device(device))
        if out is not None:
            history = {"task": {"task": "judge of relevance"} | {"of": self.question.task}}
            told = self.judge_tree(tree)
            save_model(out / "model" / JUDGE, self.picker.model, told, self.picker.facts, history=history)
        return done  # type: ignore[possibly-undefined]

    def judge(self, done: Done, *, device: str) -> dict[str, float]:
        """The reasoner's figures on what the judge picks of the validation texts."""
        assert self.valid is not None
        score = judging(self.picker.model, self.valid, device=choose_device(device))
        self.valid.fill(recall(self.valid, score))
        return judge(done, self.valid, device=device)

    def judge_tree(self, tree: Tree) -> Tree:
        """The recipe of the judge."""
        sees = {"sees": "causal"} if is_causal(self.loaded.recipe) else {}
        return Tree(tree.name, tree.keys | {"objectives": [{"kind": "relevance", **sees}]}, tree.places)

    def turn(
        self,
        tree: Tree,
        rows: Picked,
        weights: dict[str, torch.Tensor] | None,
        out: Path | None,
        device: str,
        progress: Progress,
    ) -> Job:
        """One round of one of the two, an equal share of the steps."""
        loop = tree.keys["loop"]
        batch = min(loop["batch"], len(rows.shown))
        shared = tree.keys | {"loop": loop | {"steps": max(1, loop["steps"] // ROUNDS), "batch": batch}}
        told = Tree(tree.name, shared, tree.places)
        if weights is None and not self.tuning.scratch:
            weights = self.weights(check(told), self.facts)
        history = {"task": self.told(), "pre-training": self.loaded.history.get("training", {})}
        facts = Facts(**vars(self.facts))
        stores: dict[str, Any] = {SOURCE: rows}
        return Job(told, stores, out, None, weights, facts, device, progress=progress or Silent(), history=history)


@dataclass
class Rounds:
    """What is known of the blocks of all texts while they are learned from: how relevant they are, what the judge makes
    of them, and the rows that follow."""

    source: Blocks
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.levels: Levels = [first_levels(self.source, t) for t in range(len(self.source.blocks))]
        self.estimates: list[Float[np.ndarray, " n"]] = [np.zeros(len(x)) for x in self.levels]

    def relevant(self) -> list[np.ndarray]:
        """Which blocks of each text are."""
        return [levels >= 1 for levels in self.levels]

    def mixtures(self) -> list[Shown]:
        """What the judge learns from: of each text, two stretches and one row of relevant and other blocks."""
        found: list[Shown] = []
        for text, levels in enumerate(self.levels):
            order = self.rng.permutation(len(levels))
            first = np.concatenate([order[levels[order] >= 1], order[levels[order] < 1]])
            for begin in self.rng.integers(0, len(levels), 2):
                found.append((text, self.fitting(text, np.arange(begin, len(levels)))))
            found.append((text, self.fitting(text, first)))
        return found

    def promising(self) -> list[Shown]:
        """What the reasoner learns from: of each text the relevant blocks, filled up with those the judge likes best,
        and the same with any others."""
        found: list[Shown] = []
        for text, levels in enumerate(self.levels):
            for liked in (self.estimates[text], self.rng.random(len(levels))):
                order = np.argsort(-(2.0 * (levels >= 1) + liked), kind="stable")
                found.append((text, self.fitting(text, order)))
        return found

    def fitting(self, text: int, order: Int[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
        """As many of the blocks, in this order, as a row has room for; then in the order of the text."""
        fits = np.cumsum(self.source.sizes(text)[order]) <= self.source.room(text)
        return np.sort(order[: max(1, int(fits.sum()))])

    def intervene(self, model: Model, shown: list[Shown], *, device: torch.device) -> None:
        """Leave out each block of each row, and raise or lower its level by what that does to the loss."""
        whole = row_losses(model, pick(self.source, shown), device=device)
        without = [
            (row, block)
            for row, (text, chosen) in enumerate(shown)
            for block in chosen[~self.source.crucial(text)[chosen]]
            if len(chosen) > 1
        ]
        if not without:
            return
        rest = [(shown[row][0], np.setdiff1d(shown[row][1], block)) for row, block in without]
        rises = row_losses(model, pick(self.source, rest), device=device) - whole[[row for row, _ in without]]
        for (row, block), rise in zip(without, rises, strict=True):
            levels = self.levels[shown[row][0]]
            levels[block] = np.clip(levels[block] + (rise >= RISE) - (rise <= FALL), *LEVELS)


def first_levels(source: Blocks, text: int) -> Int[np.ndarray, " n"]:
    """1 for blocks near the question by BM25, 2 for those that hold the answer, else 0."""
    words = [source.words(text, i) for i in range(len(source.blocks[text]))]
    scores = BM25(words).scores([source.question(text)])[0] if source.config.second else np.zeros(len(words))
    near = (scores > 0) & (scores >= (1 - NEAR) * scores.max())
    return np.where(source.crucial(text), 2, near.astype(np.int64))


@torch.no_grad()
def row_losses(model: Model, source: Blocks, *, device: torch.device) -> Float[np.ndarray, " n"]:
    """The loss of each row by itself, in nats."""
    model.to(device).eval()
    objective: Any = next(o for _, o in model.each())
    order = np.argsort(-source.table.sizes, kind="stable")
    found = np.zeros(len(source))
    for first in range(0, len(source), ROWS):
        index = order[first : first + ROWS]
        batch = objective.finish(source.rows(index, keyed("losses", first))).tensors(device)
        out = objective.run(model.backbone, batch)
        for place, row in enumerate(index):
            one = slice(place, place + 1)
            pooled = None if out.pooled is None else out.pooled[one]
            found[row] = float(loss_of(objective, Output(states=out.states[one], pooled=pooled), batch.rows(one)))
    return found


def loss_of(objective: Objective, out: Output, batch: Any) -> torch.Tensor:
    """The sum of an objective's losses."""
    return torch.stack([part.total for part in objective.loss(out, batch).values()]).sum()
