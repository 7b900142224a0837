"""Questions with titled paragraphs, answered by going from one to the next: a row is a question, its texts are nodes.

Source: CogQA, arXiv:1905.05460 §3 and its released code: a node's text is the question, the sentences that led to it
(clues), then the sentences of its paragraph. Not here: how the graph is found when it is not known (run/explore.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from modeledge.core import Batch, DataError, Facts, InputError, PartConfig
from modeledge.data.readers import Record, Wanted
from modeledge.data.sources import Source
from modeledge.data.sources._links import QUESTION, Graph, Place, Story, graph_of
from modeledge.data.sources._rows import Limit, Rows

SENTENCES = 16
"""Sentences of a paragraph that are read."""
NOWHERE = (-1, -1)
"""A supporting sentence that the paragraphs do not have."""
NONE = 0.1
"""Weight of the first token as the place of "nothing to be found here"."""


class Paragraphs(Source):
    """Rows are the questions whose graph is known, or all where none is.

    ids, valid, `sentence` (0 before the paragraph, then the sentence's number from 1) b n t; `marks` b n t 4, weights
    of the tokens where names begin and end: of next paragraphs, of answers; `paragraph` b n, the node is one that is
    read; `nodes` b n, it is one at all; `edges` b n n, shares of the nodes before each (columns sum to 1); `asked` b,
    `decided` b, `compared` b 2: the kind of question and the answer."""

    class Config(PartConfig):
        """length: tokens a node; text, second, label: the columns of the question, the paragraphs and the answer;
        supports: of the supporting sentences (title, number), where there are some; others: nodes of wrong answers;
        limit: only so many questions."""

        length: int = Field(512, ge=16)
        target: Literal["class", "none"] = "class"
        text: str = "question"
        second: str = "paragraphs"
        label: str = "answer"
        supports: str = "supporting_facts"
        others: int = Field(2, ge=0)
        limit: Limit | None = None

    reads = "table"

    def __init__(self, config: Config, store: Any, facts: Facts, split: str = "train"):
        super().__init__(config, store, facts, split)
        if facts.tokenizer is None or not hasattr(self.store, "read"):
            raise InputError(f"{store.path}: questions with paragraphs come as a table, for a model of text")
        columns: dict[str, tuple[type, ...]] = {config.text: (str,), config.second: (list,)}
        optional: tuple[str, ...] = ()
        if config.target != "none":
            columns |= {config.label: (str,), config.supports: (list,)}
            optional = (config.supports,)
        self.records = self.store.read(Wanted(columns, optional=optional))
        stories = [story_of(r, config) for r in self.records]
        kept = np.arange(len(stories))
        if config.limit is not None:
            kept = config.limit.of(len(stories))
        self.records, self.stories = [self.records[i] for i in kept], [stories[i] for i in kept]
        self.missing = 0
        for story in self.stories:
            lost = (story.supports or []).count(NOWHERE)
            self.missing += lost
            story.supports = [p for p in story.supports or [] if p != NOWHERE] or None
        self.graphs = [graph_of(s) if s.answer is not None else None for s in self.stories]
        self.known = [i for i, graph in enumerate(self.graphs) if graph is not None]
        self.labels: list[str] = []
        self._encode(facts.tokenizer)
        self.number(len(self.known) if self.known else len(self.stories))

    def _encode(self, tokenizer: Any) -> None:
        frame = tokenizer.frame()
        self.before, self.after = np.array(frame.before, np.int32), np.array(frame.after, np.int32)
        if not len(self.before) or not len(self.after):
            raise InputError(f"{self.store.path}: the model's tokenizer puts nothing around texts\n  next: a BERT")
        self.segment = tokenizer.frame(pair=True).texts[1]
        asked = tokenizer.encode_batch([s.question for s in self.stories])
        self.questions = [np.concatenate([self.before, ids[: self.config.length // 2], self.after]) for ids in asked]
        flat = tokenizer.encode_spans([text for s in self.stories for p in s.sentences for text in p])
        given = iter(flat)
        self.sentences = [[[next(given) for _ in p] for p in s.sentences] for s in self.stories]

    # -- nodes --------------------------------------------------------------------------------------------------------

    def node(self, number: int, clues: Sequence[tuple[int, int]], paragraph: int | None) -> dict[str, np.ndarray]:
        """The text of a node of a question: what led to it, as (paragraph, sentence), and its own paragraph if it has
        one; `passage_spans` are the characters of each sentence. Sentences that do not fit are left out."""
        known = self.sentences[number]
        parts = [self.questions[number], *(np.append(known[p][s].ids, self.after) for p, s in clues)]
        ids = np.concatenate(parts)[: self.config.length]
        spans, kinds, size = [np.full((len(ids), 2), -1)], [np.zeros(len(ids), np.int64)], len(ids)
        pieces = [ids]
        for place, sentence in enumerate(known[paragraph][:SENTENCES] if paragraph is not None else [], start=1):
            more = len(sentence.ids) + len(self.after)
            if size + more > self.config.length:
                break
            pieces.append(np.append(sentence.ids, self.after))
            spans.append(np.concatenate([sentence.spans, np.full((len(self.after), 2), -1)]))
            kinds.append(np.full(more, place))
            size += more
        sentence = np.concatenate(kinds)
        told = {"ids": np.concatenate(pieces).astype(np.int32), "sentence": sentence}
        told["segments"] = np.where(sentence > 0, self.segment, 0)
        return told | {"passage_spans": np.concatenate(spans)}

    def pad(self, rows: Sequence[dict[str, np.ndarray]]) -> Batch:
        """Nodes as a batch, one a row."""
        table = Rows(rows, {"ids": self.facts.pad, "passage_spans": -1})
        index = np.arange(len(rows))
        batch = table.pad(index, int(table.sizes.max(initial=1)))
        return batch if "valid" in batch else batch.but(valid=np.ones(batch.ids.shape, bool))

    def cut(self, index: Int[np.ndarray, " b"], rng: np.random.Generator) -> Batch:
        index = np.array(self.known)[index]
        made = [self._nodes(int(i), rng) for i in index]
        most = max(len(rows) for rows, _, _ in made)
        empty = {"ids": np.zeros(0, np.int32), "sentence": np.zeros(0, np.int64), "segments": np.zeros(0, np.int64)}
        empty |= {"passage_spans": np.zeros((0, 2)), "marks": np.zeros((0, 4), np.float32)}
        flat = self.pad([row for rows, _, _ in made for row in [*rows, *[empty] * (most - len(rows))]])
        batch = Batch({k: v.reshape(len(index), most, *v.shape[1:]) for k, v in flat.items() if k != "passage_spans"})
        batch["edges"] = np.stack([edges_of(links, most) for _, links, _ in made])
        batch["nodes"] = np.arange(most) < np.array([len(rows) for rows, _, _ in made])[:, None]
        batch["paragraph"] = np.arange(most) < np.array([read for _, _, read in made])[:, None]
        graphs: list[Graph] = [self.graphs[i] for i in index]  # type: ignore[misc]
        batch["asked"] = np.array([QUESTION[g.kind] for g in graphs])
        batch["decided"] = np.array([g.decided for g in graphs])
        batch["compared"] = np.array([g.compared for g in graphs])
        return batch

    def _nodes(self, number: int, rng: np.random.Generator) -> tuple[list[dict[str, np.ndarray]], list[tuple], int]:
        """The nodes of a known graph and of some wrong answers, the edges, and how many nodes are paragraphs."""
        graph, story = self.graphs[number], self.stories[number]
        assert graph is not None, "questions without a known graph are not trained on"
        read = len(story.titles)
        clues: list[list[tuple[int, int]]] = [[] for _ in range(graph.nodes)]
        for paragraph, sentence, node in graph.edges:
            clues[node].append((paragraph, sentence))
        links = [(p, n) for p, _, n in graph.edges]
        rows = [self.node(number, clues[n], n if n < read else None) for n in range(graph.nodes)]
        marks = [self._marks(row, n, graph) if n < read else None for n, row in enumerate(rows)]
        held = {(a.paragraph, a.sentence) for a in graph.answers}
        free = [(p, s) for p, texts in enumerate(story.sentences) for s in range(len(texts)) if (p, s) not in held]
        if graph.kind == "name" and free:
            for place in rng.integers(0, len(free), self.config.others):
                links.append((free[place][0], len(rows)))
                rows.append(self.node(number, [free[place]], None))
                marks.append(None)
        for row, mark in zip(rows, marks, strict=True):
            row["marks"] = np.zeros((len(row["ids"]), 4), np.float32) if mark is None else mark
        return rows, links, read

    def _marks(self, row: dict[str, np.ndarray], node: int, graph: Graph) -> np.ndarray:
        marks = np.zeros((len(row["ids"]), 4), np.float32)
        for column, places in ((0, graph.hops), (2, graph.answers)):
            for place in places:
                if place.paragraph == node and (found := tokens_of(row, place)) is not None:
                    marks[found[0], column] = marks[found[1], column + 1] = 1.0
            if not marks[:, column].any():
                marks[0, column : column + 2] = NONE
        return marks


def tokens_of(row: dict[str, np.ndarray], place: Place) -> tuple[int, int] | None:
    """First and last token of a name in a node's text; None if its sentence is not there."""
    spans = row["passage_spans"]
    here = (row["sentence"] == place.sentence + 1) & (spans[:, 1] > place.begin) & (spans[:, 0] < place.end)
    at = np.flatnonzero(here & (spans[:, 0] >= 0))
    return (int(at[0]), int(at[-1])) if len(at) else None


def edges_of(links: Sequence[tuple[int, int]], nodes: int) -> np.ndarray:
    """n n: from the row's node to the column's; a node counts twice to itself, columns sum to 1 (as released)."""
    table = 2 * np.eye(nodes, dtype=np.float32)
    for begin, end in links:
        table[begin, end] = 1.0
    return table / table.sum(0, keepdims=True)


def story_of(record: Record, config: Any) -> Story:
    """A record as a question with paragraphs: objects with `title` and `sentences`, or pairs of them as in HotpotQA. A
    support that does not exist, of which HotpotQA has some, is NOWHERE.

    Raises DataError for other things and for two paragraphs of the same title."""
    where = f"{record.file}:{record.line}"
    titles, sentences = [], []
    for given in record.value[config.second]:
        pair = (given.get("title"), given.get("sentences")) if isinstance(given, dict) else given
        title, texts = pair if isinstance(pair, list | tuple) and len(pair) == 2 else (None, None)
        if not isinstance(title, str) or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            told = "expected objects with a title and sentences (a list of texts)"
            raise DataError(f"{where}: field {config.second!r}: {told}")
        titles.append(title)
        sentences.append(texts)
    if len(set(titles)) < len(titles) or not titles:
        raise DataError(f"{where}: field {config.second!r}: paragraphs need titles of their own, and there must be one")
    supports = None
    if config.target != "none" and record.value.get(config.supports):
        known = {(title, i): (n, i) for n, title in enumerate(titles) for i in range(len(sentences[n]))}
        supports = [known.get((title, int(number)), NOWHERE) for title, number in record.value[config.supports]]
    answer = record.value[config.label] if config.target != "none" else None
    return Story(record.value[config.text], titles, sentences, answer, supports)
