"""Tiny random models of transformers: the same scores from ours, and the same files when written back."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeledge.core import Batch, InputError, kinds
from modeledge.interop import check, export_folder, import_folder, port_of
from modeledge.interop._check import build_model
from modeledge.visibility import both, see
from modeledge.visibility.causal import anticausal, causal
from modeledge.visibility.full import full
from modeledge.visibility.prefix import prefix
from modeledge.visibility.valid import valid

transformers = pytest.importorskip("transformers")

TABLE = "backbone.positions.table.weight"
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 31,
    "max_position_embeddings": 20,
}
CLIP = {
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 31,
        "max_position_embeddings": 12,
        "bos_token_id": 0,
        "eos_token_id": 30,
        "pad_token_id": 1,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    },
    "projection_dim": 8,
}
T5 = {
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "vocab_size": 31,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
}
STACKS = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "vocab_size": 31,
}
MARIAN = {"pad_token_id": 30, "eos_token_id": 0, "decoder_start_token_id": 30, "forced_eos_token_id": 0}
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
GPT2 = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 20, "vocab_size": 31, **ENDS}
OPENAI_GPT = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 20, "vocab_size": 31}
XLM = {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "vocab_size": 31, "max_position_embeddings": 20}
VIT = {**BERT, "image_size": 16, "patch_size": 4}
XLNET = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24, "vocab_size": 31}
RESNET = {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 1]}
RAG = {
    "question_encoder": {"model_type": "dpr", **BERT},
    "generator": {"model_type": "bart", **STACKS, "max_position_embeddings": 20},
}

MODELS = {
    "bert": ("BertForPreTraining", "BertConfig", BERT),
    "bert without segments of its own": ("BertForMaskedLM", "BertConfig", {**BERT, "type_vocab_size": 1}),
    "bert, bare": ("BertModel", "BertConfig", BERT),
    "bert, classes": ("BertForSequenceClassification", "BertConfig", {**BERT, "num_labels": 3}),
    "bert, tags": ("BertForTokenClassification", "BertConfig", {**BERT, "num_labels": 5}),
    "bert, answers": ("BertForQuestionAnswering", "BertConfig", BERT),
    "ernie": ("ErnieForPreTraining", "ErnieConfig", {**BERT, "use_task_id": True, "task_type_vocab_size": 5}),
    "ernie, one task": ("ErnieForMaskedLM", "ErnieConfig", {**BERT, "hidden_act": "relu"}),
    "ernie, classes": ("ErnieForSequenceClassification", "ErnieConfig", {**BERT, "use_task_id": True}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", BERT),
    "roberta, classes": ("RobertaForSequenceClassification", "RobertaConfig", {**BERT, "num_labels": 3}),
    "roberta_prelayernorm": ("RobertaPreLayerNormForMaskedLM", "RobertaPreLayerNormConfig", BERT),
    "roberta_prelayernorm, bare": ("RobertaPreLayerNormModel", "RobertaPreLayerNormConfig", BERT),
    "roberta_prelayernorm, classes": (
        "RobertaPreLayerNormForSequenceClassification",
        "RobertaPreLayerNormConfig",
        {**BERT, "num_labels": 3},
    ),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", BERT),
    "mpnet, bare": ("MPNetModel", "MPNetConfig", BERT),
    "mpnet, classes": ("MPNetForSequenceClassification", "MPNetConfig", {**BERT, "num_labels": 3}),
    "xlm_roberta": ("XLMRobertaForMaskedLM", "XLMRobertaConfig", BERT),
    "xlm": ("XLMWithLMHeadModel", "XLMConfig", {**XLM, "n_langs": 3}),
    "xlm, causal": ("XLMWithLMHeadModel", "XLMConfig", {**XLM, "n_langs": 3, "causal": True}),
    "xlm, one language": ("XLMWithLMHeadModel", "XLMConfig", XLM),
    "xlm, bare": ("XLMModel", "XLMConfig", {**XLM, "n_langs": 3}),
    "albert": ("AlbertForPreTraining", "AlbertConfig", {**BERT, "embedding_size": 8}),
    "albert, groups": ("AlbertForPreTraining", "AlbertConfig", {**BERT, "embedding_size": 8, "num_hidden_groups": 3}),
    "albert, wide": (
        "AlbertForMaskedLM",
        "AlbertConfig",
        {**BERT, "embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2},
    ),
    "electra": ("ElectraForPreTraining", "ElectraConfig", {**BERT, "embedding_size": 8}),
    "electra, one width": ("ElectraForPreTraining", "ElectraConfig", {**BERT, "embedding_size": 16}),
    "electra, generator": ("ElectraForMaskedLM", "ElectraConfig", {**BERT, "embedding_size": 8}),
    "electra, classes": ("ElectraForSequenceClassification", "ElectraConfig", {**BERT, "embedding_size": 8}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "openai_gpt": ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", OPENAI_GPT),
    "openai_gpt, bare": ("OpenAIGPTModel", "OpenAIGPTConfig", OPENAI_GPT),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5, gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", {**STACKS, "max_position_embeddings": 20}),
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", {**STACKS, "max_position_embeddings": 20}),
    "mbart, bare": ("MBartModel", "MBartConfig", {**STACKS, "scale_embedding": True}),
    "bart, bare": ("BartModel", "BartConfig", {**STACKS, "scale_embedding": True}),
    "pegasus": ("PegasusForConditionalGeneration", "PegasusConfig", {**STACKS, "scale_embedding": True}),
    "marian": (
        "MarianMTModel",
        "MarianConfig",
        {**STACKS, **MARIAN, "scale_embedding": True, "activation_function": "relu"},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", {**VIT, "num_labels": 3}),
    "vit, bare": ("ViTModel", "ViTConfig", VIT),
    "clip": ("CLIPModel", "CLIPConfig", CLIP),
    "dpr": ("DPRQuestionEncoder", "DPRConfig", BERT),
    "dpr, passages": ("DPRContextEncoder", "DPRConfig", {**BERT, "type_vocab_size": 1}),
    "rag": ("RagSequenceForGeneration", "RagConfig", RAG),
    "rag, tokens": ("RagTokenForGeneration", "RagConfig", {**RAG, "n_docs": 3}),
    "xlnet": ("XLNetLMHeadModel", "XLNetConfig", XLNET),
    "resnet": ("ResNetForImageClassification", "ResNetConfig", {**RESNET, "num_labels": 3}),
    "resnet, basic": ("ResNetForImageClassification", "ResNetConfig", {**RESNET, "layer_type": "basic"}),
}


DOUBLE = {"openai_gpt, choice": ("OpenAIGPTDoubleHeadsModel", "OpenAIGPTConfig", OPENAI_GPT)}


def make(name, folder):
    """A model whose every tensor, norms and biases included, is random; and its folder."""
    torch.manual_seed(len(name))
    model_class, config_class, settings = (MODELS | DOUBLE)[name]
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**settings)).eval()
    fixed = {key for key, p in model.named_parameters() if not p.requires_grad}  # waves of positions
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point() and key not in fixed:
                tensor.add_(0.1 * torch.rand_like(tensor) if "var" in key else 0.1 * torch.randn_like(tensor))
    model.save_pretrained(folder)
    return model


def test_every_model_type_is_compared():
    assert {name.split(",")[0].split()[0] for name in MODELS} == set(kinds("interop"))


@pytest.mark.parametrize("name", MODELS)
def test_scores_match_and_the_files_come_back(name, tmp_path):
    make(name, tmp_path / "theirs")
    found = check(tmp_path / "theirs")
    assert found.difference is not None and found.difference <= 1e-5

    ours = import_folder(tmp_path / "theirs")
    tree = {"backbone": ours.backbone, "objectives": ours.objectives}
    export_folder(tmp_path / "ours", tree, ours.state, ours.facts, model_type=ours.type)
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before if "num_batches" not in n)  # which no one reads
    assert check(tmp_path / "ours").difference == found.difference
    old, new = (json.loads((tmp_path / side / "config.json").read_text()) for side in ("theirs", "ours"))
    assert new["architectures"] == old["architectures"] and new["model_type"] == old["model_type"]


def republish(folder, *, named, **more):
    """The folder under another class's name, with more tensors in it: as the released ones are."""
    tensors = load_file(folder / "model.safetensors") | more
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [named]}))


