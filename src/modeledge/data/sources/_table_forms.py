"""The forms of a table's rows: which columns are read, and how records become rows of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from modeledge.core import IGNORE, DataError
from modeledge.data.readers import Record
from modeledge.data.sources._forms import Row, find_span, frame_texts, passage_windows, tag_words

ANY = (str, int, float, bool)


class Encoded(NamedTuple):
    """rows, the record each comes from, further fields one value a row, rows of the target texts, rows cut short."""

    rows: list[Row]
    owners: list[int]
    extra: dict[str, list[int]] = {}
    targets: list[Row] = []
    truncated: int = 0


class Reader(NamedTuple):
    """What the forms need: settings, tokenizer, and the number of a class (called with the record and the name)."""

    config: Any
    tokenizer: Any
    number: Callable[[Record, Any], int]

    def encode(self, records: Sequence[Record], column: str) -> list[np.ndarray]:
        """One column of some records as ids; a prepared table has them already."""
        if records and isinstance(records[0].value[column], np.ndarray):
            return [r.value[column] for r in records]
        return self.tokenizer.encode_batch([flat(r.value[column]) for r in records])

    def frame(self, texts: Sequence[Sequence[np.ndarray]]) -> tuple[list[Row], int]:
        """Framed rows of one or two texts each, and how many were cut."""
        made = [frame_texts(self.tokenizer, parts, self.config.length) for parts in texts]
        return [row for row, _ in made], sum(lost > 0 for _, lost in made)


def wanted_columns(config: Any) -> tuple[dict[str, tuple[type, ...]], tuple[str, ...]]:
    """Columns to read with their types, and which of them may be absent."""
    form = config.form
    columns: dict[str, tuple[type, ...]] = {config.text: (list,) if form == "words" else (str, list)}
    columns |= {name: (str, list) for name in (config.second, *config.choices) if name}
    label = {"words": (list,), "span": (str, list, dict), "generate": (str, list)}.get(form, ANY)
    optional: tuple[str, ...] = ()
    if config.target != "none":
        columns[config.label] = label
        optional = ("starts",) if form == "span" else ()
        columns |= {name: (list, int, str) for name in optional}
    return columns, optional


def encode_text(reader: Reader, records: Sequence[Record]) -> Encoded:
    """One text, or two in one row."""
    columns = [reader.encode(records, name) for name in (reader.config.text, reader.config.second) if name]
    rows, cut = reader.frame(list(zip(*columns, strict=True)))
    return Encoded(rows, list(range(len(rows))), truncated=cut)


def encode_both(reader: Reader, records: Sequence[Record]) -> Encoded:
    """A pair whose order means nothing, in either order, a row each."""
    if reader.config.second is None:
        raise DataError("data: form: both reads two texts; name the other column with `second`")
    columns = [reader.encode(records, name) for name in (reader.config.text, reader.config.second)]
    rows, cut = reader.frame([pair for a, b in zip(*columns, strict=True) for pair in ([a, b], [b, a])])
    return Encoded(rows, list(range(len(records))), truncated=cut)


def encode_separate(reader: Reader, records: Sequence[Record]) -> Encoded:
    """Two texts, a row each."""
    if reader.config.second is None:
        raise DataError("data: form: separate reads two texts; name the other column with `second`")
    columns = [reader.encode(records, name) for name in (reader.config.text, reader.config.second)]
    rows, cut = reader.frame([[text] for pair in zip(*columns, strict=True) for text in pair])
    return Encoded(rows, list(range(len(records))), truncated=cut)


def options_of(record: Record, config: Any) -> list[str]:
    """The options of a record. Raises DataError if there are fewer than two."""
    options = [record.value[name] for name in config.choices]
    if len(options) == 1 and isinstance(options[0], list):
        options = options[0]
    if len(options) < 2:
        raise DataError(f"{record.file}:{record.line}: {len(options)} options; name their columns with `choices`")
    return options


def encode_choice(reader: Reader, records: Sequence[Record]) -> Encoded:
    """The context with each option, a row each."""
    cfg, texts, counts = reader.config, [], set()
    for record in records:
        context = " ".join(flat(record.value[name]) for name in (cfg.text, cfg.second) if name)
        first, *rest = reader.tokenizer.encode_batch([context, *options_of(record, cfg)])
        texts += [[first, option] for option in rest]
        counts.add(len(rest))
        if len(counts) > 1:
            raise DataError(f"{record.file}:{record.line}: {len(rest)} options, but rows before it have another number")
    rows, cut = reader.frame(texts)
    return Encoded(rows, list(range(len(records))), truncated=cut)


def encode_words(reader: Reader, records: Sequence[Record]) -> Encoded:
    """Words with a tag each."""
    cfg, rows, cut = reader.config, [], 0
    encoded = reader.tokenizer.encode_words([r.value[cfg.text] for r in records])
    for record, words in zip(records, encoded, strict=True):
        count = len(record.value[cfg.text])
        numbers = np.full(count, IGNORE)
        if cfg.target != "none":
            tags = record.value[cfg.label]
            if len(tags) != count:
                raise DataError(f"{record.file}:{record.line}: {count} words but {len(tags)} tags")
            numbers = np.array([reader.number(record, tag) for tag in tags], np.int64)
        row, lost = tag_words(reader.tokenizer, words, numbers, cfg.length)
        rows.append(row)
        cut += lost > 0
    return Encoded(rows, list(range(len(rows))), truncated=cut)


def answers_of(record: Record, config: Any) -> list[tuple[str, int]]:
    """The answers of a record, each with the character of the passage it begins at; none: not answerable.

    Columns as in SQuAD: answers and starts, or one object with `text` and `answer_start`; without starts an answer
    stands where the passage has it first. Raises DataError for one that does not stand there, or nowhere."""
    texts, starts = record.value[config.label], record.value.get("starts")
    if isinstance(texts, dict):
        texts, starts = texts.get("text", []), texts.get("answer_start")
    texts = [texts] if isinstance(texts, str) else texts
    passage = record.value[config.second]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        wanted = f"field {config.label!r}: expected an answer or a list of answers"
        raise DataError(f"{record.file}:{record.line}: {wanted}, found {str(texts)[:40]}")
    if starts is None:
        starts = [passage.find(text) for text in texts]
    starts = starts if isinstance(starts, list) else [starts]
    if len(texts) != len(starts):
        raise DataError(f"{record.file}:{record.line}: {len(texts)} answers but {len(starts)} starts")
    found = [(text, int(start)) for text, start in zip(texts, starts, strict=True) if text]
    for text, start in found:
        if start < 0 or passage[start : start + len(text)] != text:
            where = f"at character {start}" if start >= 0 else "in the passage; leave it empty if there is none"
            raise DataError(f"{record.file}:{record.line}: the answer {text[:40]!r} does not stand {where}")
    return found


def encode_span(reader: Reader, records: Sequence[Record]) -> Encoded:
    """A question with the windows of its passage."""
    cfg = reader.config
    if cfg.second is None:
        raise DataError("data: form: span reads a question and a passage; name the passage's column with `second`")
    questions = reader.tokenizer.encode_spans([r.value[cfg.text] for r in records])
    passages = reader.tokenizer.encode_spans([r.value[cfg.second] for r in records])
    made = Encoded([], [], {"begins": [], "ends": []})
    for number, record in enumerate(records):
        windows = passage_windows(reader.tokenizer, questions[number], passages[number], cfg.length, cfg.stride)
        answers = answers_of(record, cfg) if cfg.target != "none" else []
        for window in windows:
            text, start = answers[0] if answers else ("", -1)
            begin, end = find_span(window["passage_spans"], start, start + len(text)) if answers else (0, 0)
            made.extra["begins"].append(begin)
            made.extra["ends"].append(end)
        made.rows.extend(windows)
        made.owners.extend([number] * len(windows))
    return made


def encode_generate(reader: Reader, records: Sequence[Record]) -> Encoded:
    """A text and the text to make of it (the first, if several would do), which ends with eos."""
    made = encode_text(reader, records)
    if reader.config.target == "none":
        return made
    special = reader.tokenizer.special
    end = [special[role] for role in ("eos", "sep") if role in special][:1]
    wanted = [r.value[reader.config.label] for r in records]
    encoded = reader.tokenizer.encode_batch([w if isinstance(w, str) else next(iter(w), "") for w in wanted])
    room = reader.config.length - len(end)
    targets = [{"ids": np.append(ids[:room], np.array(end, np.int32))} for ids in encoded]
    return made._replace(targets=targets)


FORMS = {
    "text": encode_text,
    "both": encode_both,
    "separate": encode_separate,
    "choice": encode_choice,
    "words": encode_words,
    "span": encode_span,
    "generate": encode_generate,
}


def flat(value: str | list[str]) -> str:
    """A text, or the texts of a list with blanks between them."""
    return value if isinstance(value, str) else " ".join(map(str, value))
