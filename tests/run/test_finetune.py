"""Fine-tuning, judging and predicting on tables about animals and where they are, with toys of several families."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modeledge.core import DataError, InputError, RecipeError, find
from modeledge.data.prepare import prepare
from modeledge.data.tables import Table
from modeledge.run.answer import rows_for
from modeledge.run.checkpoint import own_tensors
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model, predict
from modeledge.run.pretrain import pretrain
from modeledge.run.search import Beam
from modeledge.run.setting import Setting
from modeledge.run.tasks import judge_spans, judge_tags, most_context, read_spans, read_tags

NOUNS, PLACES, VERBS = ["dog", "cat", "bird", "fish"], ["garden", "house", "river"], ["sees", "hears", "likes"]
FAST = {"lr": 3e-3, "batch": 16}


def statements(n, seed):
    """Rows with everything the tasks ask for; the answers can be read off the words."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        (a, b), place, verb = rng.choice(NOUNS, 2, replace=False), rng.choice(PLACES), rng.choice(VERBS)
        text = f"The {a} {verb} the {b} in the {place} ."
        words = text.split()
        tags = ["B-ANIMAL" if w in NOUNS else "B-PLACE" if w in PLACES else "O" for w in words]
        yield {
            "text": text,
            "place": str(place),
            "number": float(NOUNS.index(a)) * 10 + 100,
            "words": words,
            "tags": tags,
            "question": f"What {verb} the {b} ?",
            "answers": [str(a)],
            "starts": [text.index(a)],
            "other": f"In the {place} the {a} {verb} the {b} .",
            "right": str(b),
            "wrong": str(place),
            "which": "right",
        }


def write(file, rows):
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    write(folder / "x.valid.jsonl", statements(48, 1))
    return write(folder / "x.train.jsonl", statements(160, 0))


@pytest.fixture(scope="module")
def models(corpus, tmp_path_factory):
    """models("bert"): the folder of a toy model, pre-trained for a few steps at the first call."""
    home, made = tmp_path_factory.mktemp("models"), {}
    small = ["loop.batch=8", "loop.precision=fp32", "loop.steps=4"]
    trunk = ["backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.ffn.width=64"]
    rows = ["data.text={kind: full_sentences, length: 32}"]
    sure = ["backbone.dropout=0.0", "backbone.attention.dropout=0.0"]  # with it one seed in ten misses a class
    sets = {
        "bert": ["tokenizer.vocab=200", "objectives=[{kind: mlm}]", *rows, *trunk, *sure],
        "roberta": ["tokenizer={kind: byte_bpe, vocab: 400}", *rows, *trunk],
        "albert": ["tokenizer.vocab=200", "data.text.length=32", *trunk],
        "electra": ["tokenizer.vocab=200", *rows, *trunk],
        "xlnet": ["tokenizer.vocab=200", "data.text.streams=8", "data.text.length=32", *trunk],
        "gpt2": ["tokenizer.vocab=400", "data.text.length=32", *trunk],
        "t5": ["tokenizer={kind: unigram, vocab: 220, family: t5, sentinels: 20}", "data.text.length=32", *trunk],
        "bart": ["tokenizer={kind: byte_bpe, vocab: 400}", "data.text.length=32", *trunk, *sure],
        "unilm": ["tokenizer.vocab=200", "data.text.length=32", "data.pairs.length=32", *trunk, *sure],
        "glm": ["tokenizer.vocab=200", "data.text.length=32", *trunk, *sure],
        "elmo": ["tokenizer.vocab=200", "data.text.streams=8"],
        "siatl": ["tokenizer.vocab=200", "data.text.streams=8"],
    }

    def make(name):
        if name not in made:
            size = "tiny" if name in ("elmo", "siatl") else None
            made[name] = home / name
            pretrain(name, data=[str(corpus)], out=home / name, size=size, sets=[*sets[name], *small], quiet=True)
        return made[name]

    return make


QUESTIONS = {
    "classify": {"columns": {"label": "place"}},
    "regress": {"columns": {"label": "number"}},
    "tag": {"columns": {"text": "words", "label": "tags"}},
    "span_qa": {"columns": {"text": "question", "second": "text", "label": "answers"}, "length": 40},
    "choice": {"columns": {"label": "which", "choices": ["right", "wrong"]}},
    "embed": {"columns": {"second": "other"}},
}


def ask(task, data, **changes):
    return Question(task, data, **{**QUESTIONS[task], **changes})


