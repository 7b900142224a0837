"""The walk over paragraphs with readers that are told what to find; what a reading takes from scores."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.data.sources._links import Story
from modeledge.run.explore import MORE, Found, Reading, Walk, explore, extract

STORY = Story("Where does Anna work?", ["Anna", "Acme", "Lund"], [["a0", "a1"], ["b0"], ["c0"]])


def told(finds, log=None):
    """A reader that finds in a paragraph what `finds` says: (hops, answers) as (sentence, name)."""

    def read(asked):
        readings = []
        for number, visit in asked:
            if log is not None:
                log.append((number, visit.node, visit.clues, visit.allow))
            hops, answers = finds.get(visit.node, ((), ()))
            readings.append(Reading([Found(*h) for h in hops], [Found(*a) for a in answers], visit.node, 1.0))
        return readings

    return read


def test_the_walk_begins_at_what_the_question_names_and_follows_what_it_reads():
    log: list = []
    (walk,) = explore([STORY], told({0: ([(1, "Acme")], []), 1: ([], [(0, "a hill")])}, log))
    assert [(node, clues) for _, node, clues, _ in log] == [(0, ()), (1, ((0, 1),)), (3, ((1, 0),))]
    assert walk.names[3] == "a hill" and walk.answers == [3]
    nodes, edges = walk.graph()
    assert nodes == [0, 1, 3] and np.count_nonzero(edges) == 5
    assert edges[:, 2] == pytest.approx([0, 1 / 3, 2 / 3])


def test_a_node_found_again_gets_an_edge_and_is_read_again_with_both_clues():
    finds = {0: ([(0, "Acme"), (1, "Acme")], []), 1: ([(0, "Lund"), (0, "Acme")], []), 2: ([(0, "Acme")], [])}
    log: list = []
    (walk,) = explore([STORY], told(finds, log))
    assert walk.names == STORY.titles and walk.edges[1] == [(0, 0), (0, 1), (2, 0)]
    assert [n for _, n, _, allow in log if not allow] == [0, 1, 2, 1]
    assert log[3][2] == ((0, 0), (0, 1), (2, 0))


def test_the_walk_ends_however_much_is_found():
    counter = iter(range(100_000))
    read = lambda asked: [  # noqa: E731
        Reading([Found(0, t) for t in STORY.titles], [Found(0, f"x{next(counter)}yz" * 3)], v.node, 0.0)
        for _, v in asked
    ]
    for most in (0, 4):
        (walk,) = explore([STORY], read, most=most)
        assert not walk.front and len(walk.names) <= (most or len(STORY.titles) + MORE)


def test_where_no_answer_is_sure_the_best_is_let_in_once():
    log: list = []
    (walk,) = explore([STORY], told({}, log))
    assert [allow for *_, allow in log] == [0.0, 1.1] and walk.answers == []


def test_walks_side_by_side_are_the_walks_one_by_one():
    finds = {0: ([(1, "Acme")], []), 1: ([(0, "Lund")], [(0, "a hill")]), 2: ([], [(0, "Anna")])}
    other = Story("What?", ["Anna", "Acme", "Lund"], STORY.sentences)
    together = explore([STORY, other], told(finds))
    for story, walk in zip((STORY, other), together, strict=True):
        assert vars(explore([story], told(finds))[0]) == vars(walk)
    assert isinstance(together[0], Walk)


def test_names_begin_surer_than_nothing_and_end_in_their_sentence():
    row = {"sentence": np.array([0, 0, 1, 1, 1, 2, 2, 2]), "passage_spans": np.full((8, 2), -1)}
    row["passage_spans"][[2, 3, 5, 6]] = [[0, 4], [5, 9], [0, 3], [4, 8]]  # 4 and 7 end their sentences
    texts = ["Acme Corp", "Old Lund"]
    scores = np.zeros((8, 4))
    scores[[2, 5], 0], scores[[3, 6], 1] = [1.0, 2.0], [5.0, 9.0]
    scores[4, 0] = scores[4, 1] = 50.0  # no token of a sentence
    scores[0, 2], scores[6, 2], scores[6, 3] = 3.0, 2.5, 1.0
    found = extract(row, scores, texts, None)
    assert found.hops == [Found(1, "Old Lund"), Found(0, "Acme Corp")] and found.answers == [] and found.gap == 0.5
    scores[0, 0] = 1.5
    assert extract(row, scores, texts, None).hops == [Found(1, "Old Lund")]
    assert extract(row, scores, texts, None, allow=0.6).answers == [Found(1, "Lund")]
