"""Writing text: token for token what transformers writes, with and without a cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from modeledge.core import Batch, Facts, InputError, build, find
from modeledge.interop import from_hf
from modeledge.run.generate import generate, padded_in_front
from modeledge.run.search import Beam, Greedy, Sample
from modeledge.visibility import see
from modeledge.visibility.causal import causal

V, END, PAD, MASK = 30, 1, 0, 4


def adopt(theirs: Any, kind: str) -> tuple[Any, Any]:
    """Our backbone and objective with the weights of a model of transformers."""
    found = from_hf(theirs.config.to_dict() | {"architectures": [type(theirs).__name__]}, theirs.state_dict())
    facts = Facts(vocab=V, special={"pad": PAD, "eos": END, "mask": MASK}, words=(5, V), sentinels=[29, 28])
    settings = {o["kind"]: o for o in found.objectives}[kind]
    backbone = build(
        "backbones", find("backbones", found.backbone["kind"]).Config.model_validate(found.backbone), facts
    )
    objective = build("objectives", find("objectives", kind).Config.model_validate(settings), facts, backbone)
    both = nn.ModuleDict({"backbone": backbone, "objectives": nn.ModuleDict({kind: objective})})
    assert not both.load_state_dict(found.state, strict=False).unexpected_keys
    return backbone, objective


@pytest.fixture(scope="module")
def gpt2():
    torch.manual_seed(2)  # a model whose texts end at different lengths
    sizes = dict(n_embd=16, n_layer=2, n_head=2, vocab_size=V, n_positions=40, initializer_range=0.6)
    config = GPT2Config(**sizes, bos_token_id=END, eos_token_id=END)
    theirs = GPT2LMHeadModel(config).eval()
    return theirs, *adopt(theirs, "clm")


@pytest.fixture(scope="module")
def t5():
    torch.manual_seed(1)
    sizes = dict(vocab_size=V, d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=32, initializer_factor=2.0)
    special = dict(decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=END)
    config = T5Config(**sizes, **special, tie_word_embeddings=False)  # tied, a random one repeats itself
    theirs = T5ForConditionalGeneration(config).eval()
    return theirs, *adopt(theirs, "denoise")


def prompts(b=6, t=5, seed=0):
    return torch.randint(5, V, (b, t), generator=torch.Generator().manual_seed(seed))


def padded(front: bool):
    """Prompts of 3 to 7 tokens."""
    ids, n = prompts(5, 7, seed=2), torch.tensor([7, 3, 5, 4, 6])[:, None]
    valid = torch.arange(7) >= 7 - n if front else torch.arange(7) < n
    return torch.where(valid, ids, PAD), valid


WAYS = {
    "greedy": (Greedy(), {}),
    "beam 3": (Beam(3), {"num_beams": 3}),
    "beam 4, long": (Beam(4, penalty=2.0), {"num_beams": 4, "length_penalty": 2.0}),
    "beam 2, short": (Beam(2, penalty=0.0), {"num_beams": 2, "length_penalty": 0.0}),
}
each_way = pytest.mark.parametrize("way", WAYS)


def texts(rows):
    """Each up to its end token; transformers fills up with either padding or end tokens."""
    return [row[: row.index(END) + 1] if END in row else row for row in rows.tolist()]


@each_way
def test_gpt2_continues_as_in_transformers(gpt2, way):
    theirs, backbone, objective = gpt2
    how, options = WAYS[way]
    ids = prompts(8)
    found = generate(backbone, objective, Batch(ids=ids), how, limit=12)
    options |= dict(max_new_tokens=12, do_sample=False, pad_token_id=PAD)
    wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), **options)[:, 5:]
    assert texts(found) == texts(wanted)
    assert len({len(t) for t in texts(found)}) > 1  # some end early, others late or not at all


@each_way
@pytest.mark.parametrize("front", [True, False])
def test_prompts_of_different_lengths_are_continued_as_in_transformers(gpt2, way, front):
    theirs, backbone, objective = gpt2
    ids, valid = padded(front)
    how, options = WAYS[way]
    found = generate(backbone, objective, Batch(ids=ids, valid=valid), how, limit=8)
    left = padded_in_front(Batch(ids=ids, valid=valid))
    options |= dict(max_new_tokens=8, do_sample=False, pad_token_id=PAD)
    assert texts(found) == texts(theirs.generate(left.ids, attention_mask=left.valid.long(), **options)[:, 7:])


@each_way
def test_t5_answers_as_in_transformers(t5, way):
    theirs, backbone, objective = t5
    ids, valid = padded(front=False)
    how, options = WAYS[way]
    found = generate(backbone, objective, Batch(ids=ids, valid=valid), how, limit=10)
    options |= dict(max_new_tokens=10, do_sample=False)
    assert texts(found) == texts(theirs.generate(ids, attention_mask=valid.long(), **options)[:, 1:])


@torch.no_grad()
def test_the_cache_changes_nothing(gpt2, t5):
    """Against reading everything again at each step."""
    _, backbone, objective = gpt2
    ids = prompts()
    found = generate(backbone, objective, Batch(ids=ids), limit=9)
    for n in range(found.shape[1]):
        text = torch.cat([ids, found[:, :n]], 1)
        states = backbone.eval()(Batch(ids=text), see(causal, *text.shape, device="cpu")).states
        going = ~(found[:, :n] == END).any(1)
        assert objective.head(states[:, -1]).argmax(-1)[going].tolist() == found[going, n].tolist()
    _, backbone, objective = t5
    found = generate(backbone, objective, Batch(ids=ids), limit=9)
    for n in range(found.shape[1]):
        text = torch.cat([torch.full_like(ids[:, :1], PAD), found[:, :n]], 1)
        states = backbone.eval()(Batch(ids=ids, decoder_ids=text)).states
        going = ~(found[:, :n] == END).any(1)
        assert objective.head(states[:, -1]).argmax(-1)[going].tolist() == found[going, n].tolist()


def unilm(rule: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    facts = Facts(vocab=V, special={"pad": PAD, "cls": 2, "sep": END, "mask": MASK}, words=(5, V))
    kind = find("backbones", "transformer")
    parts = {"embedding": {"kind": "tokens", "types": {"segments": 6}}, "init": {"kind": "normal", "std": 0.6}}
    sizes = {"kind": "transformer", "width": 16, "layers": 2, "heads": 2, "positions": {"kind": "learned", "max": 40}}
    backbone = build("backbones", kind.Config.model_validate({**sizes, **parts}), facts)
    visible = {"rule": rule, "segments": (4, 5) if rule == "prefix" else (2, 2)}
    config = find("objectives", "mlm").Config.model_validate({"kind": "mlm", "visible": visible})
    return backbone.eval(), build("objectives", config, facts, backbone).eval()


@torch.no_grad()
@pytest.mark.parametrize("rule", ["prefix", "causal"])
def test_a_masked_model_writes_by_filling_one_mask_after_the_other(rule):
    """Against reading source, text and mask again at each step, each row by itself and without padding."""
    backbone, objective = unilm(rule)
    ids, valid = padded(front=False)
    found = generate(backbone, objective, Batch(ids=ids, valid=valid), limit=8)
    for b in range(5):
        source = ids[b][valid[b]][None]
        for n in range(found.shape[1]):
            if END in found[b, :n]:
                assert (found[b, n:] == PAD).all()
                break
            text = torch.cat([source, found[b : b + 1, :n], torch.tensor([[MASK]])], 1)
            a, c = objective.config.visible.segments
            segments = torch.tensor([[a] * source.shape[1] + [c] * (n + 1)])
            batch = Batch(ids=text, segments=segments, prefix=torch.tensor([source.shape[1]]))
            scores = objective.head(objective.run(backbone, batch).states[:, -1])
            assert scores.argmax(-1).item() == found[b, n].item()


def test_sampling_repeats_with_its_seed_and_draws_from_the_models_distribution(gpt2):
    theirs, backbone, objective = gpt2
    ids = prompts(1).expand(20_000, -1)
    rngs = [torch.Generator().manual_seed(s) for s in (5, 5, 6)]
    how = Sample(temperature=1.5, top_k=6)
    texts = [generate(backbone, objective, Batch(ids=ids[:50]), how, limit=6, rng=r).tolist() for r in rngs]
    assert texts[0] == texts[1] != texts[2]
    drawn = generate(backbone, objective, Batch(ids=ids), how, limit=1, rng=rngs[0])[:, 0]
    with torch.no_grad():
        scores = theirs(ids[:1]).logits[0, -1] / 1.5
    best = scores.topk(6)
    for token, p in zip(best.indices.tolist(), best.values.softmax(-1).tolist(), strict=True):
        assert abs((drawn == token).sum().item() - 20_000 * p) < 3 * (20_000 * p * (1 - p)) ** 0.5
    assert set(drawn.tolist()) <= set(best.indices.tolist())


def test_the_model_goes_back_to_training_and_keeps_no_gradient(gpt2):
    _, backbone, objective = gpt2
    backbone.train(), objective.eval()
    assert not generate(backbone, objective, Batch(ids=prompts()), limit=2).requires_grad
    assert backbone.training and not objective.training
    backbone.eval()


def test_too_long_a_text_and_a_model_that_cannot_write_are_named(gpt2):
    _, backbone, objective = gpt2
    with pytest.raises(InputError, match="41 tokens of prompt and text, and the model has 40 places"):
        generate(backbone, objective, Batch(ids=prompts()), limit=36)
    backbone, objective = unilm("full")
    with pytest.raises(InputError, match="'mlm' does not write text"):
        generate(backbone, objective, Batch(ids=prompts()), limit=3)
