"""Word vectors of whole texts, from a model that spells words it does not know."""

import json

import numpy as np
import pytest

from modeledge.run.embed import embed
from modeledge.run.pretrain import pretrain

pytestmark = pytest.mark.contract  # whole stories of verbs

STEMS = "walk talk jump paint climb shout plant clean watch open laugh turn call help look kick".split()
ENDINGS = ["", "s", "ed", "ing"]


def text_of(rng, n, without=()):
    """Sentences in which a verb in any form stands beside its own two nouns."""
    words = []
    for _ in range(n):
        k = int(rng.integers(len(STEMS)))
        verb = STEMS[k] + ENDINGS[int(rng.integers(4))]
        if verb not in without:
            words += [verb, f"{chr(97 + k)}noun", f"{chr(97 + k)}thing"]
    return " ".join(words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("grams")
    held = {STEMS[k] + ENDINGS[1 + k % 3] for k in range(len(STEMS))}  # a form of each verb that is never read
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text_of(rng, 60, held)}) + "\n" for _ in range(200)))
    sets = ["backbone={width: 32, buckets: 5000}", "data.text={length: 48, window: 2, sample: 0}", "tokenizer.least=1"]
    data, out = [str(folder / "text.jsonl")], folder / "run"
    pretrain("fasttext", size="tiny", data=data, out=out, budget="150steps", sets=sets, quiet=True)
    return out, sorted(held)


def test_a_form_of_a_verb_that_was_never_read_lies_nearest_to_the_forms_that_were(trained):
    out, held = trained
    known = [s + e for s in STEMS for e in ENDINGS if s + e not in held]
    nearest = [known[int(i)] for i in (embed(out, held) @ embed(out, known).T).argmax(1)]
    stems = [[next(s for s in STEMS if word.startswith(s)) for word in words] for words in (held, nearest)]
    assert np.mean(np.array(stems[0]) == np.array(stems[1])) > 0.8  # chance: one in sixteen


def test_what_stands_beside_a_verb_is_near_to_its_unread_form_too(trained):
    out, held = trained
    nouns = [f"{chr(97 + k)}noun" for k in range(len(STEMS))]
    nearest = (embed(out, held) @ embed(out, nouns).T).argmax(1)
    assert np.mean([held[i].startswith(STEMS[k]) for i, k in enumerate(nearest)]) > 0.5  # chance: one in sixteen


def test_a_text_is_the_mean_of_its_words_and_none_is_zero(trained):
    out, held = trained
    words = ["Walk", held[0], "anoun"]
    each = embed(out, words, normalise=False)
    found = embed(out, [" ".join(words), ""], normalise=False)
    np.testing.assert_allclose(found, [each.mean(0), 0 * each[0]], atol=1e-6)
    assert np.allclose(np.linalg.norm(embed(out, words), axis=1), 1)
