"""From one language to another with ciphers and with real text: translation by fine-tuning, tasks that no row of the
second language taught."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.core import InputError, RecipeError, find
from modeledge.data.prepare import prepare
from modeledge.run.checkpoint import own_tensors
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model, predict
from modeledge.run.pretrain import pretrain
from modeledge.run.setting import Setting

pytestmark = pytest.mark.contract  # whole stories of verbs

TOPICS, WORDS = 3, 12
SMALL = ["backbone.width=64", "backbone.heads=2", "backbone.ffn.width=128", "loop.batch=16", "loop.precision=fp32"]


def sentences(n, seed):
    """Sentences of six words, most of one topic: numbers of words and the topic."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        topic = int(rng.integers(TOPICS))
        own = topic * WORDS + rng.integers(0, WORDS, 6)
        yield np.where(rng.random(6) < 0.75, own, rng.integers(0, TOPICS * WORDS, 6)), topic


def say(words, lang):
    """The languages have no word in common and turn their sentences round."""
    return " ".join(f"{lang}{w}" for w in (words if lang == "a" else words[::-1]))


def write(file, rows):
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.fixture(scope="module")
def ciphers(tmp_path_factory):
    """Text of two languages, pairs, and tables of labelled rows with a column for each language."""
    home = tmp_path_factory.mktemp("ciphers")
    text = []
    for i in range(0, 1200, 4):
        for j, lang in enumerate("ab"):
            said = [say(words, lang) + " ." for words, _ in sentences(4, 10 + 2 * i + j)]
            text.append({"text": " ".join(said), "lang": lang})
    write(home / "text.jsonl", text)
    rows = [{"a": say(w, "a"), "b": say(w, "b"), "label": f"topic {t}"} for w, t in sentences(1500, 1)]
    write(home / "pairs.jsonl", rows)
    for name, seed, n in (("train", 2, 300), ("valid", 3, 120)):
        rows = [{"a": say(w, "a"), "b": say(w, "b"), "label": f"topic {t}"} for w, t in sentences(n, seed)]
        write(home / f"task.{name}.jsonl", rows)
    return home


@pytest.fixture(scope="module")
def stores(ciphers):
    """stores(kind, ...): a store of text and one of pairs with the same tokenizer."""
    made = {}

    def make(kind, **settings):
        if kind not in made:
            config = find("tokenizers", kind).Config(kind=kind, vocab=200, **settings)
            text, pairs = ciphers / f"{kind}_text", ciphers / f"{kind}_pairs"
            prepare([str(ciphers / "text.jsonl")], out=text, tokenizer=config, lang="lang", processes=1)
            from modeledge.tokenizers import load_tokenizer

            columns = {"text": "a", "second": "b", "tokenizer": load_tokenizer(text)}
            prepare([str(ciphers / "pairs.jsonl")], out=pairs, kind="parallel", processes=1, **columns)
            made[kind] = text, pairs
        return made[kind]

    return make


@pytest.fixture(scope="module")
def mbart(stores, ciphers):
    text, _ = stores("unigram", family="mbart", languages=2)
    sets = [*SMALL, "loop.steps=3", "data.text.length=32"]
    pretrain("mbart", data=[str(text)], out=ciphers / "mbart", size="tiny", sets=sets, quiet=True)
    return ciphers / "mbart"


# -- translation ------------------------------------------------------------------------------------------------------


def translating(ciphers, text="a", label="b"):
    return Question("text_to_text", ciphers / "task.train.jsonl", columns={"text": text, "label": label}, length=24)


def test_mbart_is_taught_a_pair_of_languages_by_their_numbers_and_another_by_swapping_them(mbart, ciphers, tmp_path):
    tuning = Tuning(most=2, sets=("objectives.0.start.langs=[0,1]",))
    tuned = finetune(mbart, translating(ciphers), tuning, out=tmp_path / "t", quiet=True)
    assert {"bleu", "chrf", "exact_match"} <= tuned.figures[0].keys()
    loaded = load_model(tmp_path / "t")
    special = loaded.facts.special
    asked = []

    def hear(module, args):
        asked.append((int(args[0].ids[0][args[0].valid[0]][-1] if "valid" in args[0] else args[0].ids[0, -1]),
                      int(args[0].decoder_ids[0, 0])))  # fmt: skip

    for langs in ((0, 1), (1, 0)):
        loaded = load_model(tmp_path / "t", sets=[f"objectives.0.start.langs={list(langs)}"])
        loaded.model.backbone.register_forward_pre_hook(hear)
        predict(loaded, texts=["a1 a2 a3"])
        assert asked[0] == tuple(special[f"lang{i}"] for i in langs)
        asked.clear()


def test_a_pair_of_languages_that_is_not_named_is_asked_for(mbart, ciphers):
    with pytest.raises(RecipeError, match=r"(?s)do not say their language.*objectives\.0\.start\.langs"):
        finetune(mbart, translating(ciphers), Tuning(most=1), quiet=True)
    with pytest.raises(InputError, match="each of 3 languages"):
        finetune(mbart, translating(ciphers), Tuning(most=1, sets=("objectives.0.start.langs=[0,2]",)), quiet=True)


