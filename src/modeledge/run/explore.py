"""Walk from paragraph to paragraph until answers are found, then decide among them.

Source: CogQA, arXiv:1905.05460 algorithm 1 and its released code: the nodes at the front are read; a name found in one
adds a node or an edge, and a node with a new edge is read again with what led there; when the front is empty, System 2
decides. The front begins with the paragraphs that the question names (all of them, where it names none)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modeledge.core import Batch
from modeledge.data.sources._links import QUESTION, Story, nearest_name
from modeledge.data.sources.paragraphs import Paragraphs, edges_of
from modeledge.objectives import Objective
from modeledge.run.model import Model

MORE = 5
"""Nodes that a walk may add to the paragraphs there are."""
NEXT, ANSWERS = 3, 1
"""Names that one reading may find."""
LONGEST = 10
"""Tokens of a name."""
ALIKE = (0.5, 0.7)
"""Share of letters in common from which a name found is that of a paragraph: of a next one, of an answer."""
SURER = 0.1
"""By how much the best answer is let in, when there is none at all."""
ROWS = 32
"""Nodes in one forward pass."""


class Visit(NamedTuple):
    """A node to be read: its number, what led there as (paragraph, sentence), by how much an answer may fall short."""

    node: int
    clues: tuple[tuple[int, int], ...]
    allow: float = 0.0


class Found(NamedTuple):
    """A name in a sentence of a paragraph."""

    sentence: int
    text: str


class Reading(NamedTuple):
    """What a visit gives: next paragraphs' names, answers, the node's meaning, how far the best answer falls short."""

    hops: list[Found]
    answers: list[Found]
    meaning: Any
    gap: float


@dataclass
class Walk:
    """One question's graph as it grows. Nodes are the paragraphs, then answers that are no paragraph."""

    story: Story
    most: int = 0
    names: list[str] = field(default_factory=list)
    edges: list[list[tuple[int, int]]] = field(default_factory=list)
    meanings: dict[int, Any] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    front: list[Visit] = field(default_factory=list)
    relaxed: bool = False

    def __post_init__(self) -> None:
        self.names = list(self.story.titles)
        self.most = self.most or len(self.names) + MORE
        self.edges = [[] for _ in self.names]
        self.front = [Visit(n, ()) for n in self.story.named() or range(len(self.names))]

    def take(self, readings: Sequence[Reading]) -> None:
        """What the front has told: the next front."""
        visited, nodes = self.front, dict[int, None]()
        for visit, reading in zip(visited, readings, strict=True):
            self.meanings[visit.node] = reading.meaning
            for found in reading.hops:
                other = nearest_name(found.text, self.story.titles, least=ALIKE[0])
                if other is not None and self.link(visit.node, found.sentence, other):
                    nodes[other] = None
            for found in reading.answers:
                node = self.answer(found.text)
                if node is None:
                    continue
                self.answers += [] if node in self.answers else [node]
                if self.link(visit.node, found.sentence, node) or node not in self.meanings:
                    nodes[node] = None
        self.front = [Visit(n, tuple(self.edges[n])) for n in nodes]
        if not self.front and not self.answers and not self.relaxed and visited:
            self.relaxed = True  # something must be said
            nearest = min(range(len(visited)), key=lambda i: readings[i].gap)
            self.front = [visited[nearest]._replace(allow=readings[nearest].gap + SURER)]

    def link(self, begin: int, sentence: int, end: int) -> bool:
        """Add an edge; False if it is there, or leads to where it begins."""
        if begin == end or (begin, sentence) in self.edges[end]:
            return False
        self.edges[end].append((begin, sentence))
        return True

    def answer(self, text: str) -> int | None:
        """The node of an answer, a new one if there is room for it."""
        known = nearest_name(text, self.names, least=ALIKE[1])
        if known is not None or len(self.names) >= self.most:
            return known
        self.names.append(text)
        self.edges.append([])
        return len(self.names) - 1

    def graph(self) -> tuple[list[int], np.ndarray]:
        """The nodes that were read, and what each hears of the others."""
        nodes = sorted(self.meanings)
        place = {n: i for i, n in enumerate(nodes)}
        return nodes, edges_of([(place[b], place[n]) for n in nodes for b, _ in self.edges[n]], len(nodes))


Read = Callable[[list[tuple[int, Visit]]], list[Reading]]


