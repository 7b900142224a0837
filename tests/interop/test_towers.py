"""Two towers, and a writer that reads what they find, as the folders that DPR and RAG are in transformers."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeledge.core import Batch, Facts, InputError
from modeledge.interop import check, export_folder, import_folder
from modeledge.objectives.match import sight

transformers = pytest.importorskip("transformers")

NORM = {"kind": "layer", "eps": 1e-12}
TOWER = {
    "kind": "transformer", "width": 16, "layers": 2, "heads": 2, "join": "post", "pool": {"kind": "cls"}, "norm": NORM,
    "embedding": {"kind": "tokens", "norm": NORM}, "positions": {"kind": "learned", "max": 20},
    "ffn": {"kind": "mlp", "width": 24},
}  # fmt: skip
READER = {
    "kind": "encoder_decoder", "width": 12, "layers": 1, "decoder_layers": 2, "heads": 2, "join": "post",
    "embedding": {"kind": "tokens", "norm": {"kind": "layer"}},
    "positions": {"kind": "learned", "max": 22, "offset": 2}, "ffn": {"kind": "mlp", "width": 24},
}  # fmt: skip
PAIR = {"kind": "dual", "towers": {"query": TOWER, "passage": {**TOWER, "layers": 1}}}
MATCH = {"kind": "match", "temperature": 2.0}
FACTS = Facts(vocab=31, special={"pad": 0, "cls": 2, "sep": 3, "bos": 2, "eos": 3}, words=(5, 31))
TOLD = {"vocab": 31, "special": FACTS.special}


@pytest.fixture
def written(model_of, tmp_path):
    """written(backbone, objective) -> the model and the folder it was exported to."""

    def export(backbone, *objectives, **named):
        torch.manual_seed(0)
        model = model_of(backbone, list(objectives), FACTS)
        export_folder(tmp_path / "hf", model.tree, model.tensors(), TOLD, **named)
        return model.eval(), tmp_path / "hf"

    return export


def texts(rows, length=9):
    ids = torch.randint(5, 31, (rows, length), generator=torch.Generator().manual_seed(rows))
    return ids, torch.arange(length) < torch.tensor([[length - i] for i in range(rows)])


@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize("segments", [False, True])
def test_the_vectors_of_both_towers_are_those_of_dpr(written, width, segments):
    kinds = {"types": {"segments": 2}} if segments else {}
    towers = {n: {**t, "embedding": {**t["embedding"], **kinds}} for n, t in PAIR["towers"].items()}
    model, folder = written({"kind": "dual", "towers": towers, "width": width}, MATCH)
    (asked, some), (read, real) = texts(3), texts(4)
    batch = Batch(query_ids=asked, query_valid=some, ids=read, valid=real)
    with torch.no_grad():
        ours = {name: out.pooled for name, out in model.backbone(batch, sight(batch)).towers.items()}
        question = transformers.DPRQuestionEncoder.from_pretrained(folder).eval()
        context = transformers.DPRContextEncoder.from_pretrained(folder / "ctx_encoder").eval()
        theirs = {
            "query": question(input_ids=asked, attention_mask=some.long()).pooler_output,
            "passage": context(input_ids=read, attention_mask=real.long()).pooler_output,
        }
    assert ours["query"].shape == (3, width or 16)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_both_towers_come_back_with_what_each_is(written):
    model, folder = written(PAIR, MATCH)
    found = import_folder(folder)
    assert found.type == "dpr" and [o["kind"] for o in found.objectives] == ["match"]
    assert {n: t["layers"] for n, t in found.backbone["towers"].items()} == {"query": 2, "passage": 1}
    ours = model.tensors()
    types = {n for n in found.state if ".types.segments." in n}  # which these towers did not have: rows of zeros
    assert len(types) == 2 and not any(found.state[n].any() for n in types)
    assert found.state.keys() - types == ours.keys() and all(torch.equal(found.state[n], ours[n]) for n in ours)


def test_one_network_for_both_is_written_twice_and_read_as_one(written):
    model, folder = written({"kind": "dual", "towers": {"query": TOWER}}, MATCH)
    one, two = (load_file(f / "model.safetensors") for f in (folder, folder / "ctx_encoder"))
    assert {n.replace("question_encoder.", "ctx_encoder.") for n in one} == set(two)
    found = import_folder(folder)
    assert list(found.backbone["towers"]) == ["query"] and set(found.state) >= set(model.tensors())


def test_an_encoder_alone_is_read_as_a_network_for_both(written):
    _, folder = written(PAIR, MATCH)
    found = import_folder(folder / "ctx_encoder")
    assert found.objectives == [] and list(found.backbone["towers"]) == ["query"]
    assert found.backbone["towers"]["query"]["layers"] == 1


def test_a_projection_with_a_bias_and_another_vocabulary_are_refused(written):
    _, folder = written({**PAIR, "width": 8}, MATCH)
    tensors = load_file(folder / "model.safetensors")
    tensors["question_encoder.encode_proj.bias"] += 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"encode_proj.bias: a bias, and projections of towers have none here"):
        import_folder(folder)
    tensors["question_encoder.encode_proj.bias"] -= 1
    words = "question_encoder.bert_model.embeddings.word_embeddings.weight"
    tensors[words] = tensors[words][:29].clone()
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 29}))
    with pytest.raises(InputError, match="ctx_encoder has another vocabulary"):
        import_folder(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm": NORM}, "clip: backbone.towers: query and passage, there only image and text"),
        ({"norm": NORM}, "dpr: the backbone cannot be written as this model type\n    norm: "),
        (
            {"towers": {"query": {**TOWER, "pool": {"kind": "mean"}}}},
            "towers.query.pool.kind: 'mean', there only 'cls'",
        ),
        ({"towers": {"query": {**TOWER, "join": "pre"}}}, "towers.query.join.kind: 'pre', there only 'post'"),
        ({"reader": TOWER}, "rag: backbone.reader: 'transformer', there only 'encoder_decoder'"),
    ],
)
def test_towers_that_are_no_dpr_are_refused_with_what_differs(written, tmp_path, change, said):
    with pytest.raises(InputError, match="no Hugging Face model type can express this model") as refused:
        written({**PAIR, **change}, MATCH)
    assert " ".join(said.split()) in " ".join(str(refused.value).split())
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("marginal", "name"), [("sequence", "RagSequenceForGeneration"), ("token", "RagTokenForGeneration")]
)
def test_a_writer_that_reads_passages_comes_back_whole(written, marginal, name):
    model, folder = written({**PAIR, "reader": READER}, {"kind": "rag", "marginal": marginal, "candidates": 3})
    config = transformers.AutoConfig.from_pretrained(folder)
    assert config.architectures == [name] and config.n_docs == 3
    theirs = getattr(transformers, name).from_pretrained(folder).eval()
    assert theirs.config.generator.decoder_start_token_id == 3
    found, made = import_folder(folder), check(folder)
    assert made.difference is not None and made.difference <= 1e-5
    objective = found.objectives[0]
    assert (objective["marginal"], objective["candidates"], objective["start"]) == (marginal, 3, "eos")
    assert list(found.backbone["towers"]) == ["query", "passage"]
    ours = model.tensors()
    assert set(ours) <= set(found.state) and all(torch.equal(found.state[n], ours[n]) for n in ours)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["RagModel"]}, "RagModel is not read here, only RagTokenForGeneration"),
        ({"generator": {"model_type": "t5"}}, "generator is 't5', here only 'bart'"),
    ],
)
def test_other_parts_of_rag_are_refused(written, change, said):
    _, folder = written({**PAIR, "reader": READER}, {"kind": "rag"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match=said):
        import_folder(folder)


def test_two_vocabularies_are_refused_with_both_sizes(written):
    _, folder = written({**PAIR, "reader": READER}, {"kind": "rag"})
    config = json.loads((folder / "config.json").read_text())
    config["question_encoder"]["vocab_size"] = 40
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="encoder of questions has 40 tokens, the generator 31"):
        import_folder(folder)
