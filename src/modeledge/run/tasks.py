"""The downstream tasks by name: what of a table each reads, how answers are read off the model, how they are judged.

A judged answer is compared with the table as it was written, so what a short row has cut off counts as wrong.
Not here: training (finetune.py), the loop over rows (predict.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeledge.analysis.answers import best_spans, score
from modeledge.analysis.entities import tagging
from modeledge.analysis.generated import bleu, matches, rouge
from modeledge.analysis.retrieval import retrieval
from modeledge.analysis.scores import classification, regression
from modeledge.core import InputError, unknown
from modeledge.data.sources._table_forms import answers_of, options_of
from modeledge.data.sources.blocks import Blocks
from modeledge.data.sources.paragraphs import Paragraphs
from modeledge.data.sources.table import LabelledTable
from modeledge.run.explore import ask

Answers = list[dict[str, Any]]
LONGEST_ANSWER = 30
"""Tokens of an answer cut from a passage: what BERT's released SQuAD script allows."""


@dataclass(frozen=True)
class Kind:
    """One task: the objective it is trained with, the form and target of the table's rows, the columns it needs, the
    figure it is known by, how raw outputs become answers, and answers figures; `ask` where one look at each row does
    not do."""

    objective: str
    form: str
    metric: str
    read: Callable[[list[np.ndarray], Any], Answers] | None
    judge: Callable[[Answers, Any], dict[str, float]]
    target: str = "class"
    needs: tuple[str, ...] = ("text", "label")
    length: int = 128
    ask: Callable[..., Answers] | None = None


ROLES = ("text", "second", "label", "choices", "graph", "entities")
"""What a column can be: the (first) text, words or question; the second text or the passage; what is asked; options.
`graph` and `entities` are no columns but files about the words of the texts."""


# -- reading: one dict a record of the table -----------------------------------------------------------------------


def class_names(source: Any) -> list[str]:
    """The classes, also of rows without labels."""
    return list(getattr(source.config, "labels", None) or source.labels)


def read_classes(raw: list[np.ndarray], source: Any) -> Answers:
    """The likeliest class and its probability."""
    names = class_names(source)
    return [{"label": names[int(p.argmax())], "probability": float(p.max())} for p in raw]


def read_numbers(raw: list[np.ndarray], source: LabelledTable) -> Answers:
    """The number."""
    return [{"value": float(x)} for x in raw]


def read_tags(raw: list[np.ndarray], source: LabelledTable) -> Answers:
    """A tag for every word; words that the row has no room for are O, or the first tag where there is no O."""
    names = class_names(source)
    filler = "O" if "O" in names else names[0]
    found = []
    for tags, begin, size, record in zip(raw, source.table.begins, source.table.sizes, source.records, strict=True):
        said = [filler] * len(record.value[source.config.text])
        words = source.table.fields["words"][begin : begin + size]
        first = np.flatnonzero((words >= 0) & np.append(True, words[1:] != words[:-1]))
        for place in first:
            said[words[place]] = names[int(tags[place])]
        found.append({"tags": said})
    return found


def read_spans(raw: list[np.ndarray], source: LabelledTable) -> Answers:
    """The best span over all windows of a question, and by how much it beats "no answer".

    An answer begins in the window where its first token has most context (BERT's released code)."""
    table, main = source.table, most_context(source)
    best: Answers = [{"answer": "", "score": -np.inf, "none": np.inf} for _ in source.records]
    for scores, begin, size, owner in zip(raw, table.begins, table.sizes, source.owner, strict=True):
        places = table.fields["passage_spans"][begin : begin + size]
        inside = places[:, 0] >= 0
        begins = np.where(inside & main[begin : begin + size], scores[:size, 0], -np.inf)
        found = best_spans(begins[None], scores[None, :size, 1], inside[None], most=LONGEST_ANSWER)
        known = best[owner]
        known["none"] = min(known["none"], float(scores[0].sum()))
        if found.score[0] > known["score"]:
            passage = source.records[owner].value[source.config.second]
            text = passage[places[found.first[0], 0] : places[found.last[0], 1]]
            known |= {"answer": text, "score": float(found.score[0])}
    return [{"answer": a["answer"], "margin": a["score"] - a["none"]} for a in best]


