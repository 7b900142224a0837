"""The texts, tables and graphs of `first_minute.py`: which real files each recipe's sources read, and how.

Everything comes from the data folder; what is derived (dialogues, titled passages, names) is written once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

TONGUES = ("en", "de", "fr", "cs")
CHINESE = "bert_wwm_zh nezha".split()
LANGUAGES = "mbert xlm xlm_clm xlm_r mbart".split()
PARALLEL = "xlm_tlm alm unicoder infoxlm hictl ernie_m xnlg transformer cove ramachandran".split()
TITLED = "wlp".split()
MARKED = {"ernie": ("entities", "phrases"), "ernie2": ("entities", "capitals"), "realm": ("entities",)}
MARKED |= {"ernie_thu": ("entities", "vectors"), "selective": ("marks",)}
"""Recipes whose text has mentions marked in it, and by which options of `prepare`."""
SIDES = {"source": "en", "target": "de"}
"""Sources that are one side of translations, whose tokenizer is trained on both."""
SPEECH = re.compile(r'^"[^"]+"')


@dataclass
class Read:
    """What a source of a recipe reads: a file, and how `prepare` is to read it (raw: it is read as it is)."""

    file: str
    options: dict[str, Any] = field(default_factory=dict)
    raw: bool = False


def reads_of(name: str, source: str, kind: str, vectors: Path) -> Read:
    """The file for a source of the recipe `name` that reads stores of this kind; `vectors` is a model of the graph."""
    if kind == "table":
        return Read(f"{source}.train.jsonl", raw=True)
    if kind == "triples":
        described = {"descriptions": "descriptions.tsv"} if name == "kepler" else {}
        return Read("facts.tsv", described)
    if kind == "fields":
        return Read("records.jsonl", {"fields": ["title", "work", "text"]})
    if kind == "parallel":
        return Read("questions.jsonl" if name.startswith("rag") else "parallel.jsonl", {"second": "second"})
    if source == "dialogues":
        return Read("dialogues.jsonl", {"entities": "entities.tsv", "phrases": "phrases.txt"})
    if name in LANGUAGES or name in PARALLEL:
        alone = SIDES.get(source)
        return Read(f"{alone}.jsonl") if alone else Read("languages.jsonl", {"lang": "lang"})
    marks: dict[str, Any] = {
        "entities": "entities.tsv",
        "phrases": "phrases.txt",
        "vectors": vectors,
        "capitals": True,
        "marks": "marks",
    }
    base = "chinese" if name in CHINESE else "titled" if name in TITLED else "english"
    return Read(f"{base}.jsonl", {option: marks[option] for option in MARKED.get(name, ())})


def write_files(data: Path, out: Path) -> None:
    """Every file that `reads_of` names, once."""
    out.mkdir(parents=True, exist_ok=True)
    rows = lambda name: pq.read_table(data / f"{name}.parquet").to_pylist()  # noqa: E731
    passages, captions = rows("text/en_wiki_passages.train"), rows("parallel/multi30k.train")
    names = {r["id"]: r["name"] for r in rows("kg/fb15k237_entities")}
    relations = {r["id"]: r["name"] for r in rows("kg/fb15k237_relations")}
    parts: dict[str, Iterable[Any]] = {
        "english.jsonl": ({"text": r["text"], "marks": capitals(r["text"])} for r in passages),
        "titled.jsonl": ({"text": f"{r['title']}\n{r['text']}"} for r in passages),
        "chinese.jsonl": ({"text": r["text"]} for r in rows("text/zh_general.train")),
        "languages.jsonl": (together(c, lang) | {"lang": lang} for lang in TONGUES for c in some(captions)),
        "en.jsonl": (together(c, "en") for c in some(captions)),
        "de.jsonl": (together(c, "de") for c in some(captions)),
        "parallel.jsonl": (
            {"text": row["en"], "second": row["de"], "lang": "en", "second_lang": "de"} for row in captions
        ),
        "questions.jsonl": ({"text": r["question"], "second": r["answers"][0]} for r in rows("en/qa_tydi.train")),
        "dialogues.jsonl": ({"text": turns} for r in rows("text/en_books.train") for turns in dialogues(r["text"])),
        "records.jsonl": (
            {"title": r["title"], "work": r["work"], "text": r["text"].split("\n")[1:2]}
            for r in rows("text/en_textbooks.train")
        ),
        "facts.tsv": (
            f"{names[r['head']]}\t{relations[r['relation']]}\t{names[r['tail']]}" for r in rows("kg/fb15k237.train")
        ),
        "entities.tsv": (f"{name}\t{name}" for name in dict.fromkeys(names.values())),
        "descriptions.tsv": (
            f"{name}\t{name}: {text}"
            for name, text in {r["name"]: r["description"] for r in rows("kg/fb15k237_entities")}.items()
        ),
        "phrases.txt": dict.fromkeys(r["title"] for r in passages if 1 < len(r["title"].split()) < 6),
    }
    for name, every in tables(rows).items():
        parts[f"{name}.train.jsonl"], parts[f"{name}.valid.jsonl"] = (
            every[: -len(every) // 10],
            every[-len(every) // 10 :],
        )
    for name, lines in parts.items():
        if not (out / name).exists():
            text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
            (out / name).write_text(text, encoding="utf-8")


def tables(rows: Callable[[str], list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The labelled tables, of which a tenth is held out."""
    return {
        "relevance": list(relevance(rows("en/hotpotqa_sample"))),
        "sentence": [{"text": r["text"], "label": r["label"]} for r in rows("en/sst2.train")],
        "pair": [{"text": r["text1"], "second": r["text2"], "label": r["label"]} for r in rows("en/sick.train")],
        "similarity": [{"text": r["en1"], "second": r["en2"], "label": r["score"]} for r in rows("en/stsb.train")],
        "ranking": [
            {
                "text": f"{r['context']} {r['question']}",
                "choices": [r["a"], r["b"], r["c"]],
                "label": "ABC".index(r["label"]),
            }
            for r in rows("en/siqa")
        ],
    }


def some(captions: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Captions eight at a time: a document."""
    return (captions[i : i + 8] for i in range(0, len(captions), 8))


def together(captions: list[dict[str, Any]], lang: str) -> dict[str, str]:
    """The captions of one language, a line each."""
    return {"text": "\n".join(row[lang] for row in captions)}


def capitals(text: str) -> list[list[int]]:
    """The characters [begin, end] of the words that begin with a capital inside a sentence: mostly names."""
    return [list(m.span(1)) for m in re.finditer(r"(?<=[a-z,] )([A-Z]\w+)", text)]


def dialogues(text: str) -> Iterator[str]:
    """Runs of at least three paragraphs that begin with speech, a turn a line (what is said first in each)."""
    run: list[str] = []
    for paragraph in [*text.split("\n"), ""]:
        said = SPEECH.match(paragraph)
        if said:
            run.append(said.group().strip('"'))
            continue
        if len(run) >= 3:
            yield "\n".join(run)
        run = []


def relevance(questions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A question with a paragraph that it needs (2), one that was retrieved for it (1), one of another question (0)."""
    whole = lambda q, nth: " ".join(q["sentences"][nth])  # noqa: E731
    for question, other in zip(questions, questions[1:] + questions[:1], strict=True):
        for nth, title in enumerate(question["titles"]):
            label = 2 if title in question["support_titles"] else 1
            yield {"text": question["question"], "second": whole(question, nth), "label": label}
        for nth in range(min(4, len(other["titles"]))):
            yield {"text": question["question"], "second": whole(other, nth), "label": 0}
