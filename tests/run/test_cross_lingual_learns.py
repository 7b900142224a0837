"""What multilingual systems learn of a cipher in a minute: words that lie near their translations, translation from few
pairs, writing in the language asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modeledge.core import Batch, find
from modeledge.data.prepare import prepare
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import predict
from modeledge.run.pretrain import pretrain
from modeledge.tokenizers import load_tokenizer

SMALL = ["backbone.width=64", "backbone.heads=2", "backbone.ffn.width=128", "loop.batch=32", "loop.precision=fp32"]
FAST = {"loop.evaluate.batches": 2, "optim.lr": 3e-3}


def sentences(n, seed, topics, size):
    """Sentences of six words of one topic of `size` words, each at most three places after the last in its round."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        topic, at = int(rng.integers(topics)), int(rng.integers(size))
        words = []
        for _ in range(6):
            at = (at + int(rng.integers(1, 4))) % size
            words.append(topic * size + at)
        yield words


def say(words, lang):
    return " ".join(f"{lang}{w}" for w in words)


def write(file, rows):
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """home(topics, size): a folder with text of both languages, pairs, and two tables: translations, and sentences with
    their first and last word."""

    def make(*shape):
        home, text = tmp_path_factory.mktemp("ciphers"), []
        for i in range(600):
            said = [say(words, "ab"[i % 2]) + " ." for words in sentences(4, 100 + i, *shape)]
            text.append({"text": " ".join(said), "lang": "ab"[i % 2]})
        write(home / "text.jsonl", text)
        write(home / "pairs.jsonl", [{"a": say(w, "a"), "b": say(w, "b")} for w in sentences(1000, 1, *shape)])
        for name, seed, n in (("train", 2, 500), ("valid", 3, 100)):
            rows = []
            for w in sentences(n, seed, *shape):
                ends = {f"{lang}_ends": say([w[0], w[-1]], lang) for lang in "ab"}
                rows.append({"a": say(w, "a"), "b": say(w, "b"), **ends})
            write(home / f"task.{name}.jsonl", rows)
        return home

    return make


def stores(home, kind, **settings):
    text, pairs = home / f"{kind}_text", home / f"{kind}_pairs"
    if not text.exists():
        config = find("tokenizers", kind).Config(kind=kind, vocab=200, **settings)
        prepare([str(home / "text.jsonl")], out=text, tokenizer=config, lang="lang", processes=1)
        columns = {"text": "a", "second": "b", "tokenizer": load_tokenizer(text)}
        prepare([str(home / "pairs.jsonl")], out=pairs, kind="parallel", processes=1, **columns)
    return text, pairs


def train(recipe, data, out, *sets):
    told = [f"{k}={v}" for k, v in FAST.items()]
    pretrain(recipe, data=data, out=out, size="tiny", sets=[*SMALL, *told, *sets], quiet=True)
    return out


def aligned(folder, table, topics, size):
    """The share of words of A whose nearest word of B, by the mean of their states, belongs to the same topic."""
    loaded = load_model(folder)
    tokenizer, width = loaded.facts.tokenizer, loaded.model.backbone.width
    sums = torch.zeros(loaded.facts.vocab, width)
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for number, lang in enumerate("ab"):
        ids = torch.from_numpy(np.stack(tokenizer.encode_batch([r[lang] for r in rows]))).long()
        with torch.no_grad():
            states = loaded.model.backbone(Batch(ids=ids, lang=torch.full_like(ids, number))).states
        sums.index_add_(0, ids.flatten(), states.flatten(0, 1))
    place = {lang: [int(tokenizer.encode_batch([f"{lang}{w}"])[0][0]) for w in range(topics * size)] for lang in "ab"}
    one, two = (F.normalize(sums[place[lang]] - sums[place[lang]].mean(0), dim=-1) for lang in "ab")
    return float(((one @ two.T).argmax(1) // size == torch.arange(len(one)) // size).float().mean())


@pytest.mark.slow
def test_switched_phrases_bring_the_topics_of_two_languages_together_at_equal_steps(home, tmp_path):
    """The words of a topic are alike to a model that has seen no other text, so words tell topics, not each other."""
    home = home(9, 4)
    text, pairs = stores(home, "word")
    sets = ["loop.steps=800", "data.text.length=16", "tokenizer.kind=word", "optim.lr=5e-3"]
    plain = train("xlm", [str(text)], tmp_path / "xlm", *sets)
    sets += ["data.switched.length=16", "data.switched.rate=0.5", "mix.rates={mlm: 0.1, alm: 1}"]
    switched = train("alm", [f"text={text}", f"switched={pairs}"], tmp_path / "alm", *sets)
    found = [aligned(folder, home / "task.valid.jsonl", 9, 4) for folder in (plain, switched)]
    assert found[1] > 0.8 and found[1] > found[0] + 0.4, found


@pytest.mark.slow
def test_five_hundred_pairs_teach_more_to_mbart_than_to_fresh_weights(home, tmp_path):
    home = home(3, 12)
    text, _ = stores(home, "unigram", family="mbart", languages=2)
    folder = train("mbart", [str(text)], tmp_path / "m", "loop.steps=500", "data.text.length=32")
    question = Question("text_to_text", home / "task.train.jsonl", columns={"text": "a", "label": "b"}, length=24)
    found = []
    for scratch in (False, True):
        sets = ("objectives.0.start.langs=[0,1]",)
        tuning = Tuning(epochs=100, most=150, lr=2e-3, scratch=scratch, sets=sets)
        found.append(finetune(folder, question, tuning, quiet=True).figures[0]["bleu"])
    assert found[0] > 80 and found[0] > found[1] + 30


@pytest.mark.slow
def test_xnlg_writes_the_language_it_is_told_also_after_a_task_in_another(home, tmp_path):
    """Only the encoder's blocks learn the task, so the decoder forgets no language."""
    home = home(3, 12)
    text, pairs = stores(home, "word")
    data = [f"{n}={text}" for n in ("text", "lines")] + [f"{n}={pairs}" for n in ("pairs", "there", "back")]
    lengths = [f"data.{n}.length=24" for n in ("text", "lines", "pairs", "there", "back")]
    folder = train("xnlg", data, tmp_path / "x", "loop.steps=500", "tokenizer.kind=word", *lengths)
    question = Question("text_to_text", home / "task.train.jsonl", columns={"text": "a", "label": "a_ends"}, length=16)
    rest = "loop.frozen=[backbone.decoder,backbone.encoder.embedding,backbone.encoder.positions]"
    tuning = Tuning(epochs=100, most=200, lr=2e-3, sets=("objectives.0.start.langs=[0,0]", rest))
    finetune(folder, question, tuning, out=tmp_path / "a", quiet=True)
    share = {}
    for langs in ((0, 0), (0, 1), (1, 1)):
        loaded = load_model(tmp_path / "a", sets=[f"objectives.0.start.langs={list(langs)}"])
        answers = predict(loaded, home / "task.valid.jsonl", columns={"text": "ab"[langs[0]]})
        share[langs] = np.mean([w[0] == "b" for a in answers for w in a["text"].split()])
    assert share[0, 0] < 0.1 and share[0, 1] > 0.7 and share[1, 1] > 0.7
