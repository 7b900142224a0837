import numpy as np
import pytest
import torch

from modeledge.core import Facts, InputError, find
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.fill import fill
from modeledge.run.keep import Loaded
from modeledge.run.model import make_model

TEXTS = ["the old man reads a book near the sea", "a young woman reads the paper near the old house"] * 20


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """A tiny BERT with random weights and a tokenizer trained on a few words."""
    kind = find("tokenizers", "wordpiece")
    tokenizer = kind(kind.Config(kind="wordpiece", vocab=90)).train(iter(TEXTS))
    tree = resolve("bert", size="tiny", sets=["backbone.positions.max=16", "data.text.length=16"])
    facts = Facts(vocab=tokenizer.vocab, special=tokenizer.special, words=tokenizer.words, tokenizer=tokenizer)
    return Loaded("tiny", make_model(check(tree), facts, seed=0).eval(), check(tree), tree, facts, {})


def test_guesses_are_those_of_transformers_with_the_same_weights(loaded, tmp_path):
    transformers = pytest.importorskip("transformers")
    from modeledge.interop import export_folder
    from modeledge.run.checkpoint import own_tensors
    from modeledge.run.keep import facts_to_json

    facts, folder = loaded.facts, tmp_path / "hf"
    export_folder(folder, loaded.tree.keys, own_tensors(loaded.model), facts_to_json(facts), tokenizer=facts.tokenizer)
    (found,) = fill(loaded, ["the old [MASK] reads a [MASK]"], top=4)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("the old [MASK] reads a [MASK]", return_tensors="pt")
    with torch.no_grad():
        scores = theirs(**inputs).logits[0][inputs["input_ids"][0] == tokenizer.mask_token_id]
    scores[:, np.flatnonzero(facts.is_special())] = -torch.inf
    best = scores.softmax(-1).topk(4)
    names = [tokenizer.convert_ids_to_tokens(row.tolist()) for row in best.indices]
    assert [[word for word, _ in guesses] for guesses in found.guesses] == names
    chances = [[p for _, p in guesses] for guesses in found.guesses]
    np.testing.assert_allclose(chances, best.values, atol=1e-5)


def test_a_text_without_a_hidden_place_is_refused(loaded):
    with pytest.raises(InputError, match=r"write \[MASK\]"):
        fill(loaded, ["nothing is hidden here"])


def test_a_text_longer_than_the_model_is_refused(loaded):
    with pytest.raises(InputError, match="16"):
        fill(loaded, ["the old man " * 20 + "[MASK]"])