def most_context(source: LabelledTable) -> np.ndarray:
    """bool, one a token of all windows: of the windows that hold this token of the passage, this one gives it most
    context: the smaller of what stands before and after it, and a little for a longer window."""
    table = source.table
    character = table.fields["passage_spans"][:, 0]
    window = np.repeat(np.arange(len(table)), table.sizes)
    at = np.flatnonzero(character >= 0)  # the passage is one run of each window
    counts = np.bincount(window[at], minlength=len(table))
    place = np.arange(len(at)) - (np.cumsum(counts) - counts)[window[at]]
    size = counts[window[at]]
    context = np.minimum(place, size - 1 - place) + 0.01 * size
    owner = source.owner[window[at]]
    order = np.lexsort((-context, character[at], owner))
    first = np.ones(len(at), bool)
    first[1:] = (np.diff(owner[order]) != 0) | (np.diff(character[at][order]) != 0)
    main = np.zeros(len(character), bool)
    main[at[order[first]]] = True
    return main


def read_choices(raw: list[np.ndarray], source: LabelledTable) -> Answers:
    """The number of the chosen option (from 0), the option, its probability."""
    found = []
    for p, record in zip(raw, source.records, strict=True):
        best = int(p.argmax())
        option = options_of(record, source.config)[best]
        found.append({"choice": best, "option": option, "probability": float(p[best])})
    return found


def read_vectors(raw: list[np.ndarray], source: LabelledTable) -> Answers:
    """The unit vector of each text, and for two texts their cosine."""
    pair = bool(raw) and raw[0].ndim == 2
    return [{"vectors": v.tolist(), "cosine": float(v[0] @ v[1])} if pair else {"vectors": v.tolist()} for v in raw]


def read_blocks(raw: list[np.ndarray], source: Blocks) -> Answers:
    """The blocks that are kept of a long text, in its order, with their scores."""
    decode = source.facts.tokenizer.decode
    return [
        {"blocks": [decode(source.words(text, i)) for i in chosen], "scores": scores[: len(chosen)].tolist()}
        for scores, (text, chosen) in zip(raw, source.shown, strict=True)
    ]


def read_texts(raw: list[np.ndarray], source: LabelledTable) -> Answers:
    """The text that was written."""
    pad = source.facts.pad
    return [{"text": source.facts.tokenizer.decode(ids[ids != pad]).strip()} for ids in raw]


# -- judging -------------------------------------------------------------------------------------------------------


def judge_classes(answers: Answers, source: Any) -> dict[str, float]:
    """Accuracy, macro F1, Matthews correlation."""
    number = {name: i for i, name in enumerate(class_names(source))}
    said = np.array([number[a["label"]] for a in answers])
    return classification(said, _gold(source), classes=len(number))


def judge_numbers(answers: Answers, source: LabelledTable) -> dict[str, float]:
    """Pearson, Spearman, squared error."""
    return regression(np.array([a["value"] for a in answers]), _gold(source))


def judge_tags(answers: Answers, source: LabelledTable) -> dict[str, float]:
    """Accuracy over all words, F1 of entities."""
    gold = [[str(tag) for tag in r.value[source.config.label]] for r in source.records]
    return tagging([a["tags"] for a in answers], gold, names=source.labels)


def judge_spans(answers: Answers, source: LabelledTable) -> dict[str, float]:
    """Exact match and F1 against the best of the references."""
    gold = [[text for text, _ in answers_of(r, source.config)] for r in source.records]
    some_without = any(not g for g in gold)
    said = [a["answer"] if a["margin"] > 0 or not some_without else "" for a in answers]
    return score(said, gold)


def judge_choices(answers: Answers, source: LabelledTable) -> dict[str, float]:
    """Accuracy, and what guessing would get."""
    right = np.array([a["choice"] for a in answers]) == _gold(source)
    options = len(options_of(source.records[0], source.config))
    return {"accuracy": float(right.mean()), "chance": 1 / options}