@pytest.fixture(scope="module")
def recurrent(stores, ciphers):
    """recurrent(name): a model of the recurrent encoder and decoder, hardly trained."""
    text, pairs = stores("word")

    def make(name):
        data = {"pairs": pairs, "source": text, "target": text} if name == "ramachandran" else {"pairs": pairs}
        sets = ["loop.steps=2", "loop.batch=8", "backbone.width=16", "backbone.input=16", "tokenizer.vocab=200"]
        if not (ciphers / name).exists():
            told = [f"{n}={path}" for n, path in data.items()]
            pretrain(name, data=told, out=ciphers / name, size="tiny", sets=sets, quiet=True)
        return ciphers / name

    return make


@pytest.mark.contract
@pytest.mark.parametrize("name", ["cove", "ramachandran"])
def test_a_recurrent_encoder_and_decoder_answers_in_text_with_its_own_head(recurrent, ciphers, tmp_path, name):
    loaded = load_model(recurrent(name))
    setting = Setting(loaded, translating(ciphers), Tuning(most=1), say=lambda text: None)
    given = setting.job(0, None, device="cpu", progress=None).init
    owner = "target_lm" if name == "ramachandran" else "seq2seq"
    old = {n.split(".", 2)[2]: t for n, t in own_tensors(loaded.model).items() if n.startswith(f"objectives.{owner}.")}
    assert old and all(torch.equal(t, given[f"objectives.seq2seq.{n}"]) for n, t in old.items())
    tuned = finetune(loaded, translating(ciphers), Tuning(most=2), out=tmp_path / "t", quiet=True)
    assert "bleu" in tuned.figures[0]
    assert isinstance(predict(tmp_path / "t", texts=["a1 a2"])[0]["text"], str)


def test_the_encoder_of_cove_still_answers_with_labels(recurrent, ciphers):
    question = Question("classify", ciphers / "task.train.jsonl", columns={"text": "a"})
    assert finetune(recurrent("cove"), question, Tuning(most=2), quiet=True).figures[0]["accuracy"] >= 0


# -- zero-shot transfer -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_of_one_language_teach_the_other_once_translations_have_joined_them(stores, ciphers, tmp_path):
    """XLM with and without translations, fine-tuned on the labels of A alone and judged on B: chance is a third."""
    text, pairs = stores("word")
    found = {}
    for name, data in {"xlm": [str(text)], "xlm_tlm": [f"text={text}", f"pairs={pairs}"]}.items():
        sets = [
            *SMALL,
            "loop.steps=900",
            "loop.batch=32",
            "data.text.length=32",
            "optim.lr=3e-3",
            "tokenizer.kind=word",
        ]
        sets += ["data.pairs.length=24"] if name == "xlm_tlm" else []
        pretrain(name, data=data, out=tmp_path / name, size="tiny", sets=sets, quiet=True)
        question = Question("classify", ciphers / "task.train.jsonl", columns={"text": "a"}, length=16)
        tuning = Tuning(epochs=4, lr=1e-3, sets=("objectives.0.lang=0", "objectives.0.pool=mean"))
        tuned = finetune(tmp_path / name, question, tuning, out=tmp_path / f"{name}_a", quiet=True)
        other = {"columns": {"text": "b"}, "sets": ["objectives.0.lang=1"]}
        zero = evaluate_model(tmp_path / f"{name}_a", ciphers / "task.valid.jsonl", **other)
        found[name] = tuned.figures[0]["accuracy"], zero["accuracy"]
    assert min(found["xlm"][0], found["xlm_tlm"][0]) > 0.85
    assert found["xlm_tlm"][1] > 0.7 and found["xlm_tlm"][1] > found["xlm"][1] + 0.15


@pytest.mark.slow
def test_labels_of_english_are_asked_of_german_and_chinese_rows(data, tmp_path):
    """XNLI by the verbs: taught in English, other columns of the same rows judged; the classes are those of English."""
    text, xnli = data("parallel/tatoeba_en_zh.valid.parquet"), data("xling/xnli.train.parquet")
    pieces = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=800)
    prepare([str(text)], out=tmp_path / "s", tokenizer=pieces, text="en", processes=1)
    sets = [*SMALL, "loop.steps=3", "data.text={kind: full_sentences, length: 32}", "objectives=[{kind: mlm}]"]
    pretrain("mbert", data=[str(tmp_path / "s")], out=tmp_path / "m", size="tiny", sets=sets, quiet=True)
    question = Question("classify", xnli, columns={"text": "en_premise", "second": "en_hypothesis"}, length=48)
    tuned = finetune(tmp_path / "m", question, Tuning(most=20), out=tmp_path / "t", quiet=True)
    valid, said = data("xling/xnli.valid.parquet"), {}
    for lang in ("en", "de", "zh"):
        columns = {"text": f"{lang}_premise", "second": f"{lang}_hypothesis"}
        said[lang] = evaluate_model(tmp_path / "t", valid, columns=columns)
        assert 0.2 < said[lang]["accuracy"] < 0.6
    assert said["en"]["accuracy"] == pytest.approx(tuned.figures[0]["accuracy"])
