"""Models that were not taught a task, looked at: pictures of two colours, captions, plain text."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.core import InputError, find
from modeledge.data.store import Store, StoreWriter
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.predict import evaluate_model, predict
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

NAMES = ["red", "blue"]
FAST = ["loop.batch=8", "loop.steps=2", "loop.precision=fp32"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A store of noisy red and blue pictures with their captions; the last 24 are held out."""
    rng = np.random.default_rng(0)
    out = tmp_path_factory.mktemp("pictures") / "store"
    tokenizer = find("tokenizers", "word")
    words = tokenizer(tokenizer.Config(kind="word", vocab=32)).train(iter(["a photo of a red blue . 0 1 2 3"] * 3))
    with StoreWriter(out) as writer:
        for part, n in ((writer, 64), (writer.valid(), 24)):
            label = rng.integers(0, 2, n)
            image = rng.integers(0, 120, (n, 8, 8, 3), dtype=np.uint8)
            image[np.arange(n), :, :, 2 * label] += 120
            ids = words.encode_batch([f"a photo of a {NAMES[c]}." for c in label])
            part.column("image", np.uint8, (8, 8, 3)).append(image)
            part.column("label", np.int32).append(label)
            part.ragged("tokens", np.uint16, np.concatenate(ids), np.array([len(i) for i in ids]))
        writer.finish(rows=64, valid_rows=24, meta={"labels": NAMES, "fingerprint": words.fingerprint})
    words.save(out)
    return out


