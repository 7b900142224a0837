"""Rows read by FlexAttention against the same rows under a mask."""

import pytest
import torch

from modeledge.core import Batch, Facts, build, find
from modeledge.engine.flex import flex_gain, make_flexible
from modeledge.layers import attention
from modeledge.visibility import Near, Ruled, Seen, both, see
from modeledge.visibility.causal import causal
from modeledge.visibility.document import document
from modeledge.visibility.prefix import prefix
from modeledge.visibility.valid import valid
from modeledge.visibility.window import window

B, T = 2, 300


def stack(**settings):
    settings = {"width": 64, "layers": 2, "heads": 2, "positions": {"kind": "rotary"}, "join": "pre"} | settings
    config = find("backbones", "transformer").Config.model_validate({"kind": "transformer", **settings})
    return build("backbones", config, Facts(vocab=31))


def rules():
    doc = torch.arange(T).expand(B, T) * torch.tensor([[2], [5]]) // T
    real = torch.arange(T) < torch.tensor([[T], [170]])
    return {
        "document": document(doc),
        "causal in documents": both(causal, document(doc)),
        "window": window(20, 9),
        "prefix": prefix(torch.tensor([3, 200])),
        "padding": valid(real),
        "nothing at all for some": both(valid(real), lambda b, h, q, k: (q < 250) & (k < 180)),
    }


@pytest.fixture
def used(monkeypatch):
    calls = []
    plain = attention.flexed
    monkeypatch.setattr(attention, "flexed", lambda *a, **k: calls.append(1) or plain(*a, **k))
    return calls


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", rules())
def test_it_reads_what_a_mask_lets_see(name, used):
    rule, model = rules()[name], stack()
    make_flexible(model)
    batch = Batch(ids=torch.randint(0, 31, (B, T)))
    kind = Near if Near.pays(rule, T) else Ruled
    with torch.no_grad():
        flexed = model(batch, kind(rule, B, T, None, "cpu")).states
        assert len(used) == 2
        place = torch.arange(T)
        mask = rule(torch.arange(B)[:, None, None, None], torch.zeros(1, 1, 1, 1), place[:, None], place)
        masked = model(batch, Seen(mask.expand(B, 1, T, T))).states
    assert len(used) == 2 and torch.allclose(flexed, masked, atol=2e-5)
    assert not torch.allclose(masked, model(batch).states, atol=1e-2)  # the rule matters


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": {"kind": "softmax", "dropout": 0.1}},
        {"positions": {"kind": "bucketed"}},
        {"attention": {"kind": "banded"}},
    ],
)
def test_what_it_cannot_compute_is_left_to_the_mask(settings, used):
    model = stack(**settings).train()
    make_flexible(model)
    rule = rules()["document"]
    batch = Batch(ids=torch.randint(0, 31, (B, T)))
    torch.manual_seed(0)
    found = model(batch, Ruled(rule, B, T, None, "cpu")).states
    torch.manual_seed(0)
    assert not used and torch.equal(found, model(batch, see(rule, B, T, device="cpu")).states)


def test_on_a_cpu_it_is_not_tried():
    assert flex_gain(torch.device("cpu"), "bf16", heads=2, head_width=32, length=512) == (0.0, "")


@pytest.mark.gpu
@pytest.mark.parametrize("name", rules())
def test_its_gradients_are_those_under_a_mask(name):
    torch.set_default_device("cuda")
    try:
        rule, model, batch = rules()[name], stack(), Batch(ids=torch.randint(0, 31, (B, T)))
        grads = []
        for flexible in (False, True):
            model.flexible = flexible
            model.zero_grad()
            states = model(batch, see(rule, B, T, device="cuda")).states
            (states**2).sum().backward()
            grads.append([p.grad.clone() for p in model.parameters()])
        assert all(torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in zip(*grads, strict=True))
    finally:
        torch.set_default_device("cpu")


@pytest.mark.gpu
def test_on_a_gpu_its_worth_is_measured_in_long_rows():
    gain, failed = flex_gain(torch.device("cuda"), "bf16", heads=12, head_width=64, length=1024)
    assert gain > 0 and not failed
