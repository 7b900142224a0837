"""Texts written after reading passages: the losses of transformers' classes, what learns, and both ways to decode."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DPRConfig,
    DPRQuestionEncoder,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)

from modeledge.core import Batch, Facts, RecipeError, keyed
from modeledge.losses.marginal import marginal_nll
from modeledge.objectives._index import encode_texts, repeated
from modeledge.objectives.match import Match
from modeledge.objectives.rag import Rag
from modeledge.objectives.seq2seq import Seq2Seq
from modeledge.run.generate import generate
from modeledge.run.marginal import score
from modeledge.run.search import Beam, Greedy, Sample
from modeledge.visibility import Seen


@pytest.fixture
def make(library):
    """make(shelf) -> an objective that knows these passages, and its backbone."""

    def made(shelf=None, backbone=None, facts=library.facts, **settings):
        backbone = backbone or library.dual(library.stack(16, 1, "encoder_decoder"), facts, norm=None)
        objective = Rag(Rag.Config.model_validate({"kind": "rag", "candidates": 3} | settings), facts, backbone).eval()
        if shelf is not None:
            objective.consult({"text": shelf})
        return objective, backbone

    return made


def asked(library, objective, b=4, longest=6):
    """Inputs and texts of different lengths, as the model gets them."""
    rng = np.random.default_rng(1)
    batch = library.padded([[1, *rng.integers(5, 60, n), 2] for n in rng.integers(3, 8, b)])
    target = library.padded([[*rng.integers(5, 60, n), 4] for n in rng.integers(1, longest, b)])
    return objective.view(batch.but(target_ids=target.ids, target_valid=target.valid), keyed(0)).tensors()


@pytest.mark.parametrize(("kind", "per"), [(RagSequenceForGeneration, "sequence"), (RagTokenForGeneration, "token")])
def test_the_losses_are_those_of_transformers(adopt, make, library, kind, per):
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, init_std=0.3,
            decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=40,
            pad_token_id=0, bos_token_id=5, eos_token_id=6, decoder_start_token_id=6, forced_eos_token_id=6,
        )
    ).eval()  # fmt: skip
    bert = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    question = DPRQuestionEncoder(DPRConfig(**bert, intermediate_size=24))
    config = RagConfig.from_question_encoder_generator_configs(question.config, bart.config, n_docs=3)
    theirs = kind(config, question_encoder=question, generator=bart).eval()
    reader, found = adopt(bart)
    facts = Facts(vocab=60, special={"pad": 0, "bos": 5, "eos": 6, "sep": 3, "cls": 2}, words=(7, 60))
    backbone = library.dual({"kind": "encoder_decoder"} | reader.config.model_dump(), facts, norm=None)
    backbone.reader.load_state_dict(reader.state_dict())
    objective, _ = make(backbone=backbone, facts=facts, marginal=per)
    head = next(o.head for o in found.values() if hasattr(o, "head"))
    objective.head = head  # final_logits_bias of BART, where the port keeps one
    rng = np.random.default_rng(0)
    context = library.padded([rng.integers(7, 60, n).tolist() for n in rng.integers(4, 12, 12)]).tensors()
    labels = library.padded([[6, *rng.integers(7, 60, n), 6] for n in (2, 5, 3, 4)]).tensors()
    scores = torch.randn(4, 3)
    with torch.no_grad():
        wanted = theirs(
            context_input_ids=context.ids, context_attention_mask=context.valid.long(), doc_scores=scores,
            labels=labels.ids, reduce_loss=True,
        ).loss  # fmt: skip
        after = torch.where(labels.valid, labels.ids, -100)[:, 1:]
        shown = Batch(decoder_ids=labels.ids[:, :-1])
        likelihood, counted = objective.likelihood(objective.write(backbone, context, shown), after)
        ours = marginal_nll(scores.log_softmax(-1), likelihood, counted, per=per)
    assert ours.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert ours.count == 3 + 6 + 4 + 5


@pytest.mark.parametrize("marginal", ["token", "sequence"])
def test_with_one_passage_it_is_the_generator_on_the_joint_input(make, library, shelf, marginal):
    objective, backbone = make(shelf, candidates=1, marginal=marginal)
    batch = asked(library, objective)
    plain = Seq2Seq(Seq2Seq.Config(kind="seq2seq", head=objective.config.head), library.facts, backbone.reader)
    total = 0.0
    for i in range(4):
        query = batch.ids[i][batch.valid[i]]
        vector = backbone(Batch(query_ids=query[None]), {"query": Seen()}).towers["query"].pooled
        best = int(objective.index.top(vector, 1))
        joint = torch.cat([torch.tensor(shelf.rows[best]), query[1:]])[None]
        row = Batch(ids=joint, decoder_ids=batch.decoder_ids[i : i + 1], decoder_labels=batch.decoder_labels[i : i + 1])
        total += float(plain.loss(backbone.reader(row, Seen()), row)["seq2seq"].total.detach())
    found = objective(backbone, batch)["rag"]
    assert found.total.item() == pytest.approx(total, rel=1e-5) and found.count == objective.counts(batch)["rag"]


def test_texts_of_one_token_cost_the_same_by_token_and_by_sequence(make, library, shelf):
    reader = library.stack(16, 1, "encoder_decoder", init={"kind": "normal", "std": 0.5})
    one, backbone = make(shelf, library.dual(reader, norm=None), marginal="token")
    two, _ = make(shelf, backbone, marginal="sequence")
    for n, same in ((2, True), (6, False)):
        costs = []
        for objective in (one, two):
            batch = asked(library, objective, longest=n)
            if same:
                batch["decoder_labels"][:, 1:] = -100
            costs.append(objective(backbone, batch)["rag"].total.item())
        assert (costs[0] == pytest.approx(costs[1], abs=1e-6)) is same


def test_under_autocast_passages_are_searched_and_weighed_in_full_precision(make, library, shelf):
    """Products of some 1,000 that lie less than a unit apart: bf16 has one in four."""
    objective, backbone = make(shelf)
    batch, index = asked(library, objective), objective.index
    index.vectors = torch.full((20, 8), 11.0) + torch.arange(20.0)[torch.randperm(20), None] / 1000
    best = index.top(torch.full((1, 8), 11.0), 20)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(index.top(torch.full((1, 8), 11.0), 20), best)
        found, query = objective.find(backbone, batch), encode_texts(backbone.side("query"), repeated(batch, 1))
    near = index.vectors[found.numbers]
    torch.testing.assert_close(found.prior, (query[:, None] * near).sum(-1).log_softmax(-1))


def test_queries_and_the_generator_learn_and_passages_do_not(make, library, shelf):
    objective, backbone = make(shelf)
    objective(backbone, asked(library, objective))["rag"].total.backward()
    for part in (backbone.towers["query"], backbone.reader):
        assert all(p.grad is not None for p in part.parameters())
    assert all(p.grad is None and not p.requires_grad for p in backbone.towers["passage"].parameters())


def test_what_it_cannot_use_is_refused(make, library):
    with pytest.raises(RecipeError, match="encoder_decoder"):
        make(backbone=library.dual(library.stack(), norm=None))
    with pytest.raises(RecipeError, match="smoothing"):
        make(smoothing=0.1)


def every_text(vocab, most):
    """All texts of `most` tokens, and the shorter ones that end."""
    others = [t for t in range(vocab) if t != 4]
    for n in range(most):
        yield from ([*text, 4, *[0] * (most - n - 1)] for text in itertools.product(others, repeat=n))
    yield from map(list, itertools.product(others, repeat=most))


@pytest.fixture
def small(make, library):
    """A model over three words, so that all texts can be listed; and its inputs."""
    facts = Facts(vocab=8, special=library.facts.special, words=(5, 8))
    rng = np.random.default_rng(3)
    shelf = library.Shelf([rng.integers(5, 8, 3).tolist() for _ in range(6)])
    reader = library.stack(16, 1, "encoder_decoder", init={"kind": "normal", "std": 0.6})
    inputs = library.padded([[1, 5, 6, 2], [1, 7, 2], [1, 5, 5, 7, 2]]).tensors()

    def made(**settings):
        backbone = library.dual(reader, facts, norm=None)
        return *make(shelf, backbone, facts, **settings)[::-1], inputs

    return made


def test_the_tokens_of_the_token_model_come_from_all_passages(small):
    backbone, objective, inputs = small(marginal="token")
    written = generate(backbone, objective, inputs, Greedy(), limit=4)
    found = objective.find(backbone, inputs)
    said = torch.full((3, 1), objective.start)
    for n in range(written.shape[1]):
        states = objective.write(backbone, found.rows, Batch(decoder_ids=said))[:, :, -1]
        p = (objective.head(states).softmax(-1) * found.prior.exp()[..., None]).sum(1)
        going = ~(said[:, 1:] == 4).any(1)
        assert torch.equal(p.argmax(1)[going], written[going, n])
        said = torch.cat([said, written[:, n : n + 1]], 1)


def test_thorough_decoding_finds_the_likeliest_of_all_texts(small):
    backbone, objective, inputs = small(marginal="sequence")
    found = objective.find(backbone, inputs)
    texts = list(every_text(8, 2))
    with torch.no_grad():
        log_p = torch.stack([score(backbone, objective, found.rows, torch.tensor([t] * 3)) for t in texts])
    whole = (found.prior + log_p).logsumexp(-1)  # texts b
    torch.testing.assert_close(whole.exp().sum(0), torch.ones(3))
    best = [texts[i] for i in whole.argmax(0).tolist()]
    assert generate(backbone, objective, inputs, Beam(20, 0.0), limit=2).tolist() == best


def test_fast_decoding_counts_a_text_only_with_the_passages_it_was_written_for(small):
    backbone, objective, inputs = small(marginal="sequence", decode="fast")
    found = objective.find(backbone, inputs)
    written = generate(backbone, objective, inputs, Greedy(), limit=4).tolist()
    for i in range(3):
        alone = {}
        for k in range(3):
            row = found.rows.rows(slice(3 * i + k, 3 * i + k + 1))
            text = tuple(generate(backbone.reader, plain_of(objective, backbone), row, Beam(1), limit=4)[0].tolist())
            with torch.no_grad():
                p = score(backbone, objective, row, torch.tensor([text])).item() + found.prior[i, k].item()
            alone[text] = alone.get(text, 0.0) + math.exp(p)
        best = max(alone, key=alone.get)
        assert tuple(t for t in written[i] if t) == tuple(t for t in best if t)
    with pytest.raises(Exception, match="temperature"):
        generate(backbone, objective, inputs, Sample(), limit=4)


def plain_of(objective, backbone):
    """The generator alone."""
    config = Seq2Seq.Config(kind="seq2seq", head=objective.config.head, start="eos")
    return Seq2Seq(config, objective.facts, backbone.reader).eval()


@pytest.mark.slow
def test_answers_come_from_the_passages_and_change_with_them(make, library):
    """Passages "key value", questions "key ?": facts that change with every step are read, not learnt by heart. Keys
    nobody asked for are answered, too, and other passages give other answers."""
    rng, keys, asked = np.random.default_rng(0), 60, 45
    facts = Facts(vocab=6 + keys + 12, special=library.facts.special, words=(5, 6 + keys + 12))
    reader = library.stack(32, 1, "encoder_decoder", join="pre", init={"kind": "normal", "std": 0.1})
    backbone = library.dual(reader, facts, width=None, norm=None)
    shelf = library.Shelf([[5]] * keys)
    objective, _ = make(shelf, backbone, facts, marginal="token")
    match = Match(Match.Config(kind="match", temperature=4.0), facts, backbone)

    def redraw():
        shelf.rows = [[1, 6 + n, value, 2] for n, value in enumerate(rng.integers(6 + keys, facts.vocab, keys))]
        objective.index.forget()

    def questions(index):
        rows = library.padded([[1, 6 + n, 5, 2] for n in index])
        return rows.but(target_ids=np.array([[shelf.rows[n][2], 4] for n in index]))

    def learn(optimizer, loss):
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()

    def right(index):
        batch = questions(index)
        written = generate(backbone, objective, batch.tensors(), limit=2)
        return float((written[:, 0] == torch.tensor(batch.target_ids[:, 0])).float().mean())

    for p in backbone.towers.parameters():
        p.requires_grad_(True)  # the search is learnt first
    optimizer = torch.optim.Adam(backbone.towers.parameters(), lr=3e-3)
    for _ in range(150):
        redraw()
        index = rng.permutation(keys)[:32]
        query = questions(index)
        pairs = shelf.texts(index).but(query_ids=query.ids, query_valid=query.valid, passage=index)
        learn(optimizer, match(backbone, match.view(pairs, rng).tensors())["match"])
    backbone.towers["passage"].requires_grad_(False)
    # at the reader's rate the search unlearns, within some hundred steps, the keys that nobody asks for
    search = {"params": backbone.towers["query"].parameters(), "lr": 1e-4}
    optimizer = torch.optim.Adam([{"params": backbone.reader.parameters(), "lr": 3e-3}, search])
    for _ in range(200):
        redraw()
        batch = objective.view(questions(rng.permutation(asked)[:32]), rng)
        learn(optimizer, objective(backbone, batch.tensors())["rag"])
    fresh = np.arange(asked, keys)
    closed = closed_book(library, facts, questions, rng.permutation(asked), fresh)
    first = [row[2] for row in shelf.rows]
    assert right(fresh) > 0.8 > 0.4 > closed, (right(fresh), closed)
    redraw()
    assert right(fresh) > 0.8 and np.mean([a == row[2] for a, row in zip(first, shelf.rows, strict=True)]) < 0.3


def closed_book(library, facts, questions, asked, fresh):
    """The share of answers to fresh questions that a generator without passages gets right."""
    torch.manual_seed(0)
    reader = library.dual(library.stack(32, 1, "encoder_decoder", join="pre"), facts, norm=None).reader
    plain = Seq2Seq(Seq2Seq.Config(kind="seq2seq", start="eos"), facts, reader)
    optimizer = torch.optim.Adam(reader.parameters(), lr=3e-3)
    for _ in range(100):
        batch = plain.view(questions(asked), keyed(0)).tensors()
        loss = plain(reader, batch)["seq2seq"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = questions(fresh)
    written = generate(reader, plain, batch.tensors(), limit=2)
    return float((written[:, 0] == torch.tensor(batch.target_ids[:, 0])).float().mean())