def judge_vectors(answers: Answers, source: LabelledTable) -> dict[str, float]:
    """With scores: correlation of cosines with them. Without: how often a text finds its partner among all."""
    if source.label is not None:
        return regression(np.array([a["cosine"] for a in answers]), _gold(source))
    import torch

    vectors = torch.tensor([a["vectors"] for a in answers])
    found = retrieval(vectors[:, 0], vectors[:, 1], np.arange(len(vectors)))["text_to_image"]
    return {k: v for k, v in found.items() if k.startswith(("recall", "median"))}


def judge_blocks(answers: Answers, source: Blocks) -> dict[str, float]:
    """How often all of the answer's block, or blocks, were kept, of the texts that have an answer.

    Raises InputError where answers are not spans of the text."""
    held = [(source.crucial(text), chosen) for text, chosen in source.shown]
    asked = [np.isin(np.flatnonzero(crucial), chosen).all() for crucial, chosen in held if crucial.any()]
    if not asked:
        raise InputError("evaluate: a judge of relevance is judged by answers that are spans of the texts (span_qa)")
    return {"kept": float(np.mean(asked)), "n": float(len(asked))}


def judge_walks(answers: Answers, source: Paragraphs) -> dict[str, float]:
    """Exact match and F1 of the answers."""
    return score([a["answer"] for a in answers], [[str(story.answer)] for story in source.stories])


def judge_texts(answers: Answers, source: LabelledTable) -> dict[str, float]:
    """BLEU, chrF, ROUGE and exact match against the references."""
    gold = [r.value[source.config.label] for r in source.records]
    references = [[g] if isinstance(g, str) else [str(x) for x in g] for g in gold]
    said = [a["text"] for a in answers]
    return bleu(said, references) | rouge(said, references) | {"exact_match": matches(said, references)}


def _gold(source: Any) -> np.ndarray:
    if source.label is None:
        raise InputError(f"{source.store.path}: these rows have no labels to judge by\n  next: `predict` needs none")
    return np.asarray(source.label)


TASKS: dict[str, Kind] = {
    "classify": Kind("classify", "text", "accuracy", read_classes, judge_classes),
    "classify_pair": Kind(
        "classify_pair", "text", "accuracy", read_classes, judge_classes, needs=("text", "second", "label")
    ),
    "regress": Kind("regress", "text", "spearman", read_numbers, judge_numbers, target="number"),
    "tag": Kind("tag", "words", "f1", read_tags, judge_tags),
    "span_qa": Kind("span_qa", "span", "f1", read_spans, judge_spans, needs=("text", "second", "label"), length=384),
    "choice": Kind("choice", "choice", "accuracy", read_choices, judge_choices, needs=("text", "choices", "label")),
    "embed": Kind(
        "embed", "separate", "spearman", read_vectors, judge_vectors, target="number", needs=("text", "second")
    ),
    "image_label": Kind("image_label", "", "accuracy", read_classes, judge_classes, needs=()),
    "relevance": Kind("relevance", "text", "kept", read_blocks, judge_blocks),
    "hops": Kind("hops", "", "f1", None, judge_walks, length=512, ask=ask),
    "text_to_text": Kind("seq2seq", "generate", "rougeL", read_texts, judge_texts),
}


JUDGE = "relevance"
"""Taught together with the task whose texts it judges, never alone."""


def task_kind(name: str) -> Kind:
    """The task of that name. Raises InputError naming the nearest."""
    if name not in TASKS:
        raise InputError(unknown(f"--task {name}", "task", name, TASKS.keys() - {JUDGE}))
    return TASKS[name]


def known_columns(task: str, columns: dict[str, str | Sequence[str]] | None) -> dict[str, Any]:
    """The columns of a table by role. Raises InputError for a role that does not exist and one the task needs."""
    given = dict(columns or {})
    for role in given:
        if role not in ROLES:
            raise InputError(unknown(f"--column {role}={given[role]}", "role of a column", role, ROLES))
    kind = task_kind(task)
    for role in kind.needs:
        if role not in given and role in ("second", "choices"):
            raise InputError(f"--task {task}: needs a column for {role!r}\n  next: --column {role}=COLUMN")
    if isinstance(given.get("choices"), str):
        given["choices"] = given["choices"].split(",")  # type: ignore[union-attr]
    return given