@pytest.mark.parametrize("name", ["bert", "ernie", "albert"])
def test_a_head_that_the_named_class_lacks_is_read_as_in_bert_base_uncased(name, tmp_path):
    theirs = make(name, tmp_path)
    republish(tmp_path, named=type(theirs).__name__.replace("PreTraining", "MaskedLM"))
    assert [o["kind"] for o in import_folder(tmp_path).objectives] == ["mlm", "sop" if name == "albert" else "nsp"]
    found = check(tmp_path)
    assert found.difference is not None and found.difference <= 1e-5


def test_a_head_that_is_there_in_part_is_left_over(tmp_path):
    make("bert", tmp_path)
    republish(tmp_path, named="BertForMaskedLM")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["cls.seq_relationship.bias"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="left over: cls.seq_relationship.weight"):
        import_folder(tmp_path)


def test_the_table_that_the_released_t5_holds_and_does_not_read_is_no_part_of_it(tmp_path):
    make("t5", tmp_path)
    plain = check(tmp_path).difference
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    republish(tmp_path, named="T5ForConditionalGeneration", **{unread: torch.randn(8, 2)})
    assert check(tmp_path).difference == plain


def test_t5_v1_1_keeps_its_own_output_matrix(tmp_path):
    model = make("t5, gated", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = torch.randn_like(model.shared.weight)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    ours = import_folder(tmp_path)
    assert ours.objectives[0]["head"]["decoder"] == "own" and ours.objectives[0]["head"]["scale"] == "none"
    found = check(tmp_path)
    assert found.difference is not None and found.difference <= 1e-5


def test_gpt_with_both_heads_scores_texts_and_options_as_transformers_does(tmp_path):
    """Theirs saves the shared table under the name of the output, ours under that of the input."""
    make("openai_gpt, choice", tmp_path / "theirs")
    ours = import_folder(tmp_path / "theirs")
    assert [o["kind"] for o in ours.objectives] == ["clm", "choice"]
    tree = {"backbone": ours.backbone, "objectives": ours.objectives}
    assert export_folder(tmp_path / "ours", tree, ours.state, ours.facts) == "openai-gpt"
    for side in ("theirs", "ours"):
        found = check(tmp_path / side)
        assert found.difference is not None and found.difference <= 1e-5


def test_gpt2_with_a_cache_gives_the_scores_of_transformers_with_its_own(tmp_path):
    model = make("gpt2", tmp_path)
    ours = import_folder(tmp_path)
    backbone, heads = build_model(ours, port_of("gpt2", where=""))
    ids = torch.randint(0, 31, (2, 12))
    past, cache = None, backbone.new_cache()
    for piece in ids.split([5, 1, 1, 5], 1):
        theirs = model(input_ids=piece, past_key_values=past, use_cache=True)
        seen = see(causal, *piece.shape, device="cpu", start=cache.length)
        states = backbone(Batch(ids=piece), seen, cache=cache).states
        past = theirs.past_key_values
        torch.testing.assert_close(heads["clm"].head(states), theirs.logits, atol=1e-5, rtol=0)


def test_gpt2_with_padding_in_front_and_positions_of_its_own(tmp_path):
    model = make("gpt2", tmp_path)
    backbone, heads = build_model(import_folder(tmp_path), port_of("gpt2", where=""))
    ids, real = torch.randint(0, 31, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    real[0, :4] = False
    places = (real.cumsum(1) - 1).clamp(min=0)
    theirs = model(input_ids=ids, attention_mask=real.long(), position_ids=places).logits
    seen = see(both(causal, valid(real)), 2, 9, device="cpu")
    ours = heads["clm"].head(backbone(Batch(ids=ids, positions=places), seen).states)
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)


def test_mpnet_beyond_the_last_bucket_scores_as_transformers_does(tmp_path):
    """Rows longer than the distance from which on all distances share a bucket."""
    torch.manual_seed(3)
    config = transformers.MPNetConfig(**{**BERT, "max_position_embeddings": 202}, initializer_range=0.5)
    model = transformers.MPNetForMaskedLM(config).eval()
    model.save_pretrained(tmp_path)
    backbone, heads = build_model(import_folder(tmp_path), port_of("mpnet", where=""))
    ids = torch.randint(2, 31, (2, 200))
    ours = heads["mplm"].head(backbone(Batch(ids=ids), see(full, 2, 200, device="cpu")).states)
    torch.testing.assert_close(ours, model(input_ids=ids).logits, atol=1e-4, rtol=0)


def test_mpnet_is_not_written_for_a_vocabulary_in_which_id_1_is_a_token(tmp_path):
    make("mpnet", tmp_path / "theirs")
    ours = import_folder(tmp_path / "theirs")
    tree = {"backbone": ours.backbone, "objectives": ours.objectives}
    facts = {**ours.facts, "special": {"pad": 0, "unk": 1}}
    with pytest.raises(InputError, match="padding has the id 0"):
        export_folder(tmp_path / "ours", tree, ours.state, facts)


def test_t5_with_a_cache_gives_the_scores_of_the_whole(tmp_path):
    make("t5", tmp_path)
    backbone, _ = build_model(import_folder(tmp_path), port_of("t5", where=""))
    real = torch.arange(9) < torch.tensor([[9], [5]])
    batch = Batch(ids=torch.randint(0, 31, (2, 9)), valid=real, decoder_ids=torch.randint(0, 31, (2, 7)))
    seen = see(valid(real), 2, 9, device="cpu")
    whole, cache = backbone(batch, seen).states, backbone.new_cache()
    for at, piece in zip((0, 3, 4), batch.decoder_ids.split([3, 1, 3], 1), strict=True):
        part = backbone(batch.but(decoder_ids=piece), seen, cache=cache).states
        torch.testing.assert_close(part, whole[:, at : at + piece.shape[1]], atol=1e-5, rtol=0)


def test_vit_reads_other_resolutions_as_transformers_does(tmp_path):
    model = make("vit, bare", tmp_path)
    backbone, _ = build_model(import_folder(tmp_path), port_of("vit", where=""))
    image = torch.randn(1, 24, 32, 3)
    theirs = model(pixel_values=image.permute(0, 3, 1, 2), interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(backbone(Batch(image=image)).states, theirs, atol=1e-5, rtol=0)


def test_roberta_positions_move_with_the_padding_id(tmp_path):
    """A vocabulary whose padding is not 1 still exports to a model that counts its positions rightly."""
    make("roberta", tmp_path / "theirs")
    ours = import_folder(tmp_path / "theirs")
    tree = {"backbone": ours.backbone, "objectives": ours.objectives}
    facts = {**ours.facts, "special": {"pad": 5, "bos": 0, "eos": 2}}
    export_folder(tmp_path / "ours", tree, ours.state, facts)
    moved = import_folder(tmp_path / "ours")
    assert moved.backbone["positions"]["offset"] == 6
    assert torch.equal(moved.state[TABLE][6:], ours.state[TABLE][2:])
    found = check(tmp_path / "ours")
    assert found.difference is not None and found.difference <= 1e-5


@pytest.mark.parametrize("rule", [full, causal, anticausal, prefix(torch.tensor([3, 7]))])
def test_bert_under_any_visibility_equals_that_of_transformers_with_the_mask(rule, tmp_path):
    model = make("bert", tmp_path)
    backbone, heads = build_model(import_folder(tmp_path), port_of("bert", where=""))
    ids = torch.randint(0, 31, (2, 9))
    index = torch.arange(9)
    rows = torch.arange(2)[:, None, None, None]
    mask = rule(rows, rows, index[:, None], index).expand(2, 1, 9, 9)
    theirs = model(input_ids=ids, attention_mask=mask).prediction_logits
    ours = heads["mlm"].head(backbone(Batch(ids=ids), see(rule, 2, 9, device="cpu")).states)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
