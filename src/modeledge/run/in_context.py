"""Ask a causal language model by examples in its prompt: nothing is trained.

Sources: GPT-3, arXiv:2005.14165 §2.4 (options compared by their likelihood a token, or by how much the prompt raises
it) and appendix G (forms of prompts); inverse prompting, arXiv:2103.10685 §3 (candidates ranked by how well the prompt
follows from them). Every piece of a prompt is tokenised by itself, so that an answer has the same tokens wherever it
stands. Not here: free answers (prompt.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from modeledge.core import Batch, InputError, keyed
from modeledge.data.sources._stream import separator
from modeledge.objectives.clm import CausalLM
from modeledge.recipe.schema import places_of
from modeledge.run.keep import Loaded

ROWS = 32
"""Rows in one forward pass."""


@dataclass(frozen=True)
class Form:
    """How a prompt is written. question: with {text}; lead: what an answer follows, also without a question; answer:
    with {answer}; between: after each example."""

    question: str = "Question: {text}\n"
    lead: str = "Answer:"
    answer: str = " {answer}"
    between: str = "\n\n"


PLAIN = Form()


class Prompt(NamedTuple):
    """Token ids, beginning with the token that separates documents; how many examples stand in it."""

    ids: list[int]
    shots: int


class Chosen(NamedTuple):
    """The number of the best option, the score of each, and how many examples there was room for."""

    option: int
    scores: list[float]
    shots: int


class Writer:
    """Prompts in the tokens of one model, never longer than the model can read."""

    def __init__(self, loaded: Loaded, form: Form = PLAIN):
        tokenizer = loaded.facts.tokenizer
        objectives = [o for _, o in loaded.model.each()]
        if tokenizer is None or not isinstance(objectives[0], CausalLM):
            raise InputError(f"{loaded.path}: not a causal language model, it cannot be asked by examples")
        self.form, self.tokenizer, self.start = form, tokenizer, separator(loaded.facts)
        self.objective = objectives[0]
        self.backbone = loaded.model.eval().backbone
        self.places, self.place = places_of(loaded.recipe.backbone), loaded.place

    def encode(self, text: str) -> list[int]:
        """The ids of one piece."""
        return self.tokenizer.encode_batch([text])[0].tolist() if text else []

    def answer(self, text: str) -> list[int]:
        """The ids of an answer. Raises InputError if there are none."""
        ids = self.encode(self.form.answer.replace("{answer}", text))
        if not ids:
            raise InputError(f"an answer needs at least one token, {text!r} has none")
        return ids

    def prompt(self, query: str, shots: Sequence[tuple[str, str]] = (), *, room: int = 0) -> Prompt:
        """Examples, then the query, with `room` places left for an answer; the first examples are left out, whole, if
        they do not fit. Raises InputError if the query alone does not."""
        asked = self.ask(query)
        left = None if self.places is None else self.places - 1 - len(asked) - room
        if left is not None and left < 0:
            raise InputError(
                f"{query[:40]!r}...: {1 + len(asked)} tokens and an answer of {room}, and the model has {self.places}"
                " places\n  next: a shorter text"
            )
        between, kept = self.encode(self.form.between), []
        for text, answer in reversed(shots):
            example = [*self.ask(text), *self.answer(answer), *between]
            if left is not None:
                if len(example) > left:
                    break
                left -= len(example)
            kept.append(example)
        return Prompt([self.start, *(i for e in reversed(kept) for i in e), *asked], len(kept))

    def ask(self, text: str) -> list[int]:
        """The ids of a question and of what leads to its answer."""
        return self.encode(self.form.question.replace("{text}", text)) + self.encode(self.form.lead)

    @torch.no_grad()
    def log_likelihoods(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """log p(continuation | prompt), in nats, of each pair of ids."""
        found = []
        for first in range(0, len(pairs), ROWS):
            some = pairs[first : first + ROWS]
            width = max(len(a) + len(b) for a, b in some)
            ids, valid = np.zeros((len(some), width), np.int64), np.zeros((len(some), width), bool)
            asked = np.zeros_like(valid)
            for row, (prompt, said) in enumerate(some):
                n = len(prompt) + len(said)
                ids[row, :n], valid[row, :n], asked[row, len(prompt) : n] = [*prompt, *said], True, True
            batch = self.objective.view(Batch(ids=ids, valid=valid), keyed("ask"))
            scores = self.objective.score(self.backbone, self.objective.finish(batch).tensors(self.place))
            found += (scores * torch.from_numpy(asked).to(self.place)).sum(1).tolist()
        return found


Normal = Literal["total", "length", "prior"]
NORMAL: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "total": lambda given, sizes, alone: given,
    "length": lambda given, sizes, alone: given / sizes,
    "prior": lambda given, sizes, alone: given - alone,
}
"""Scores of options from their log-likelihoods after the prompt, their numbers of tokens, and their log-likelihoods
after the lead alone."""


def choose(
    loaded: Loaded,
    queries: Sequence[str],
    options: Sequence[Sequence[str]],
    *,
    shots: Sequence[tuple[str, str]] = (),
    form: Form = PLAIN,
    by: Normal = "length",
) -> list[Chosen]:
    """The likeliest of each query's options, after as many of the examples (text, answer) as there is room for.

    by: options are compared by their likelihood, by their likelihood a token, or by how much likelier the question
    makes them. Raises InputError for options of the same tokens, and for what does not fit."""
    writer, pairs, alone, sizes, counts = Writer(loaded, form), [], [], [], []
    lead = [writer.start, *writer.encode(form.lead)]
    for query, texts in zip(queries, options, strict=True):
        answers = [writer.answer(text) for text in texts]
        if len({tuple(a) for a in answers}) < len(answers):
            raise InputError(f"{query[:40]!r}: two of the options have the same tokens: {', '.join(texts)}")
        prompt = writer.prompt(query, shots, room=max(map(len, answers)))
        pairs += [(prompt.ids, a) for a in answers]
        alone += [(lead, a) for a in answers]
        sizes += [len(a) for a in answers]
        counts.append(prompt.shots)
    given = np.array(writer.log_likelihoods(pairs))
    prior = np.array(writer.log_likelihoods(alone)) if by == "prior" else np.zeros_like(given)
    scores = NORMAL[by](given, np.array(sizes), prior)
    cuts = np.cumsum([len(texts) for texts in options])[:-1]
    return [Chosen(int(s.argmax()), s.tolist(), n) for s, n in zip(np.split(scores, cuts), counts, strict=True)]


def rerank(
    loaded: Loaded, query: str, candidates: Sequence[str], *, inverse: Form, scores: Sequence[float] | None = None
) -> list[int]:
    """The numbers of the candidates, best first: those from which the query follows with the greatest likelihood.

    inverse: writes a candidate as the question and the query as the answer; scores: of the candidates themselves, to
    which the log-likelihoods are added. Equals stay in their order."""
    writer = Writer(loaded, inverse)
    said = writer.answer(query)
    back = writer.log_likelihoods([(writer.prompt(c, room=len(said)).ids, said) for c in candidates])
    total = np.array(back) + (0.0 if scores is None else np.asarray(scores))
    return np.argsort(-total, kind="stable").tolist()
