"""Does a training step wait for its device? On torch's `meta` device nothing that depends on a number can be known, so
whatever would wait on a GPU fails there; and the paths that a CPU alone takes are not taken."""

import contextlib

import pytest
import torch

WAITS = {
    "elmo": "the distinct words of a batch are spelt once each",
    "fasttext": "the distinct words of a batch are looked up once each",
    "infoxlm": "its first step alone: whether the twin has begun",
    "mapnet": "the tokens that it draws on the device are gathered",
    "transformer_xl": "the adaptive head gathers each cluster's words",
    "unicoder": "the words to recover are gathered",
}
"""Recipes whose step waits, and what for."""


def test_a_step_waits_for_its_device_only_where_that_is_known(stage, name, monkeypatch):
    made, model, feed, known = stage(name)
    step = feed.step(0)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device=None: False)  # neither knows this device
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())
    made.device = torch.device("meta")
    trainer = made.trainer(model, feed, None, known, None)
    model.train()
    waiting = pytest.raises((NotImplementedError, RuntimeError), match="(?i)meta")
    with waiting if name in WAITS else contextlib.nullcontext():
        totals = trainer.backward(step)
    if name not in WAITS:
        assert all(total.is_meta for total in totals.values())
        assert any(p.grad is not None and p.grad.is_meta for p in trainer.parameters)