@pytest.fixture(scope="module")
def models(pictures, tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    stack = {"width": 16, "layers": 1, "heads": 2, "ffn": {"width": 32}}
    eyes = stack | {"embedding": {"patch": 4, "size": 8}}
    keys = {
        "vit": {"backbone": eyes, "objectives": [{"kind": "image_label"}]},
        "clip": {
            "data": {"pairs": {"length": 8}},
            "tokenizer": {"kind": "word"},
            "backbone": {"width": 16, "towers": {"image": eyes, "text": stack | {"positions": {"max": 8}}}},
            "objectives": [{"kind": "contrast"}],
        },
    }
    for name, changed in keys.items():
        toy = home / f"toy_{name}.yaml"
        toy.write_text(json.dumps({"extends": name, **changed}))
        pretrain(str(toy), data=[str(pictures)], out=home / f"toy_{name}", sets=FAST, quiet=True)
    return home


@pytest.mark.parametrize(("family", "look"), [("toy_vit", "probe"), ("toy_vit", "knn"), ("toy_clip", "probe")])
def test_features_of_pictures_tell_their_colour(models, pictures, family, look):
    found = evaluate_model(models / family, pictures, task=look)
    assert found["accuracy"] == 1.0 and found["n"] == 24


def test_zero_shot_equals_the_nearest_caption_by_hand(models, pictures):
    found = evaluate_model(models / "toy_clip", pictures, task="zero_shot")
    loaded, held = load_model(models / "toy_clip"), Store.open(pictures).valid
    pairs = find("data.sources", "image_text")
    source = pairs(pairs.Config(kind="image_text", length=8), held, loaded.facts, "train")
    rows = source.rows(np.arange(24), np.random.default_rng(0)).tensors()
    vectors = loaded.model.objectives["contrast"].embed(loaded.model.backbone, rows)
    first = [int(np.flatnonzero(held["label"] == c)[0]) for c in (0, 1)]  # captions are the usual prompt
    said = (vectors["image"] @ vectors["text"][first].T).argmax(1).numpy()
    assert found["accuracy"] == pytest.approx((said == held["label"]).mean()) and found["chance"] == 0.5


def test_captions_are_found_among_all_and_equal_ones_share_a_picture(models, pictures):
    found = evaluate_model(models / "toy_clip", pictures, task="retrieval")
    assert found["image_to_text n"] == 24 and 0 <= found["text_to_image recall@10"] <= 1


def test_text_is_probed_by_the_mean_of_its_states(text_store, tmp_path):
    trunk = ["backbone.width=16", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=16"]
    rows = ["data.text={kind: full_sentences, length: 32}", "objectives=[{kind: mlm}]"]
    pretrain("bert", data=[str(text_store)], out=tmp_path / "m", sets=[*trunk, *rows, *FAST], quiet=True)
    for name, n in (("train", 60), ("valid", 20)):
        texts = [{"text": f"The {p} sees the {p}.", "pet": p} for p in ["cat", "dog"] * (n // 2)]
        (tmp_path / f"x.{name}.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    found = evaluate_model(tmp_path / "m", tmp_path / "x.train.jsonl", task="probe", columns={"label": "pet"})
    assert found["accuracy"] == 1.0 and found["n"] == 20


STREAMS = {
    "xlnet": "{kind: plm, rate: 0.2, reuse: 0.25, memory: 12, layout: pair}",
    "transformer_xl": "{kind: memory_lm, memory: 12, head: {kind: token, transform: none}}",
    "elmo": "{kind: bilm, memory: state, head: {kind: token, transform: none}}",
}


@pytest.mark.parametrize(
    ("name", "streams"), [pytest.param("xlnet", 66, marks=pytest.mark.slow), ("transformer_xl", 66), ("elmo", 24)]
)
def test_a_model_with_memory_has_the_loss_of_its_own_run(text_store, tmp_path, name, streams):
    sets = ["tokenizer={kind: wordpiece, vocab: 200}", "loop.evaluate.batches=1000", f"loop.batch={streams}"]
    sets += [f"data.text={{kind: stream, length: 8, streams: {streams}}}", f"objectives=[{STREAMS[name]}]"]
    sets += ["loop.steps=2", "loop.precision=fp32", "backbone.width=16", "backbone.layers=2"]
    large = "backbone.std=0.5"  # what is remembered weighs from the first step on
    sets += ["backbone.cell=24", "backbone.embedding={kind: tokens}"] if name == "elmo" else ["backbone.heads=2", large]
    ran = pretrain(name, data=[str(text_store)], out=tmp_path / "m", sets=sets, quiet=True).done.result
    assert ran.valid and evaluate_model(tmp_path / "m", text_store, task="loss") == pytest.approx(ran.valid, rel=1e-5)


def test_a_vision_model_is_fine_tuned_on_a_store_and_answers_by_name(models, pictures, tmp_path):
    question = Question("image_label", pictures)
    tuned = finetune(models / "toy_vit", question, Tuning(epochs=9, batch=16, lr=3e-3), out=tmp_path / "o", quiet=True)
    assert tuned.figures[0]["accuracy"] > 0.9
    assert evaluate_model(tmp_path / "o", pictures) == pytest.approx(tuned.figures[0])
    own = evaluate_model(tmp_path / "o", pictures, task="loss")
    assert own["image_label.accuracy"] == pytest.approx(tuned.figures[0]["accuracy"]) and own["image_label"] < np.log(2)
    assert {a["label"] for a in predict(tmp_path / "o", pictures)} == set(NAMES)
    old = load_model(models / "toy_vit").model.backbone.state_dict()
    new = load_model(tmp_path / "o").model.backbone.state_dict()
    assert old.keys() == new.keys() and not all(torch.equal(old[k], new[k]) for k in old)


def shots(out, colours, names):
    """A store of pictures without a held-out part, its classes in the order of `names` (None: unlabelled)."""
    rng = np.random.default_rng(1)
    with StoreWriter(out) as writer:
        image = rng.integers(0, 120, (len(colours), 8, 8, 3), dtype=np.uint8)
        image[np.arange(len(colours)), :, :, [2 * NAMES.index(c) for c in colours]] += 120
        writer.column("image", np.uint8, (8, 8, 3)).append(image)
        if names:
            writer.column("label", np.int32).append(np.array([names.index(c) for c in colours]))
        writer.finish(rows=len(colours), meta={"labels": names or []})
    return out


@pytest.fixture(scope="module")
def painter(models, pictures, tmp_path_factory):
    """A vision model that has learnt to tell red from blue."""
    out = tmp_path_factory.mktemp("painter") / "o"
    finetune(models / "toy_vit", Question("image_label", pictures), Tuning(epochs=9, lr=3e-3), out=out, quiet=True)
    return out


def test_classes_of_pictures_are_the_model_s_in_whatever_order_a_store_has_them(painter, tmp_path):
    colours = ["red", "blue", "blue", "red", "blue"] * 4
    for nth, names in enumerate((["red", "blue"], ["blue", "red"], ["blue", "green", "red"])):
        store = shots(tmp_path / str(nth), colours, names)
        assert evaluate_model(painter, store)["accuracy"] > 0.9
        assert evaluate_model(painter, store, task="loss")["image_label.accuracy"] > 0.9
        said = [a["label"] for a in predict(painter, store)]
        assert np.mean([a == b for a, b in zip(said, colours, strict=True)]) > 0.9
    assert evaluate_model(painter, shots(tmp_path / "blue", ["blue"] * 9, ["blue"]))["accuracy"] > 0.8
    bare = shots(tmp_path / "bare", colours, None)
    assert [a["label"] for a in predict(painter, bare)] == said
    with pytest.raises(InputError, match="no labels to judge by"):
        evaluate_model(painter, bare)
    wrong = shots(tmp_path / "wrong", ["red"], ["red"])
    meta = json.loads((wrong / "store.json").read_text())
    (wrong / "store.json").write_text(json.dumps(meta | {"labels": ["rad"]}))
    with pytest.raises(InputError, match=r"no class in training named 'rad'; did you mean 'red'"):
        evaluate_model(painter, wrong)


def test_rows_to_judge_on_may_lie_in_a_store_of_their_own(models, pictures, tmp_path):
    other = shots(tmp_path / "valid", ["red"] * 7, ["blue", "red"])
    question = Question("image_label", pictures, valid=other)
    tuned = finetune(models / "toy_vit", question, Tuning(most=1), out=tmp_path / "o", quiet=True)
    assert tuned.figures[0] == evaluate_model(tmp_path / "o", other) != evaluate_model(tmp_path / "o", pictures)
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match="x.jsonl: not a store of pictures"):
        finetune(models / "toy_vit", Question("image_label", pictures, valid=tmp_path / "x.jsonl"), quiet=True)


def test_pictures_of_a_single_class_are_nothing_to_learn_from(models, pictures, tmp_path):
    flat = shots(tmp_path / "flat", ["red"] * 8, ["red"])
    with pytest.raises(InputError, match=r"every picture is of the class 'red'.*\n  next: prepare a folder of folders"):
        finetune(models / "toy_vit", Question("image_label", flat), Tuning(most=1), quiet=True)


def test_what_cannot_be_looked_at_is_said(models, pictures, tmp_path):
    for call, says in (
        (lambda: evaluate_model(models / "toy_vit", pictures, task="prob"), "did you mean 'probe'"),
        (lambda: evaluate_model(models / "toy_vit", pictures, task="zero_shot"), "not a model of pictures and texts"),
        (lambda: evaluate_model(models / "toy_vit", pictures / "valid", task="knn"), "no held-out rows"),
        (lambda: finetune(models / "toy_vit", Question("classify", pictures), quiet=True), "--task image_label"),
        (lambda: finetune(models / "toy_clip", Question("image_label", pictures), quiet=True), "pictures alone"),
    ):
        with pytest.raises(InputError, match=says):
            call()
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match="modeledge prepare .* --kind images"):
        finetune(models / "toy_vit", Question("image_label", tmp_path / "x.jsonl"), quiet=True)