@pytest.fixture(scope="module")
def taught(models, table, tmp_path_factory):
    """The folder of a toy BERT that knows the places, and what it got on the validation rows."""
    out = tmp_path_factory.mktemp("taught") / "o"
    tuning = Tuning(epochs=100, most=120, **FAST)
    return out, finetune(models("bert"), ask("classify", table), tuning, out=out, quiet=True)


def test_a_toy_learns_to_tell_the_place(taught):
    assert taught[1].figures[0]["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "figure", "least", "steps"),
    [
        ("regress", "spearman", 0.8, 100),
        ("tag", "f1", 0.9, 40),
        ("span_qa", "f1", 0.6, 100),
        ("choice", "accuracy", 0.9, 60),
        ("embed", "recall@1", 0.2, 40),
    ],
)
def test_a_toy_learns_every_task_that_can_be_read_off_the_words(models, table, task, figure, least, steps):
    tuned = finetune(models("bert"), ask(task, table), Tuning(epochs=100, most=steps, **FAST), quiet=True)
    assert tuned.figures[0][figure] > least


@pytest.mark.parametrize("task", ["tag", "span_qa", "choice", "regress"])
def test_a_saved_model_answers_as_it_did_when_it_was_judged(models, table, tmp_path, task):
    tuned = finetune(models("bert"), ask(task, table), Tuning(most=2, **FAST), out=tmp_path / "o", quiet=True)
    again = evaluate_model(tmp_path / "o", table.with_name("x.valid.jsonl"))
    assert again == pytest.approx(tuned.figures[0], abs=1e-6)
    told = json.loads((tmp_path / "o" / "results.json").read_text())
    assert told["seeds"]["0"] == pytest.approx(tuned.figures[0]) and told["settings"]["steps"] == 2


@pytest.mark.parametrize("first", [0, 1])
def test_a_model_remembers_how_its_options_were_numbered(models, table, tmp_path, first):
    rows = [json.loads(line) for line in table.read_text().splitlines()][:40]
    for place, row in enumerate(rows):
        row["which"] = first + place % 2
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    finetune(
        models("bert"), ask("choice", tmp_path / "t.jsonl"), Tuning(most=2, **FAST), out=tmp_path / "o", quiet=True
    )
    found = []
    for said in (1, "ab"[1 - first]):  # the same option by its number and by its letter
        (tmp_path / "v.jsonl").write_text("".join(json.dumps(r | {"which": said}) + "\n" for r in rows))
        found.append(evaluate_model(tmp_path / "o", tmp_path / "v.jsonl"))
    assert found[0] == found[1]


@pytest.mark.contract
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_prepared_table_is_read_in_the_model_s_own_ids_only(models, table, tmp_path, family):
    files = {"valid": [str(table.with_name("x.valid.jsonl"))], "label": "place"}
    own = load_model(models(family)).facts.tokenizer
    prepare(str(table), out=tmp_path / "own", kind="table", tokenizer=own, **files)
    config = find("tokenizers", "byte_bpe").Config(kind="byte_bpe", vocab=300)
    prepare(str(table), out=tmp_path / "other", kind="table", tokenizer=config, **files)
    question = Question("classify", tmp_path / "own")
    finetune(models(family), question, Tuning(most=2), out=tmp_path / "o", quiet=True)
    assert evaluate_model(tmp_path / "o", tmp_path / "own" / "valid") and predict(tmp_path / "o", tmp_path / "own")
    for call in (
        lambda: finetune(models(family), Question("classify", tmp_path / "other"), quiet=True),
        lambda: finetune(models(family), replace(question, valid=tmp_path / "other"), quiet=True),
        lambda: evaluate_model(tmp_path / "o", tmp_path / "other"),
        lambda: predict(tmp_path / "o", tmp_path / "other"),
        lambda: evaluate_model(models(family), tmp_path / "other", task="loss"),
        lambda: evaluate_model(models(family), tmp_path / "other", task="probe"),
    ):
        with pytest.raises(InputError, match=r"other.*ids are not those of .* has [0-9a-f]{16}\n  next: prepare"):
            call()


def test_predict_needs_no_labels_and_keeps_the_order(taught, tmp_path):
    texts = [
        "The dog sees the cat in the river .",
        "The fish hears the bird in the house .",
        "The cat likes the dog in the garden .",
    ]
    assert [a["label"] for a in predict(taught[0], texts=texts)] == ["river", "house", "garden"]
    file = write(tmp_path / "plain.jsonl", [{"text": t} for t in reversed(texts)])
    assert [a["label"] for a in predict(taught[0], file)] == ["garden", "house", "river"]


