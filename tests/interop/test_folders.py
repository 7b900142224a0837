"""What is refused, and what a folder of several models is."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeledge.core import Batch, Facts, InputError, RunError
from modeledge.interop import Check, check, export_folder, from_hf, import_folder, to_hf
from modeledge.visibility import see
from modeledge.visibility.full import full

NORM = {"kind": "layer", "eps": 1e-12}
BERT = {
    "kind": "transformer",
    "width": 16,
    "layers": 2,
    "heads": 2,
    "embedding": {"kind": "tokens", "types": {"segments": 2}, "norm": NORM},
    "positions": {"kind": "learned", "max": 20},
    "norm": NORM,
    "ffn": {"kind": "mlp", "width": 24},
    "pool": {"kind": "first"},
}
MLM, NSP = {"kind": "mlm"}, {"kind": "nsp"}
SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


def facts():
    return Facts(vocab=31, special=dict(SPECIAL), words=(5, 31))


def plain(f):
    return {"vocab": f.vocab, "special": f.special, "labels": f.labels}


def export(folder, model, f=None, **named):
    return export_folder(folder, model.tree, model.tensors(), plain(f or facts()), **named)


@pytest.fixture
def bert(tmp_path, model_of):
    model = model_of(BERT, [MLM, NSP], facts())
    export(tmp_path / "bert", model)
    return tmp_path / "bert"


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_pretrained_bert_comes_back_equal(bert, model_of):
    model = model_of(BERT, [MLM, NSP], facts())
    found = import_folder(bert)
    assert found.type == "bert" and found.facts == {"vocab": 31, "special": {"pad": 0}}
    assert [o["kind"] for o in found.objectives] == ["mlm", "nsp"]
    assert found.state.keys() == model.tensors().keys()
    made = check(bert)
    assert made.difference is not None and made.difference <= 1e-5


def test_an_objective_with_a_name_of_its_own_is_found_by_its_kind(model_of):
    model = model_of(BERT, [{**MLM, "name": "words"}, NSP], facts())
    _, tensors = to_hf(model.tree, model.tensors(), plain(facts()))
    assert torch.equal(tensors["cls.predictions.bias"], model.objectives["words"].head.bias)


def test_an_unknown_model_type_is_refused_with_the_nearest(bert):
    edit(bert, model_type="bertt")
    with pytest.raises(InputError, match="no model type 'bertt' here; did you mean 'bert'"):
        import_folder(bert)


def test_missing_and_left_over_tensors_are_named(bert):
    tensors = load_file(bert / "model.safetensors")
    tensors["bert.extra.weight"] = tensors.pop("bert.pooler.dense.bias")
    save_file(tensors, bert / "model.safetensors")
    with pytest.raises(
        InputError, match=r"missing: bert.pooler.dense.bias \(1 in all\)\n  left over: bert.extra.weight"
    ):
        import_folder(bert)


def test_pickled_weights_are_refused_with_the_reason(bert):
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(InputError, match="opening a pickle can run anything"):
        import_folder(bert)


def test_a_model_that_brings_code_is_refused(bert):
    edit(bert, auto_map={"AutoModel": "modeling.Mine"})
    with pytest.raises(InputError, match="no code of a model folder is ever run"):
        import_folder(bert)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: 'relative_key'"),
        ({"hidden_act": "mish"}, "hidden_act: 'mish' is not supported"),
        ({"is_decoder": True}, "is_decoder: True"),
    ],
)
def test_settings_without_a_counterpart_are_refused(bert, change, said):
    edit(bert, **change)
    with pytest.raises(InputError, match=said):
        import_folder(bert)


@pytest.mark.parametrize("change", [{"hidden_size": "wide"}, {"num_attention_heads": 3}, {"id2label": [1, 2]}])
def test_a_configuration_that_makes_no_sense_is_refused(bert, change):
    edit(bert, **change)
    with pytest.raises(InputError, match="config.json: not a configuration of a bert model"):
        import_folder(bert)


def test_damaged_files_and_folders_are_named(bert, tmp_path):
    with pytest.raises(InputError, match="no config.json"):
        import_folder(tmp_path)
    whole = (bert / "model.safetensors").read_bytes()
    (bert / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="model.safetensors: cannot be read"):
        import_folder(bert)
    (bert / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        import_folder(bert)


def test_shards_are_put_together_and_may_not_lie_elsewhere(bert):
    tensors = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({n: tensors[n] for n in part}, bert / file)
    index = {"weight_map": {n: file for file, part in halves.items() for n in part}}
    (bert / "model.safetensors.index.json").write_text(json.dumps(index))
    assert len(import_folder(bert).state) == len(tensors)
    index["weight_map"][names[0]] = "../a.safetensors"
    (bert / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="outside the folder"):
        import_folder(bert)


def test_a_model_that_no_type_can_express_is_refused_with_the_reason_of_each(model_of):
    model = model_of({**BERT, "join": {"kind": "sandwich"}}, [MLM], facts())
    with pytest.raises(InputError, match="bert: the backbone cannot be written as this model type join.kind: 'sandw"):
        to_hf(model.tree, model.tensors(), plain(facts()))
    with pytest.raises(InputError, match="join.kind: 'sandwich', there only 'post'"):
        to_hf(model.tree, model.tensors(), plain(facts()), model_type="bert")


def test_a_masked_model_with_norms_before_the_branches_has_a_type_of_its_own(model_of):
    model = model_of({**BERT, "join": {"kind": "pre"}}, [MLM], facts())
    assert to_hf(model.tree, model.tensors(), plain(facts()))[0]["model_type"] == "roberta-prelayernorm"
    with pytest.raises(InputError, match="join.kind: 'pre', there only 'post'"):
        to_hf(model.tree, model.tensors(), plain(facts()), model_type="bert")


def test_a_head_that_the_type_cannot_express_is_refused(model_of):
    model = model_of(BERT, [{**MLM, "head": {"kind": "token", "activation": "relu"}}], facts())
    with pytest.raises(InputError, match="head: cannot be written\n  activation: 'relu', there only 'gelu'"):
        to_hf(model.tree, model.tensors(), plain(facts()), model_type="bert")


def test_tensors_the_type_has_no_place_for_are_refused(model_of):
    model = model_of(BERT, [MLM], facts())
    state = model.tensors() | {"objectives.other.head.weight": torch.zeros(2)}
    with pytest.raises(InputError, match="left over: objectives.other.head.weight"):
        to_hf(model.tree, state, plain(facts()), model_type="bert")


def test_a_folder_in_use_is_not_written_over(bert, model_of):
    with pytest.raises(InputError, match="exists and is not empty"):
        export(bert, model_of(BERT, [MLM, NSP], facts()))
    assert not list(bert.parent.glob(".tmp-*"))


def test_a_failed_export_leaves_nothing(tmp_path, model_of):
    class Broken:
        def save(self, folder):
            raise OSError("no space")

    with pytest.raises(RunError, match="out: could not be written: no space; nothing is left"):
        export(tmp_path / "out", model_of(BERT, [MLM, NSP], facts()), tokenizer=Broken())
    assert not list(tmp_path.iterdir())


def test_old_spellings_and_buffers_are_understood(model_of):
    model = model_of(BERT, [MLM, NSP], facts())
    config, tensors = to_hf(model.tree, model.tensors(), plain(facts()))
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for n, t in tensors.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(20)[None]
    old["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    back = from_hf(config, old).state
    assert all(torch.equal(back[n], t) for n, t in model.tensors().items())


def test_a_decoder_that_is_not_tied_is_not_dropped(model_of):
    model = model_of(BERT, [MLM, NSP], facts())
    config, tensors = to_hf(model.tree, model.tensors(), plain(facts()))
    tensors["cls.predictions.decoder.weight"] = torch.randn(31, 16)
    with pytest.raises(InputError, match="left over: cls.predictions.decoder.weight"):
        from_hf(config, tensors)


def test_labels_go_with_the_classifier(tmp_path, model_of):
    f = facts()
    f.labels = {"label": ["bad", "fair", "good"]}
    model = model_of(BERT, [{"kind": "classify"}], f)
    export(tmp_path / "c", model, f)
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["label2id"] == {"bad": 0, "fair": 1, "good": 2}
    assert import_folder(tmp_path / "c").facts["labels"] == {"label": ["bad", "fair", "good"]}
    made = check(tmp_path / "c")
    assert made.difference is not None and made.difference <= 1e-5


@pytest.mark.parametrize(("said", "means"), [(0.0, 0.0), (0.3, 0.3), (None, 0.2)])
def test_a_classifier_without_dropout_is_one_without_dropout(said, means, model_of):
    f = facts()
    f.labels = {"label": ["bad", "good"]}
    model = model_of(BERT, [{"kind": "classify"}], f)
    config, tensors = to_hf(model.tree, model.tensors(), plain(f))
    config |= {"classifier_dropout": said, "hidden_dropout_prob": 0.2}
    assert from_hf(config, tensors).objectives[0]["head"]["dropout"] == means


@pytest.mark.parametrize("width", [None, 8])
def test_electra_is_two_folders_and_comes_back_as_one_model(tmp_path, width, model_of):
    embedding = {**BERT["embedding"], "width": width}
    rtd = {"kind": "rtd", "generator": 0.5, "layers": 1}
    model = model_of({**BERT, "width": 32, "heads": 4, "embedding": embedding, "pool": None}, [rtd], facts())
    assert export(tmp_path / "e", model) == "electra"
    config = json.loads((tmp_path / "e" / "generator" / "config.json").read_text())
    assert config["architectures"] == ["ElectraForMaskedLM"]
    assert (config["hidden_size"], config["embedding_size"], config["num_hidden_layers"]) == (16, width or 32, 1)
    made = check(tmp_path / "e")
    assert made.difference is not None and made.difference <= 1e-5
    found = import_folder(tmp_path / "e")
    again = model_of(found.backbone, found.objectives, facts())
    assert found.state.keys() == again.tensors().keys() and not found.fresh
    again.load_state_dict(found.state, strict=False)
    batch = Batch(ids=torch.randint(5, 31, (2, 9)))
    seen = see(full, 2, 9, device="cpu")
    before, after = (m.objectives["rtd"].generator.eval()(batch, seen).states for m in (model, again))
    torch.testing.assert_close(after, before)


def test_a_discriminator_alone_says_what_it_lacks(tmp_path, model_of):
    model = model_of({**BERT, "pool": None}, [{"kind": "rtd", "generator": 0.5}], facts())
    export(tmp_path / "e", model)
    for file in (tmp_path / "e" / "generator").iterdir():
        file.unlink()
    (tmp_path / "e" / "generator").rmdir()
    found = import_folder(tmp_path / "e")
    again = model_of(found.backbone, found.objectives, facts())
    lacking = again.tensors().keys() - found.state.keys()
    assert lacking and all(n.startswith(found.fresh) for n in lacking)


def test_without_transformers_the_check_says_that_it_was_not_made(bert, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    made = check(bert)
    assert made.difference is None and "transformers is not installed" in str(made)
    assert str(Check(2.5e-7)) == "largest difference to transformers on a random batch: 2.5e-07"


def test_scores_are_the_same_up_to_the_order_of_sums_and_never_if_they_are_no_numbers():
    assert Check(None, "why").ok and Check(9e-5).ok and not Check(2e-4).ok
    assert Check(2e-4, size=20.0).ok and not Check(3.0, size=20.0).ok and not Check(float("nan"), size=20.0).ok
