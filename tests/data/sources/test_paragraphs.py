"""Questions with paragraphs as graphs: which names are found, what is marked, what each node hears."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modeledge.core import find, keyed
from modeledge.data import facts_of
from modeledge.data.sources._links import Story, find_name, graph_of, kind_of, nearest_name
from modeledge.data.sources.paragraphs import Paragraphs, edges_of
from modeledge.data.tables import Table

STORY = {
    "question": "In which country lies the town where Anna Berg (painter) was born?",
    "paragraphs": [
        {
            "title": "Anna Berg (painter)",
            "sentences": ["Anna Berg paints.", "She was born in Lund and left it early."],
        },
        ["Lund", ["Lund is old.", "Lund lies in the south of Sweden."]],
        ["Malmo", ["Malmo lies in Sweden too."]],
    ],
    "answer": "Sweden",
    "supporting_facts": [["Anna Berg (painter)", 1], ["Lund", 1]],
}
FIELDS = ("begin hop", "end hop", "begin answer", "end answer")


@pytest.fixture(scope="module")
def tokenizer():
    part = find("tokenizers", "wordpiece")
    return part(part.Config(kind="wordpiece", vocab=200)).train(iter([json.dumps(STORY)] * 3))


@pytest.fixture
def source(tokenizer, tmp_path):
    def make(*stories, **settings):
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(s) + "\n" for s in stories))
        config = Paragraphs.Config.model_validate({"kind": "paragraphs", "length": 64, **settings})
        return Paragraphs(config, Table.open(tmp_path / "t.jsonl"), facts_of(None, tokenizer))

    return make


def test_the_graph_of_a_story_leads_over_the_supports_to_the_answer(source):
    graph = source(STORY).graphs[0]
    assert graph.kind == "name" and graph.nodes == 4 and graph.decided == 3
    assert graph.edges == [(0, 1, 1), (1, 1, 3)]
    sentences = [p["sentences"] if isinstance(p, dict) else p[1] for p in STORY["paragraphs"]]
    (hop,), (answer,) = graph.hops, graph.answers
    assert [sentences[m.paragraph][m.sentence][m.begin : m.end] for m in (hop, answer)] == ["Lund", "Sweden"]


def test_without_supports_every_sentence_counts_and_a_title_can_be_the_answer(source):
    open_ = {k: v for k, v in STORY.items() if k != "supporting_facts"}
    graph = source(open_ | {"answer": "Lund"}).graphs[0]
    assert graph.decided == 1 and graph.nodes == 3 and graph.hops == []
    assert [(m.paragraph, m.sentence) for m in graph.answers] == [(0, 1)]


def test_marks_stand_at_the_first_and_last_token_of_names_and_else_at_the_first_token(source, tokenizer):
    made = source(STORY, others=0)
    batch = made.rows(np.arange(1), keyed(0))
    names = tokenizer.pieces.tokens
    for node, wanted in enumerate([("lund", None), (None, "sweden"), (None, None)]):
        for half, name in enumerate(wanted):
            begin, end = batch.marks[0, node, :, 2 * half], batch.marks[0, node, :, 2 * half + 1]
            if name is None:
                assert begin[0] == end[0] == pytest.approx(0.1) and not begin[1:].any() and not end[1:].any()
                continue
            first, last = int(begin.argmax()), int(end.argmax())
            assert begin.sum() == end.sum() == 1
            assert "".join(names[i].removeprefix("##") for i in batch.ids[0, node, first : last + 1]) == name
    assert not batch.marks[0, 3].any() and batch.paragraph.tolist() == [[True, True, True, False]]


def test_a_node_is_the_question_what_led_to_it_and_its_sentences(source, tokenizer):
    made = source(STORY, others=0)
    batch = made.rows(np.arange(1), keyed(0))
    cls, sep = tokenizer.special["cls"], tokenizer.special["sep"]

    def ids(text):
        return [*tokenizer.encode_batch([text])[0].tolist(), sep]

    first, second = "She was born in Lund and left it early.", "Lund lies in the south of Sweden."
    lund = [cls, *ids(STORY["question"]), *ids(first)], ids("Lund is old."), ids(second)
    for node, parts in ((1, lund), (3, ([cls, *ids(STORY["question"]), *ids(second)],))):
        size = int(batch.valid[0, node].sum())
        assert batch.ids[0, node, :size].tolist() == [i for part in parts for i in part]
        assert batch.sentence[0, node, :size].tolist() == [n for n, part in enumerate(parts) for _ in part]
        assert (batch.segments[0, node] == (batch.sentence[0, node] > 0)).all()


def test_wrong_answers_hang_on_sentences_that_do_not_hold_the_right_one(source):
    made = source(STORY, others=3)
    graph = made.graphs[0]
    for seed in range(20):
        batch = made.rows(np.arange(1), keyed(seed))
        assert batch.nodes.sum() == graph.nodes + 3
        for node in range(4, 7):
            assert np.count_nonzero(batch.edges[0, :, node]) == 2  # itself and where it comes from
            assert not (batch.ids[0, node] == batch.ids[0, 3]).all()  # the right one's text


def test_what_a_node_hears_sums_to_one_and_most_is_of_itself():
    table = edges_of([(0, 2), (1, 2), (0, 1)], 4)
    assert table.sum(0) == pytest.approx(np.ones(4))
    assert table[:, 2] == pytest.approx([1 / 4, 1 / 4, 1 / 2, 0]) and table[:, 1] == pytest.approx([1 / 3, 2 / 3, 0, 0])
    assert table[:, 0].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("question", "answer", "wanted"),
    [
        ("Are Lund and Malmo towns?", "yes", ("yes", 1)),
        ("Is Malmo as old as Lund?", "no", ("yes", 0)),
        ("Which is older, Lund or Malmo?", "Malmo", ("which", 1)),
        ("Which is older, Malmo or Lund?", "Malmo", ("which", 0)),
    ],
)
def test_comparisons_are_decided_between_the_titles_that_the_question_names(question, answer, wanted):
    story = Story(question, ["Anna", "Lund", "Malmo"], [["She paints."], ["Lund is old."], ["Malmo too."]], answer)
    graph = graph_of(story)
    named = sorted((question.index(t), i) for i, t in enumerate(story.titles) if t in question)
    assert (graph.kind, graph.decided) == wanted and list(graph.compared) == [i for _, i in named]


def test_names_are_found_as_words_and_matched_with_slips():
    assert find_name("Lund (town)", "Lundby is not lund.") == (14, 18) and find_name("x.y", "xay") is None
    assert find_name("隆德", "她出生在隆德市。") == (4, 6)
    assert nearest_name("the Lund", ["Malmo", "Lund (town)"], least=0.5) == 1
    assert nearest_name("Oslo", ["Lund", "Rome"], least=0.5) is None and nearest_name("a", [], least=0.0) is None
    assert [kind_of(q) for q in ("Who?", "Did he go?", "Is it a or b?", "")] == ["name", "yes", "which", "name"]


def test_a_question_whose_answer_stands_nowhere_is_not_learnt_from_but_asked(source):
    made = source(STORY, STORY | {"answer": "Norway"})
    assert made.known == [0] and len(made) == 1 and len(made.stories) == 2


def test_supports_that_do_not_exist_are_counted_and_the_others_used(source):
    facts = [*STORY["supporting_facts"], ["Lund", 7], ["Oslo", 0]]
    made = source(STORY | {"supporting_facts": facts}, STORY | {"supporting_facts": [["Oslo", 0]]})
    assert made.missing == 3 and vars(made.graphs[0]) == vars(source(STORY).graphs[0])
    everywhere = source({k: v for k, v in STORY.items() if k != "supporting_facts"}).graphs[0]
    assert vars(made.graphs[1]) == vars(everywhere)