def test_tags_of_words_that_a_row_has_no_room_for_count_as_o(models, table):
    short = ask("tag", table, length=8)
    setting = Setting(load_model(models("bert")), short, Tuning(), say=str)
    gold = [np.where(r["labels"] < 0, 0, r["labels"]) for r in _rows(setting.valid)]
    answers = read_tags(gold, setting.valid)
    assert all(len(a["tags"]) == len(r.value["words"]) for a, r in zip(answers, setting.valid.records, strict=True))
    found = judge_tags(answers, setting.valid)
    assert found["precision"] == 1.0 and found["recall"] < 0.8


def test_answers_are_cut_from_the_passage_by_characters(models, table):
    setting = Setting(load_model(models("bert")), ask("span_qa", table), Tuning(), say=str)
    raw = []
    for row, begin, end in zip(
        _rows(setting.valid), setting.valid.extra["begins"], setting.valid.extra["ends"], strict=True
    ):
        scores = np.zeros((len(row["ids"]), 2))
        scores[begin, 0], scores[end, 1] = 9.0, 9.0
        raw.append(scores)
    assert judge_spans(read_spans(raw, setting.valid), setting.valid) == {"exact_match": 1.0, "f1": 1.0}


def test_a_token_counts_in_the_window_where_it_has_most_context(models, table, tmp_path):
    passage = " ".join(NOUNS * 20)
    row = {"question": "Who ?", "text": passage, "answers": ["cat"], "starts": [4]}
    file = write(tmp_path / "long.jsonl", [row, row])
    setting = Setting(load_model(models("bert")), ask("span_qa", file, length=32), Tuning(), say=str)
    source, main = setting.source, most_context(setting.source)
    spans = source.table.fields["passage_spans"]
    for nth in range(2):
        best = {}
        for window in np.flatnonzero(source.owner == nth):
            begin, size = source.table.begins[window], source.table.sizes[window]
            held = [i for i in range(begin, begin + size) if spans[i, 0] >= 0]
            for place, i in enumerate(held):
                context = min(place, len(held) - 1 - place) + 0.01 * len(held)
                best.setdefault(spans[i, 0], []).append((context, i))
        assert len(best) == 80 and max(map(len, best.values())) > 1
        for found in best.values():
            chosen = [i for _, i in found if main[i]]
            assert len(chosen) == 1 and dict((i, c) for c, i in found)[chosen[0]] == max(found)[0]


def _rows(source):
    index = np.arange(len(source))
    return [source.rows(index[i : i + 1], np.random.default_rng(0)).rows(0) for i in index]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["roberta", "albert", "electra", "xlnet", "gpt2", "elmo"])
def test_every_family_classifies_in_its_own_form(models, table, tmp_path, family):
    tuning = Tuning(epochs=100, most=120, batch=16, lr=5e-3 if family == "elmo" else 3e-3)
    tuned = finetune(models(family), ask("classify", table), tuning, out=tmp_path / "o", quiet=True)
    assert tuned.figures[0]["accuracy"] > 0.7
    again = evaluate_model(tmp_path / "o", table.with_name("x.valid.jsonl"))
    assert again == pytest.approx(tuned.figures[0], abs=1e-6)


def test_gpt_reads_start_a_delimiter_b_extract_and_keeps_its_old_rows(models, table):
    loaded = load_model(models("gpt2"))
    pair = Question("classify", table, columns={"text": "text", "second": "question", "label": "place"})
    setting = Setting(loaded, pair, Tuning(), say=str)
    special, frame = setting.facts.special, setting.facts.tokenizer.frame(pair=True)
    assert (frame.before, frame.between, frame.after) == tuple((special[r],) for r in ("start", "delimiter", "extract"))
    assert setting.facts.vocab == loaded.facts.vocab + 3
    job = setting.job(0, None, device="cpu", progress=None)
    old, new = loaded.model.backbone.embed.weight, job.init["backbone.embedding.word.weight"]
    assert torch.equal(new[: len(old)], old) and new[len(old) :].std() > 0
    row = setting.source.rows(np.arange(1), np.random.default_rng(0))
    ids = row.ids[0][row.valid[0]] if "valid" in row else row.ids[0]
    assert ids[0] == special["start"] and ids[-1] == special["extract"] and (ids == special["delimiter"]).sum() == 1


