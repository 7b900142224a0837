"""Picking blocks with judges that know: what is kept, how much is read, and in which order."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from modeledge.core import Facts, find
from modeledge.data import facts_of
from modeledge.data.sources.blocks import Blocks, Picked
from modeledge.data.tables import Table
from modeledge.run import long
from modeledge.run.long import Rounds, first_levels
from modeledge.run.recall import recall, survey

pytestmark = pytest.mark.contract  # whole stories of verbs

WORDS = [f"w{i}" for i in range(40)]


@pytest.fixture(scope="module")
def tokenizer():
    part = find("tokenizers", "wordpiece")
    return part(part.Config(kind="wordpiece", vocab=200)).train(iter([" ".join(WORDS) + " . , ?"] * 3))


@pytest.fixture
def source(tmp_path, tokenizer):
    """A source of blocks of at most 15 tokens in rows of 64: some long texts, each of sentences of five words."""

    def make(texts=6, sentences=60, asked="w1 w2 ?", form="text", **settings):
        rng = np.random.default_rng(0)
        rows = []
        for i in range(texts):
            text = " ".join(" ".join(rng.choice(WORDS[3:], 5)) + " ." for _ in range(sentences))
            rows.append({"q": asked, "text": text, "label": i, "answers": [text[2000:2012]], "starts": [2000]})
        file = tmp_path / "t.jsonl"
        file.write_text("".join(json.dumps(r) + "\n" for r in rows))
        facts: Facts = facts_of(None, tokenizer)
        keys = {"text": "q", "second": "text", "length": 64, "block": 15, "form": form} | settings
        config = Blocks.Config.model_validate({"kind": "blocks", **keys})
        return Blocks(config, Table.open(file), facts)

    return make


def knowing(truth, seen=None):
    """A judge that gives every block its true score."""

    def score(shown):
        if seen is not None:
            seen.extend(shown)
        return [truth[text][chosen] for text, chosen in shown]

    return score


def test_a_row_is_the_question_and_its_blocks_in_order_each_with_an_end(source, tokenizer):
    texts = source()
    rows = Blocks(texts.config, Picked(texts, [(2, np.array([1, 4])), (0, np.array([3]))]), texts.facts)
    batch = rows.rows(np.arange(2), np.random.default_rng(0))
    q, cls, sep = tokenizer.encode_batch(["w1 w2 ?"])[0].tolist(), tokenizer.special["cls"], tokenizer.special["sep"]
    records = [json.loads(line) for line in texts.store.path.read_text().splitlines()]

    def block(text, number):
        whole = tokenizer.encode_batch([records[text]["text"]])[0].tolist()
        begin, end = texts.blocks[text][number] - texts.blocks[text][0, 0]
        return whole[begin:end]

    wanted = [cls, *q, sep, *block(2, 1), sep, *block(2, 4), sep]
    assert (
        batch.ids[0][: len(wanted)].tolist() == wanted
        and (batch.ids[0][len(wanted) :] == tokenizer.special["pad"]).all()
    )
    n = len(block(2, 1)) + 1
    assert batch.block[0][: len(wanted)].tolist() == [-1] * (len(q) + 2) + [0] * n + [1] * (
        len(wanted) - n - len(q) - 2
    )
    assert batch.segments[0][: len(wanted)].tolist() == [0] * (len(q) + 2) + [1] * (len(wanted) - len(q) - 2)
    assert batch.label.tolist() == [2, 0]


def test_all_blocks_together_are_the_text(source, tokenizer):
    texts = source()
    for number, line in enumerate(texts.store.path.read_text().splitlines()):
        found = np.concatenate([texts.words(number, i) for i in range(len(texts.blocks[number]))])
        assert found.tolist() == tokenizer.encode_batch([json.loads(line)["text"]])[0].tolist()
        assert (texts.sizes(number) <= 16).all()


def test_a_judge_that_knows_keeps_the_best_blocks_and_the_row_stays_in_order_and_bounds(source):
    texts = source()
    rng = np.random.default_rng(1)
    truth = [rng.random(len(b)) for b in texts.blocks]
    seen = []
    for text, kept in recall(texts, knowing(truth, seen=seen)):
        room = texts.room(text)
        order = np.argsort(-truth[text])
        wanted = order[: int((np.cumsum(texts.sizes(text)[order]) <= room).sum())][:8]
        assert kept.tolist() == sorted(wanted.tolist())
    for text, shown in seen:
        assert (np.diff(shown) > 0).all() and texts.sizes(text)[shown].sum() <= texts.room(text)


def test_what_is_read_grows_with_the_text_and_no_faster(source):
    read = []
    for sentences in (60, 120, 240):
        texts = source(texts=1, sentences=sentences)
        seen: list = []
        recall(texts, knowing([np.linspace(0, 1, len(b)) for b in texts.blocks], seen=seen))
        read.append(len(seen))
    assert read[1] <= 2.1 * read[0] and read[2] <= 2.1 * read[1]


def test_a_second_look_beside_what_is_kept_finds_what_the_first_could_not(source):
    """A judge to whom block 9 says something only where block 2 is there to be read too."""
    texts = source(texts=1)

    def score(shown):
        return [np.where((c == 2) | ((c == 9) & (2 in c)), 0.9, 0.1 - c / 1000) for _, c in shown]

    alone = survey(texts, score, [np.zeros(0, int)])[0]
    assert alone[2] > 0.5 > alone[9]
    assert {2, 9} <= set(recall(texts, score)[0][1].tolist())


def test_blocks_with_the_words_of_the_question_and_those_of_the_answer_are_relevant_at_first(source):
    texts = source(asked="w0 ?", form="span", label="answers")
    crucial = texts.crucial(0)
    passage = texts.whole.fields["passage_spans"]
    for number, block in enumerate(texts.blocks[0]):
        begin, end = passage[block[0], 0], passage[block[1] - 1, 1]
        assert crucial[number] == (begin < 2012 and end > 2000)
    assert first_levels(texts, 0).tolist() == np.where(crucial, 2, 0).tolist()  # w0 stands in no text
    asked = source(texts=1, asked="w5 w6")
    having = [len({*asked.question(0)} & {*asked.words(0, i)}) for i in range(len(asked.blocks[0]))]
    levels = first_levels(asked, 0)
    assert levels.max() == 1 and all(having[i] > 0 for i in np.flatnonzero(levels))


def test_leaving_out_a_block_moves_its_level_by_what_the_loss_does(source, monkeypatch):
    texts = source(texts=2)
    rises = {3: 0.5, 5: -0.5, 7: 0.1}
    rounds = Rounds(texts, np.random.default_rng(0))
    rounds.levels = [np.zeros(len(b), np.int64) for b in texts.blocks]

    def losses(model, rows, *, device):
        return np.array([1.0 + sum(r for b, r in rises.items() if b not in chosen) for _, chosen in rows.shown])

    monkeypatch.setattr(long, "row_losses", losses)
    for wanted in ([1, -1, 0], [2, -1, 0], [2, -1, 0]):
        rounds.intervene(None, [(1, np.array([3, 5, 7]))], device=torch.device("cpu"))
        assert rounds.levels[1][[3, 5, 7]].tolist() == wanted
    assert not rounds.levels[0].any() and not np.delete(rounds.levels[1], [3, 5, 7]).any()


def test_the_reasoner_reads_every_relevant_block_that_there_is_room_for(source):
    rounds = Rounds(source(), np.random.default_rng(0))
    for levels, number in zip(rounds.levels, range(6), strict=True):
        levels[:] = 0
        levels[[number, number + 5]] = 1
    for text, chosen in [*rounds.promising(), *rounds.mixtures()[2::3]]:
        assert {text, text + 5} <= set(chosen.tolist())
