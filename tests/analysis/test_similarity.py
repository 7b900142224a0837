"""Word vectors against gensim's KeyedVectors and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from modeledge.analysis.similarity import WordVectors, analogies, similarity
from modeledge.core import InputError

WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture
def both():
    gensim = pytest.importorskip("gensim")
    table = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    theirs = gensim.models.KeyedVectors(5)
    theirs.add_vectors(WORDS, table)
    return WordVectors(table, WORDS), theirs


def test_the_nearest_words_are_gensims(both):
    ours, theirs = both
    for given in ({"positive": ["w3"]}, {"positive": ["w1", "w2"], "negative": ["w5"]}):
        mine, other = ours.most_similar(**given, n=8), theirs.most_similar(**given, topn=8)
        assert [w for w, _ in mine] == [w for w, _ in other]
        np.testing.assert_allclose([s for _, s in mine], [s for _, s in other], atol=1e-6)


def test_analogies_are_gensims_and_the_words_of_a_question_are_no_answers(both, tmp_path):
    ours, theirs = both
    rng = np.random.default_rng(1)
    asked = [tuple(WORDS[i] for i in rng.choice(60, 4, replace=False)) for _ in range(300)]
    asked = [(a, b, c, theirs.most_similar([b, c], [a], topn=1)[0][0] if i % 3 == 0 else d)
             for i, (a, b, c, d) in enumerate(asked)]  # fmt: skip
    (tmp_path / "q.txt").write_text(": all\n" + "\n".join(" ".join(q) for q in asked))
    expected, _ = theirs.evaluate_word_analogies(str(tmp_path / "q.txt"), case_insensitive=False)
    found = analogies(ours, [*asked, ("w1", "w2", "w3", "absent")])
    assert found == {"accuracy": pytest.approx(expected), "n": 300, "missing": 1}
    assert expected > 0.3


def test_agreement_with_people_is_spearmans_rank_correlation(both):
    ours, theirs = both
    rng = np.random.default_rng(2)
    pairs = [(*(WORDS[i] for i in rng.choice(60, 2, replace=False)), float(rng.integers(10))) for _ in range(80)]
    found = similarity(ours, [*pairs, ("W1", "absent", 3.0)])
    expected = spearmanr([theirs.similarity(a, b) for a, b, _ in pairs], [s for *_, s in pairs])[0]
    assert found["spearman"] == pytest.approx(expected, abs=1e-6) and found["n"] == 80 and found["missing"] == 1


def test_a_word_is_found_in_lower_case_and_an_unknown_one_is_named_with_the_nearest(both):
    ours, _ = both
    assert ours.find("W7") == 7 and ours.find("nothing") is None
    with pytest.raises(InputError, match="no word named 'w600'; did you mean 'w"):
        ours.most_similar(["w600"])
