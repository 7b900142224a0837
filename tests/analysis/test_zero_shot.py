"""Classes as means of prompts."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from modeledge.analysis.zero_shot import Remembered, class_vectors, classify, text_embedder, zero_shot
from modeledge.core import InputError, find
from modeledge.data.facts import facts_of
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.tokenizers import load_tokenizer

NAMES = ["cat", "dog", "red car"]


def embed(texts):
    """A vector that depends on the text's characters and on nothing else."""
    return torch.stack([torch.from_numpy(np.random.default_rng(list(t.encode())).normal(size=16)) for t in texts])


def test_an_ensemble_of_one_prompt_is_that_prompt():
    got = class_vectors(embed, NAMES, templates=["a photo of a {}."])
    wanted = F.normalize(embed([f"a photo of a {n}." for n in NAMES]).float(), dim=1)
    torch.testing.assert_close(got, wanted)


def test_an_ensemble_is_the_mean_of_unit_vectors_at_length_one():
    templates = ["a {}", "the {}", "{}!"]
    got = class_vectors(embed, NAMES, templates=templates, chunk=4)
    for row, name in zip(got, NAMES, strict=True):
        each = [F.normalize(embed([t.replace("{}", name)])[0].float(), dim=0) for t in templates]
        torch.testing.assert_close(row, F.normalize(sum(each), dim=0))


def test_remembered_texts_give_the_same_classes_and_are_embedded_once():
    asked = []

    def counting(texts):
        asked.extend(texts)
        return embed(texts)

    cached = Remembered(counting)
    templates = ["a {}", "the {}"]
    fresh = class_vectors(embed, NAMES, templates=templates)
    assert torch.equal(class_vectors(cached, NAMES, templates=templates), fresh)
    assert torch.equal(class_vectors(cached, NAMES, templates=templates), fresh)
    assert len(asked) == len(set(asked)) == 6
    pictures = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    again = class_vectors(cached, NAMES, templates=templates)
    assert torch.equal(classify(pictures, again), classify(pictures, fresh))


def test_the_length_of_a_picture_vector_does_not_matter_and_figures_are_right():
    vectors = torch.eye(3)
    pictures = torch.tensor([[5.0, 1, 0], [0.01, 0.02, 0], [0, 3, 1], [0, 0, 9]])
    got = zero_shot(pictures, np.array([0, 1, 2, 2]), vectors)
    assert got == {"accuracy": 0.75, "class_accuracy": 2.5 / 3, "chance": 1 / 3, "majority": 0.5, "n": 4.0}


@pytest.mark.parametrize("tokenizer", ["byte_bpe", "wordpiece"])
def test_prompts_are_framed_as_the_texts_a_model_was_trained_on(tokenizer, tmp_path):
    texts = ["a red cat", "the dog that was not there any more", "two"]
    rows = []
    for i, text in enumerate(texts):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(file, "PNG")
        rows.append({"image": file.getvalue(), "text": text})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    config = find("tokenizers", tokenizer).Config(kind=tokenizer, vocab=300)
    prepare(tmp_path / "pairs.parquet", out=tmp_path / "store", kind="pairs", tokenizer=config, valid_fraction=0.0)
    store = Store.open(tmp_path / "store")
    facts = facts_of(store, load_tokenizer(tmp_path / "store"))
    source = find("data.sources", "image_text")
    trained = source(source.Config(kind="image_text", length=12), store, facts).rows(np.arange(3), None)
    caught = []

    def embed(batch):
        caught.append(batch)
        return batch.ids[:, :2]

    model = nn.Linear(1, 1)
    assert text_embedder(model, embed, facts, length=12)(texts).shape == (3, 2) and model.training
    assert (caught[0].ids.numpy() == trained.ids).all() and (caught[0].valid.numpy() == trained.valid).all()


def test_a_template_without_a_place_for_the_name_is_refused():
    with pytest.raises(InputError, match="template 'a photo': needs one {}"):
        class_vectors(embed, NAMES, templates=["a photo"])
