"""CLIP against transformers: vectors, loss, and where a text ends."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from modeledge.core import Batch, Facts, InputError, build, find
from modeledge.interop import from_hf, to_hf

TEXT = {
    "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 50,
    "max_position_embeddings": 10, "pad_token_id": 1, "bos_token_id": 48, "eos_token_id": 49,
}  # fmt: skip
PICTURE = {
    "hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip


def theirs(**text):
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config={**TEXT, **text}, vision_config=PICTURE, projection_dim=12)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))  # norms and biases too
    return model


def ours(found):
    facts = Facts(vocab=found.facts["vocab"], special=found.facts["special"], image=(8, 8, 3))
    backbone = build("backbones", find("backbones", "dual").Config.model_validate(found.backbone), facts)
    config = find("objectives", "contrast").Config.model_validate(found.objectives[0])
    objective = build("objectives", config, facts, backbone)
    both = torch.nn.ModuleDict({"backbone": backbone, "objectives": torch.nn.ModuleDict({"contrast": objective})})
    assert {n for n, _ in both.named_parameters()} == set(found.state)
    both.load_state_dict(found.state)
    return objective.eval(), backbone.eval()


def rows(b=4, t=9):
    """Texts that end at different places, with other ids after their end."""
    ids = torch.randint(3, 48, (b, t), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 48
    for i in range(b):
        ids[i, 3 + i] = 49
    return Batch(ids=ids, image=torch.randn(b, 8, 8, 3))


@pytest.mark.parametrize("eos", [49, 2])  # 2: the released files, which mean the highest id
def test_vectors_and_loss_are_those_of_hugging_face(eos):
    model, batch = theirs(eos_token_id=eos), rows()
    objective, backbone = ours(from_hf(model.config.to_dict(), model.state_dict()))
    wanted = model(input_ids=batch.ids, pixel_values=batch.image.permute(0, 3, 1, 2), return_loss=True)
    got = objective.embed(backbone, batch)
    torch.testing.assert_close(got["image"], wanted.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(got["text"], wanted.text_embeds, atol=1e-5, rtol=0)
    loss = objective(backbone, batch)["contrast"].mean()
    torch.testing.assert_close(loss, wanted.loss, atol=1e-5, rtol=1e-5)


def test_the_way_back_gives_the_same_tensors_and_a_configuration_that_opens():
    model = theirs()
    found = from_hf(model.config.to_dict(), model.state_dict())
    tree = {"backbone": found.backbone, "objectives": found.objectives}
    config, tensors = to_hf(tree, found.state, found.facts)
    assert config["model_type"] == "clip" and config["architectures"] == ["CLIPModel"]
    state = model.state_dict()
    assert tensors.keys() == state.keys() and all(torch.equal(tensors[k], state[k]) for k in state)
    again = CLIPModel(CLIPConfig(**config)).eval()
    again.load_state_dict(tensors)
    batch = rows()
    inputs = {"input_ids": batch.ids, "pixel_values": batch.image.permute(0, 3, 1, 2)}
    assert torch.equal(again(**inputs).logits_per_image, model(**inputs).logits_per_image)


def test_tensors_that_are_missing_or_left_over_are_named():
    model = theirs()
    state = dict(model.state_dict())
    state["stray"] = state.pop("text_projection.weight")
    with pytest.raises(InputError, match=r"missing: text_projection.weight \(1 in all\)\n  left over: stray"):
        from_hf(model.config.to_dict(), state)