def test_similarity_read_in_both_orders_does_not_know_which_text_came_first(models, table, tmp_path):
    columns = {"text": "text", "second": "question", "label": "number"}
    both = Question("regress", table, columns=columns, orders="both")
    finetune(models("gpt2"), both, Tuning(most=3, **FAST), out=tmp_path / "o", quiet=True)
    pair = ("The dog sees the cat .", "What sees the cat ?")
    one, other = (predict(tmp_path / "o", texts=[p])[0]["value"] for p in (pair, pair[::-1]))
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("task", ["classify", "choice"])
def test_the_auxiliary_language_model_is_trained_beside_the_task(models, table, tmp_path, task):
    run = finetune(
        models("gpt2"), ask(task, table), Tuning(most=2, auxiliary=0.5, **FAST), out=tmp_path / "o", quiet=True
    )
    first = json.loads((tmp_path / "o" / "metrics.jsonl").read_text().splitlines()[0])
    assert set(first["loss"]) == {task, "clm"} and run.figures
    loaded = load_model(tmp_path / "o")
    assert {o.weight for o in loaded.recipe.objectives} == {1.0, 0.5}


@pytest.mark.contract
def test_the_recurrent_language_model_fades_beside_a_task_with_layers_of_its_own(models, table, tmp_path):
    fade = {"start": 0.2, "end": 0.1}
    sets = ("objectives.0.pool={kind: lstm_attention, width: 8}", f"objectives.1.weight={json.dumps(fade)}")
    tuning = Tuning(most=2, auxiliary=0.2, sets=sets, **FAST)
    run = finetune(models("siatl"), ask("classify", table), tuning, out=tmp_path / "o", quiet=True)
    first = json.loads((tmp_path / "o" / "metrics.jsonl").read_text().splitlines()[0])
    assert {"classify", "rnn_lm"} <= set(first["loss"]) and run.figures
    loaded = load_model(tmp_path / "o")
    assert loaded.recipe.objectives[1].weight.model_dump() == fade
    assert "objectives.classify.pool.score.weight" in own_tensors(loaded.model)


def test_without_a_weight_there_is_no_language_model_head_to_train(models, table):
    setting = Setting(load_model(models("gpt2")), ask("classify", table), Tuning(), say=str)
    assert [o["kind"] for o in setting.tree(0).keys["objectives"]] == ["classify"]


@pytest.mark.contract
@pytest.mark.parametrize(("sets", "mixes"), [((), 1), (("objectives.0.mix={kind: encoder, features: both}",), 2)])
def test_features_are_mixed_from_all_layers_and_leave_the_backbone_alone(models, table, tmp_path, sets, mixes):
    tuning = Tuning(epochs=100, most=5, train="head", mix=True, batch=16, lr=1e-2, sets=sets)
    tuned = finetune(models("elmo"), ask("classify", table), tuning, out=tmp_path / "o", quiet=True)
    before, after = own_tensors(load_model(models("elmo")).model), own_tensors(load_model(tmp_path / "o").model)
    assert all(torch.equal(after[n], t) for n, t in before.items() if n.startswith("backbone."))
    assert [len(t) for n, t in after.items() if n.endswith(".weights") and t.abs().max() > 0] == [3] * mixes
    assert evaluate_model(tmp_path / "o", table.with_name("x.valid.jsonl")) == pytest.approx(tuned.figures[0])


def test_a_mix_takes_the_place_of_the_backbones_own_pooler(models, table):
    loaded, tuning = load_model(models("bert")), Tuning(train="head", mix=True)
    classify, tag = (Setting(loaded, ask(t, table), tuning, say=str).objective() for t in ("classify", "tag"))
    assert classify["pool"] == "cls" and "pool" not in tag and tag["mix"] == {"kind": "scalar_mix"}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "gpt2", "unilm", "glm"])
def test_text_to_text_learns_to_name_the_place(models, table, tmp_path, family):
    question = Question("text_to_text", table, columns={"label": "place"}, length=32)
    tuned = finetune(models(family), question, Tuning(epochs=100, most=150, **FAST), out=tmp_path / "o", quiet=True)
    assert tuned.figures[0]["exact_match"] > 0.7
    texts = ["The dog sees the cat in the river ."] * 2
    assert predict(tmp_path / "o", texts=texts) == predict(tmp_path / "o", texts=texts, how=Beam(beams=1))


@pytest.mark.slow
def test_an_encoder_decoder_learns_to_classify(models, table):
    tuned = finetune(models("bart"), ask("classify", table), Tuning(epochs=100, most=120, **FAST), quiet=True)
    assert tuned.figures[0]["accuracy"] > 0.9


