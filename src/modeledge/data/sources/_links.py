"""Which names stand in which sentences: the cognitive graph of a question, as far as its answer and facts tell it.

Source: CogQA, arXiv:1905.05460 §3, and its released preparation of HotpotQA. Names are found by their words and
compared by the share of letters two have in common; the release allows slips in finding, too."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

QUESTION: dict[str, int] = {"name": 0, "yes": 1, "which": 2}
"""Kinds of questions: after a name, yes or no, which of two."""
_ASKS = "is are am was were have has had can could shall will should would do does did may might must ought need dare"
_CHINESE = "\u2e80"
_NOTE = re.compile(r" \([^()]*\)$")


def bare(name: str) -> str:
    """A title without the note in brackets that tells it from others of the same name."""
    return _NOTE.sub("", name.strip()) or name


def kind_of(question: str) -> Literal["name", "yes", "which"]:
    """What is asked for, by the question's words."""
    if " or " in question:
        return "which"
    first = question.split(maxsplit=1)[:1]
    return "yes" if first and first[0].lower() in _ASKS.split() else "name"


def find_name(name: str, text: str) -> tuple[int, int] | None:
    """The characters of a name's first occurrence as whole words (Chinese writes none); None if there is none."""
    wanted = bare(name)
    if not wanted.strip():
        return None
    left, right = (edge if char < _CHINESE else "" for edge, char in ((r"(?<!\w)", wanted[0]), (r"(?!\w)", wanted[-1])))
    found = re.search(left + re.escape(wanted) + right, text, re.IGNORECASE)
    return found.span() if found else None


def nearest_name(text: str, names: Sequence[str], *, least: float) -> int | None:
    """The number of the name most alike, if more than `least` of the letters are common to both (0 to 1)."""
    wanted = text.casefold()
    alike = [difflib.SequenceMatcher(None, bare(n).casefold(), wanted, autojunk=False).ratio() for n in names]
    best = max(range(len(names)), key=alike.__getitem__, default=None)
    return best if best is not None and alike[best] > least else None


class Place(NamedTuple):
    """Characters `begin` to `end` of a sentence of a paragraph."""

    paragraph: int
    sentence: int
    begin: int
    end: int


@dataclass
class Story:
    """A question with its paragraphs, and what is known of the answer: the text, sentences (paragraph, number) that
    support it."""

    question: str
    titles: list[str]
    sentences: list[list[str]]
    answer: str | None = None
    supports: list[tuple[int, int]] | None = None

    def named(self) -> list[int]:
        """The paragraphs whose titles the question names, in its order."""
        found = [(span[0], i) for i, t in enumerate(self.titles) if (span := find_name(t, self.question))]
        return [i for _, i in sorted(found)]

    def kind(self) -> Literal["name", "yes", "which"]:
        """What is asked for; comparisons are only asked where two titles are named."""
        kind = kind_of(self.question)
        return kind if kind == "name" or len(self.named()) > 1 else "name"


@dataclass
class Graph:
    """What a model is to find: names of next paragraphs and of the answer, edges (paragraph, sentence, node), and what
    decides: the answer's node, or which of `compared` it is (1: the second, or yes). The answer's node stands behind
    the paragraphs if it is none of them."""

    kind: Literal["name", "yes", "which"]
    decided: int
    nodes: int
    hops: list[Place] = field(default_factory=list)
    answers: list[Place] = field(default_factory=list)
    edges: list[tuple[int, int, int]] = field(default_factory=list)
    compared: tuple[int, int] = (0, 0)


def graph_of(story: Story) -> Graph | None:
    """The graph that leads to the answer; None if the answer is not to be found in it."""
    assert story.answer is not None
    everywhere = [(p, s) for p, sentences in enumerate(story.sentences) for s in range(len(sentences))]
    facts = story.supports or everywhere
    inside = list(dict.fromkeys(p for p, _ in facts))
    links = [
        (Place(p, s, *span), other)
        for p, s in facts
        for other in inside
        if other != p and (span := find_name(story.titles[other], story.sentences[p][s]))
    ]
    edges = [(place.paragraph, place.sentence, other) for place, other in links]
    kind, count = story.kind(), len(story.titles)
    if kind != "name":
        return _comparison(story, kind, [place for place, _ in links], edges)
    own = next((i for i in inside if bare(story.titles[i]).casefold() == story.answer.casefold()), None)
    elsewhere = [(p, s) for p, s in facts if p != own]
    answers = [Place(p, s, *f) for p, s in elsewhere if (f := find_name(story.answer, story.sentences[p][s]))]
    if own is None and not answers:
        return None
    node = count if own is None else own
    edges += [(a.paragraph, a.sentence, node) for a in answers]
    hops = [place for place, other in links if other != own]
    return Graph(kind, node, count + (own is None), hops, answers, list(dict.fromkeys(edges)))


def _comparison(
    story: Story, kind: Literal["yes", "which"], hops: list[Place], edges: list[tuple[int, int, int]]
) -> Graph | None:
    one, other = story.named()[:2]
    answer = str(story.answer)
    if kind == "yes":
        right = {"no": 0, "yes": 1}.get(answer.lower())
    else:
        right = nearest_name(answer, [story.titles[one], story.titles[other]], least=0.5)
    if right is None:
        return None
    return Graph(kind, right, len(story.titles), hops, [], list(dict.fromkeys(edges)), (one, other))
