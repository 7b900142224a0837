import pytest

from modeledge.core import InputError
from modeledge.run.pretrain import pretrain
from modeledge.run.prompt import continue_texts
from modeledge.run.search import Sample

pytestmark = pytest.mark.contract  # whole stories of verbs

SMALL = ["backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.ffn.width=64", "loop.batch=16"]


@pytest.fixture(scope="module")
def writer(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("gpt") / "run"
    sets = [
        *SMALL,
        "data.text.length=32",
        "loop.steps=120",
        "loop.precision=fp32",
        "tokenizer.vocab=320",
        "optim.lr=5e-3",
    ]
    pretrain("gpt2", size="tiny", data=[str(corpus)], out=out, sets=sets, quiet=True)
    return out


def test_a_prompt_is_continued_with_words_of_the_corpus_and_the_same_seed_says_the_same(writer):
    one = continue_texts(writer, ["The dog sees", "The"], limit=12)
    assert [a["prompt"] for a in one] == ["The dog sees", "The"]
    words = "the dog cat bird fish horse sees hears likes follows in garden house river field".split()
    said = " ".join(a["continuation"] for a in one).lower().replace(".", " ").split()
    assert said and sum(w in words for w in said) >= 0.7 * len(said), said
    how = Sample(temperature=1.0, top_k=20)
    assert continue_texts(writer, ["The"], how, seed=1) == continue_texts(writer, ["The"], how, seed=1)
    drawn = {continue_texts(writer, ["The"], how, seed=s)[0]["continuation"] for s in range(4)}
    assert len(drawn) > 1


def test_prompts_of_different_lengths_do_not_disturb_each_other(writer):
    alone = continue_texts(writer, ["The dog"], limit=8)[0]
    among = continue_texts(writer, ["The bird likes the horse in the", "The dog"], limit=8)[1]
    assert alone == among


def test_an_empty_prompt_and_a_model_that_does_not_write_are_refused(writer, train, tmp_path):
    with pytest.raises(InputError, match="at least one token"):
        continue_texts(writer, [""])
    train(steps=1)
    with pytest.raises(InputError, match="not a causal language model"):
        continue_texts(tmp_path / "run", ["The"])