@pytest.mark.contract
@pytest.mark.parametrize(
    ("family", "name", "kind"), [("unilm", "both", "mask_target"), ("glm", "infill", "blank_target")]
)
def test_models_that_fill_blanks_go_on_with_their_head_when_they_are_taught_to_write(models, table, family, name, kind):
    loaded = load_model(models(family))
    question = Question("text_to_text", table, columns={"label": "place"}, length=32)
    setting = Setting(loaded, question, Tuning(), say=str)
    assert setting.objective()["kind"] == kind
    if family == "unilm":
        assert setting.objective()["visible"] == {"rule": "prefix", "segments": (4, 5)}
    job = setting.job(0, None, device="cpu", progress=None)
    old = {n: t for n, t in own_tensors(loaded.model).items() if n.startswith(f"objectives.{name}.")}
    assert bool(old) == (family == "unilm")  # GLM's head is its word table
    assert all(torch.equal(job.init[n.replace(f".{name}.", f".{kind}.")], t) for n, t in old.items())


@pytest.mark.contract
def test_text_to_text_goes_on_with_the_pre_trained_head(models, table):
    loaded = load_model(models("t5"))
    question = Question("text_to_text", table, columns={"label": "place"}, length=32)
    job = Setting(loaded, question, Tuning(), say=str).job(0, None, device="cpu", progress=None)
    old = {n.removeprefix("objectives.denoise."): t for n, t in own_tensors(loaded.model).items() if ".denoise." in n}
    new = {n.removeprefix("objectives.seq2seq."): t for n, t in job.init.items() if n.startswith("objectives.seq2seq.")}
    assert old.keys() == new.keys() and all(torch.equal(t, new[n]) for n, t in old.items())


# -- seeds and few labels ---------------------------------------------------------------------------------------------


@pytest.mark.contract
def test_the_same_seed_gives_the_same_figures_and_seeds_give_an_interval(models, table):
    tuning = Tuning(most=3, **FAST)
    loaded = load_model(models("bert"))
    tuned = finetune(loaded, ask("classify", table), tuning, seeds=3, quiet=True)
    again = finetune(loaded, ask("classify", table), tuning, seeds=[1], quiet=True)
    assert again.figures[1] == tuned.figures[1]
    found = tuned.intervals()["accuracy"]
    assert found.n == 3 and found.mean == pytest.approx(np.mean([f["accuracy"] for f in tuned.figures.values()]))
    assert "3 seeds" in str(tuned)


@pytest.mark.contract
def test_seeds_that_nobody_judges_lie_where_it_says(models, table, tmp_path):
    alone = tmp_path / "alone.jsonl"
    alone.write_text(table.read_text())
    tuned = finetune(
        models("bert"), ask("classify", alone), Tuning(most=1, **FAST), seeds=2, out=tmp_path / "o", quiet=True
    )
    assert "2 seeds" in str(tuned) and "nothing was judged" in str(tuned)
    assert load_model(Path(str(tuned).rsplit("model: ")[1])).facts.labels


def test_few_labels_are_the_same_rows_for_every_contender_and_others_for_another_seed(models, table):
    loaded = load_model(models("bert"))

    def rows(seed, **how):
        setting = Setting(loaded, ask("classify", table), Tuning(labels=20, **how), say=str)
        job = setting.job(seed, None, device="cpu", progress=None)
        from modeledge.recipe.schema import check

        return setting.read(job.stores["task"], check(job.tree).data["task"].model_dump()).row.tolist()

    assert rows(0) == rows(0, scratch=True, lr=1e-3) and len(rows(0)) == 20
    assert rows(0) != rows(1)


def test_a_taught_model_can_be_taught_again_with_a_fresh_head_for_other_classes(taught, table):
    loaded = load_model(taught[0])
    same = Setting(loaded, ask("classify", table), Tuning(), say=str).job(0, None, device="cpu", progress=None)
    other = ask("classify", table, columns={"label": "which"})
    fresh = Setting(loaded, other, Tuning(), say=str).job(0, None, device="cpu", progress=None)
    assert "objectives.classify.head.out.weight" in same.init
    assert not any(n.startswith("objectives.classify") for n in fresh.init) and len(fresh.init) > 20


def test_from_scratch_takes_nothing_over(models, table):
    loaded = load_model(models("bert"))
    make = lambda scratch: Setting(loaded, ask("classify", table), Tuning(scratch=scratch), say=str)  # noqa: E731
    assert make(True).job(0, None, device="cpu", progress=None).init is None
    init = make(False).job(0, None, device="cpu", progress=None).init
    assert torch.equal(init["backbone.embedding.word.weight"], loaded.model.backbone.embed.weight)