def explore(stories: Sequence[Story], read: Read, *, most: int = 0) -> list[Walk]:
    """Walk through every question's paragraphs, all questions side by side. `read` reads nodes of questions, by number;
    most: nodes of a graph (default: the paragraphs and MORE)."""
    walks = [Walk(story, most) for story in stories]
    while asked := [(number, visit) for number, walk in enumerate(walks) for visit in walk.front]:
        readings = iter(read(asked))
        for walk in walks:
            if walk.front:
                walk.take([next(readings) for _ in walk.front])
    return walks


def reader(model: Model, objective: Any, source: Paragraphs, *, device: torch.device) -> Read:
    """How System 1 reads nodes."""

    @torch.no_grad()
    def read(asked: list[tuple[int, Visit]]) -> list[Reading]:
        found: list[Reading] = []
        for first in range(0, len(asked), ROWS):
            some = asked[first : first + ROWS]
            titles = [len(source.stories[number].titles) for number, _ in some]
            rows = [
                source.node(number, visit.clues, visit.node if visit.node < count else None)
                for (number, visit), count in zip(some, titles, strict=True)
            ]
            batch = source.pad(rows)
            out = objective.run(model.backbone, batch.but(passage_spans=None).tensors(device))
            scores, meanings = objective.spans(out).cpu().numpy(), objective.meanings(out).float().cpu()
            for (number, visit), row, score, meaning in zip(some, rows, scores, meanings, strict=True):
                texts = source.stories[number].sentences[visit.node] if (row["sentence"] > 0).any() else []
                found.append(extract(row, score[: len(row["ids"])], texts, meaning, allow=visit.allow))
        return found

    return read


def extract(
    row: dict[str, np.ndarray], scores: np.ndarray, texts: Sequence[str], meaning: Tensor, *, allow: float = 0.0
) -> Reading:
    """The names in one node's text: those that begin surer than the first token's "none", the best first; a name ends
    within its sentence."""
    spans, kinds = row["passage_spans"], row["sentence"]
    inside = np.flatnonzero(spans[:, 0] >= 0)
    found: list[list[Found]] = []
    gap = 0.0
    for column, most, grace in ((0, NEXT, 0.0), (2, ANSWERS, allow)):
        begins = scores[inside, column]
        best = inside[np.argsort(-begins, kind="stable")[:most]]
        gap = float(scores[0, column] - begins.max(initial=-np.inf))
        sure = [at for at in best if scores[at, column] > scores[0, column] - grace]
        names = []
        for at in sure:
            reach = np.arange(at, min(at + LONGEST, len(kinds)))
            reach = reach[(kinds[reach] == kinds[at]) & (spans[reach, 0] >= 0)]
            end = int(reach[scores[reach, column + 1].argmax()])
            sentence = int(kinds[at]) - 1
            names.append(Found(sentence, texts[sentence][spans[at, 0] : spans[end, 1]]))
        found.append(names)
    return Reading(found[0], found[1], meaning, gap)


@torch.no_grad()
def decide(objective: Any, walk: Walk) -> str:
    """What System 2 answers; nothing, if no answer was found."""
    kind = walk.story.kind()
    nodes, edges = walk.graph()
    x = torch.stack([walk.meanings[n] for n in nodes])[None].to(next(objective.graph.parameters()))
    if kind != "name":
        pair = [nodes.index(n) for n in walk.story.named()[:2]]
        batch = Batch(asked=torch.tensor([QUESTION[kind]]), compared=torch.tensor([pair])).tensors(x.device)
        second = bool(objective.compare(x, batch)[0] > 0)
        return ("no", "yes")[second] if kind == "yes" else walk.names[nodes[pair[second]]]
    if not walk.answers:
        return ""
    scores = objective.graph(x, torch.from_numpy(edges)[None].to(x))[0].cpu()
    return walk.names[max((n for n in walk.answers if n in walk.meanings), key=lambda n: float(scores[nodes.index(n)]))]


def ask(model: Model, objective: Objective, source: Paragraphs, *, device: torch.device) -> list[dict[str, Any]]:
    """One dict a question: the answer, and the sentences that led from node to node."""
    model.to(device).eval()
    found = []
    for walk in explore(source.stories, reader(model, objective, source, device=device)):
        names = walk.names
        steps = [[names[b], s, names[n]] for n in range(len(names)) for b, s in walk.edges[n]]
        found.append({"answer": decide(objective, walk), "graph": steps})
    return found
