"""Texts marked by models: the words a classifier decides by, as rows a tagger is taught with, and what a tagger finds
in texts, as marks that `prepare` reads.

Source: Gu et al., arXiv:2004.09733, and the released code: a text is read sentence by sentence, and a sentence
that the classifier gets wrong has no important word. Here a word is judged whole, where the code judges its pieces, and
any word can be important, where the code leaves English stop words out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from modeledge.analysis.importance import important
from modeledge.core import Batch, DataError, InputError, keyed
from modeledge.data._split import split_sentences
from modeledge.data.readers import Wanted
from modeledge.data.sources._forms import tag_words
from modeledge.data.sources._rows import Rows
from modeledge.data.sources._table_forms import flat
from modeledge.data.tables import Table
from modeledge.engine.device import choose_device
from modeledge.objectives import Objective
from modeledge.run.answer import Texts, answers, data_of, open_for, rows_for, task_of
from modeledge.run.keep import Loaded
from modeledge.run.tasks import Answers

IMPORTANT, OTHER = "important", "O"
TOGETHER = 256
"""Sentences that are judged at the same time."""


class Sentence(NamedTuple):
    """A sentence of a text: the number of the text, its ids, the word each is of (-1: none), the words themselves and
    where they stand in the text."""

    text: int
    ids: Int[np.ndarray, " t"]
    words: Int[np.ndarray, " t"]
    said: list[str]
    spans: Int[np.ndarray, "w 2"]


def sentences_of(tokenizer: Any, texts: Sequence[str], *, length: int) -> list[Sentence]:
    """The sentences of texts that have a word, cut into words where the tokenizer says so; one that is too long for a
    row of `length` tokens comes in several parts."""
    frame = tokenizer.frame()
    room = length - len(frame.before) - len(frame.after)
    pieces: list[str] = []
    places: list[tuple[int, int]] = []  # the text of each piece, and where it begins there
    for number, text in enumerate(texts):
        found = split_sentences(text)
        at = text.find(found[0]) if found else 0
        for piece in found:
            pieces.append(piece)
            places.append((number, at))
            at += len(piece)
    made = []
    for (number, first), encoded in zip(places, tokenizer.encode_spans(pieces), strict=True):
        for begin, end in parts_of(encoded.word_starts, room):
            ids, spans = encoded.ids[begin:end], encoded.spans[begin:end] + first
            starts = np.append(True, encoded.word_starts[begin + 1 : end])
            made += words_of(number, texts[number], ids, starts, spans)
    return made


def parts_of(starts: Bool[np.ndarray, " t"], most: int) -> Iterator[tuple[int, int]]:
    """Begin and end of parts of at most `most` tokens, between words if a part has more than one."""
    begin = 0
    while begin < len(starts):
        end = min(begin + most, len(starts))
        if end < len(starts):
            between = np.flatnonzero(starts[begin + 1 : end + 1])
            end = begin + 1 + int(between[-1]) if len(between) else end
        yield begin, end
        begin = end


def words_of(
    number: int, text: str, ids: Int[np.ndarray, " t"], starts: Bool[np.ndarray, " t"], spans: Int[np.ndarray, "t 2"]
) -> list[Sentence]:
    """The sentence that these tokens are; none if no word is more than blanks."""
    begins, ends = spans[starts, 0], spans[np.append(starts[1:], True), 1]
    said = [text[a:b] for a, b in zip(begins, ends, strict=True)]
    begins = begins + [len(word) - len(word.lstrip()) for word in said]
    real = np.array([bool(word.strip()) for word in said], bool)
    words = np.where(real, np.cumsum(real) - 1, -1)[np.cumsum(starts) - 1]
    made = Sentence(number, ids, words, [w.strip() for w in said if w.strip()], np.stack([begins, ends], axis=1)[real])
    return [made] if made.said else []


class Judge:
    """A classifier that is shown some words of sentences."""

    def __init__(self, loaded: Loaded, name: str, sentences: Sequence[Sentence], *, length: int, device: str):
        self.facts, self.device = loaded.facts, choose_device(device)
        self.model = loaded.model.to(self.device).eval()
        self.objective: Objective = self.model.objectives[name]  # type: ignore[assignment]
        tokenizer, nothing = loaded.facts.tokenizer, np.zeros(1, np.int64)
        made = [tag_words(tokenizer, s, np.repeat(nothing, len(s.said)), length)[0] for s in sentences]
        self.rows = Rows(made, {"ids": loaded.facts.pad, "special": 1, "word_starts": 1, "words": -1})
        self.sizes = np.array([row["words"].max(initial=-1) + 1 for row in made], np.int64)
        del self.rows.fields["labels"]

    @torch.no_grad()
    def __call__(self, index: Int[np.ndarray, " n"], shown: Bool[np.ndarray, "n w"]) -> Float[np.ndarray, "n c"]:
        """The probability of each class of the sentences `index` when of their words only these are shown."""
        batch = self.rows.pad(index, int(self.rows.sizes[index].max()))
        take = np.take_along_axis(shown, np.maximum(batch.words, 0), axis=1) | (batch.words < 0)
        batch = only(batch, take & batch.get("valid", True), pad=self.facts.pad)
        objective = self.objective
        tensors = objective.finish(objective.view(batch, keyed("judge"))).tensors(self.device)
        found = objective.predict(objective.run(self.model.backbone, tensors), tensors)  # type: ignore[operator]
        return found.float().cpu().numpy()


def only(batch: Batch, take: Bool[np.ndarray, "b t"], *, pad: int) -> Batch:
    """Rows of the chosen tokens alone, moved together, as wide as the longest up to a multiple of 8."""
    sizes = take.sum(axis=1)
    width = min(-(-int(sizes.max()) // 8) * 8, take.shape[1])
    order = np.argsort(~take, axis=1, kind="stable")[:, :width]
    valid = np.arange(width) < sizes[:, None]
    moved = Batch({k: np.take_along_axis(v, order, axis=1) for k, v in batch.items() if k != "words"})
    moved = moved.but(ids=np.where(valid, moved.ids, pad), special=moved.special | ~valid)
    return moved.but(valid=None if valid.all() else valid)


def important_words(
    loaded: Loaded,
    data: str | Path,
    *,
    threshold: float,
    task: str | None = None,
    columns: dict[str, Any] | None = None,
    device: str = "auto",
) -> list[dict[str, list[str]]]:
    """For each sentence of labelled texts its words (`text`) and whether a classifier decides by them (`label`:
    important or O): rows for `finetune --task tag`.

    Raises InputError for a model that was not taught to tell the classes of single texts, DataError for wrong rows."""
    taught, name = task_of(loaded.model, task)
    store = open_for(loaded, data)
    _, config = data_of(loaded, task)
    given = [role for role in ("second", "graph", "entities") if getattr(config, role, None)]
    if taught != "classify" or given or not isinstance(store, Table):
        raise InputError(
            "--importance: asks a classifier of single texts (--task classify) about rows of a table\n"
            f"  found: {data} and a model taught {taught}{''.join(f', {role}' for role in given)}"
        )
    source = rows_for(loaded, store, task=task, columns=columns)
    texts = [flat(record.value[source.config.text]) for record in source.records]
    sentences = sentences_of(loaded.facts.tokenizer, texts, length=source.config.length)
    judge = Judge(loaded, name, sentences, length=source.config.length, device=device)
    labels = source.label[[sentence.text for sentence in sentences]]
    rows: list[dict[str, list[str]]] = [{"text": s.said, "label": [OTHER] * len(s.said)} for s in sentences]
    order = np.argsort(-judge.sizes, kind="stable")
    for first in range(0, len(order), TOGETHER):
        group = order[first : first + TOGETHER]
        everything = np.arange(judge.sizes[group].max()) < judge.sizes[group][:, None]
        group = group[judge(group, everything).argmax(1) == labels[group]]
        if not len(group):
            continue
        found = important(
            judge.sizes[group],
            lambda index, shown, group=group: judge(group[index], shown)[np.arange(len(index)), labels[group[index]]],
            threshold=threshold,
        )
        for place, row in zip(group, found, strict=True):
            for word in np.flatnonzero(row):
                rows[place]["label"][word] = IMPORTANT
    return rows


def plain_texts(loaded: Loaded, store: Table | Texts, *, task: str | None, columns: dict[str, Any] | None) -> list[str]:
    """The texts of a table for a model of words, if they come as texts; none if they come as lists of words.

    Raises DataError if they come as both."""
    _, config = data_of(loaded, task)
    name = (columns or {}).get("text", config.text)
    records = store.read(Wanted({name: (str, list)}))
    kind = type(records[0].value[name])
    for record in records:
        if not isinstance(record.value[name], kind):
            raise DataError(f"{record.file}:{record.line}: field {name!r}: texts and lists of words in one table")
    return [record.value[name] for record in records] if kind is str else []


def mark_texts(loaded: Loaded, texts: Sequence[str], *, task: str | None = None, device: str = "auto") -> Answers:
    """What a model of words finds in texts: each `text` with `marks`, the characters [begin, end] of every word or run
    of words with a tag other than O, and their `tags` (without B- and I-, which tell where one begins)."""
    _, config = data_of(loaded, task)
    sentences = sentences_of(loaded.facts.tokenizer, texts, length=config.length)
    found: Answers = [{"text": text, "marks": [], "tags": []} for text in texts]
    if not sentences:
        return found
    rows = Texts([{config.text: sentence.said} for sentence in sentences])
    source = rows_for(loaded, rows, task=task, target="none")
    for sentence, said in zip(sentences, answers(loaded, source, task=task, device=device), strict=True):
        row, before = found[sentence.text], OTHER
        for tag, (begin, end) in zip(said["tags"], sentence.spans.tolist(), strict=True):
            name = tag.removeprefix("B-").removeprefix("I-")
            if tag != OTHER and name == before and not tag.startswith("B-"):
                row["marks"][-1][1] = end
            elif tag != OTHER:
                row["marks"].append([begin, end])
                row["tags"].append(name)
            before = name
    return found