def test_classes_are_numbered_in_the_order_of_training_whatever_is_judged(taught, tmp_path):
    only = write(tmp_path / "river.jsonl", [r for r in statements(30, 3) if r["place"] == "river"])
    source = rows_for(load_model(taught[0]), Table.open(only))
    assert source.labels == ["garden", "house", "river"] and set(source.label.tolist()) == {2}


def wrong(models, question, tuning=None, family="bert"):
    with pytest.raises(InputError) as error:
        finetune(models(family), question, tuning or Tuning(most=1), quiet=True)
    return str(error.value)


def test_an_unknown_task_column_or_role_is_answered_with_the_nearest(models, table):
    assert "did you mean 'classify'" in wrong(models, Question("clasify", table))
    said = wrong(models, Question("classify", table, columns={"label": "plaec"}))
    assert "x.train.jsonl" in said and "plaec" in said
    assert "did you mean 'label'" in wrong(models, Question("classify", table, columns={"lable": "place"}))


def test_a_label_never_seen_in_training_is_named_with_its_row_before_anything_is_trained(models, table, tmp_path):
    odd = write(tmp_path / "odd.jsonl", [*statements(3, 5), {"text": "x", "place": "rivers"}])
    with pytest.raises(
        DataError, match=r"odd.jsonl:4: the label 'rivers' does not occur in training.*'river'"
    ) as error:
        finetune(models("bert"), ask("classify", table, valid=odd), Tuning(most=1), out=tmp_path / "o", quiet=True)
    assert "known: garden, house, river" in str(error.value) and not (tmp_path / "o").exists()


def test_an_empty_table_is_refused(models, tmp_path):
    assert "the file is empty" in wrong(models, Question("classify", write(tmp_path / "e.jsonl", [])))


@pytest.mark.contract
def test_a_row_longer_than_the_model_is_refused_and_longer_texts_are_counted(models, table):
    said = wrong(models, ask("classify", table, length=4096))
    assert "places for 512 tokens" in said
    text = Question("text_to_text", table, columns={"label": "place"}, length=600)
    assert "1024 tokens for text and answer together" in wrong(models, text, family="gpt2")
    lines = []
    Setting(load_model(models("bert")), ask("classify", table, length=8), Tuning(), say=lines.append)
    assert lines == ["training: 160 rows, 160 cut to 8 tokens", "validation: 48 rows, 48 cut to 8 tokens"]


def test_what_an_architecture_cannot_do_is_said(models, table):
    assert "neither decodes" in wrong(models, Question("text_to_text", table, columns={"label": "place"}))
    assert "causal language model" in wrong(models, ask("classify", table), Tuning(most=1, auxiliary=0.5))
    assert "add --train head" in wrong(models, ask("classify", table), Tuning(most=1, mix=True))
    assert "--column second=COLUMN" in wrong(models, Question("span_qa", table, columns={"label": "answers"}))


def test_overrides_reach_the_recipe_and_wrong_ones_are_named(models, table):
    setting = Setting(load_model(models("bert")), ask("classify", table), Tuning(sets=("optim.lr=0.5",)), say=str)
    assert setting.tree(0).keys["optim"]["lr"] == 0.5
    with pytest.raises(RecipeError, match="did you mean 'weight_decay'"):
        finetune(models("bert"), ask("classify", table), Tuning(sets=("optim.wieght_decay=1",)), quiet=True)


def test_a_model_that_was_not_taught_is_not_asked(models):
    with pytest.raises(InputError, match="not taught a task yet"):
        predict(models("bert"), texts=["x"])


def test_texts_without_what_the_task_reads_are_refused(models, table, tmp_path):
    finetune(models("bert"), ask("choice", table), Tuning(most=1), out=tmp_path / "o", quiet=True)
    with pytest.raises(DataError, match="text 1: 'right' is missing"):
        predict(tmp_path / "o", texts=[{"text": "x"}])


@pytest.mark.slow
def test_a_toy_learns_the_kinds_of_questions_in_trec(data, models):
    question = Question("classify", data("en/trec.train.parquet"), columns={"label": "coarse"}, length=32)
    tuned = finetune(models("bert"), question, Tuning(most=400, epochs=9, lr=3e-3), quiet=True)
    assert tuned.figures[0]["accuracy"] > 0.5  # the commonest class has 0.22
