"""Fine-tuning with several seeds that was stopped: what is done is kept, and only for the same question and model."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from modeledge.core import InputError, RecipeError
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import load_model
from modeledge.run.loop import Trainer

pytestmark = pytest.mark.contract  # whole stories of verbs

TUNING = Tuning(epochs=1.5, batch=16, lr=3e-3)


@pytest.fixture
def model(train, tmp_path):
    """A toy that has read something."""
    train("toy", steps=2, sets=["backbone.dropout=0.1"])
    return tmp_path / "toy"


@pytest.fixture
def asked(tmp_path):
    """Which animal is seen."""
    nouns = ("dog", "cat", "bird", "fish")
    rows = [{"text": f"The {a} sees the {b} .", "label": b} for a in nouns for b in nouns] * 5
    for part in ("train", "valid"):
        (tmp_path / f"x.{part}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return Question("classify", tmp_path / "x.train.jsonl")


def test_seeds_that_are_done_are_kept_and_the_one_that_was_stopped_goes_on(model, asked, tmp_path, monkeypatch):
    whole = finetune(model, asked, TUNING, seeds=2, out=tmp_path / "whole", quiet=True)
    taken, plain = [], Trainer.take

    def take(self, step):
        taken.append(step.number)
        if len(taken) == 8 + 5:  # of eight steps a seed
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, step)

    monkeypatch.setattr(Trainer, "take", take)
    cut = finetune(model, asked, TUNING, seeds=2, out=tmp_path / "cut", quiet=True)
    assert cut.exit_code == 143 and cut.figures == {0: whole.figures[0]} and "--resume" in str(cut)
    with pytest.raises(InputError, match="already holds a run\n.*--resume"):
        finetune(model, asked, TUNING, seeds=2, out=tmp_path / "cut", quiet=True)
    taken.clear()
    done = finetune(model, asked, TUNING, seeds=2, out=tmp_path / "cut", resume=True, quiet=True)
    assert taken == [5, 6, 7] and done.exit_code == 0 and done.figures == whole.figures
    for seed in range(2):
        file = f"seed-{seed}/model/model.safetensors"
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    said = [json.loads((tmp_path / out / "results.json").read_text()) for out in ("whole", "cut")]
    assert said[0]["mean"] == said[1]["mean"] and said[0]["seeds"] == said[1]["seeds"]


def test_seeds_done_with_other_settings_or_another_model_are_not_taken_for_these(model, asked, tmp_path):
    short, home = replace(TUNING, most=2), tmp_path / "o"
    finetune(model, asked, short, seeds=2, out=home, quiet=True)
    with pytest.raises(RecipeError, match="loop.steps: 2 in the run, 3 now"):
        finetune(model, asked, replace(short, most=3), seeds=2, out=home, resume=True, quiet=True)
    other = load_model(model)
    with torch.no_grad():
        next(other.model.parameters()).add_(0.1)
    with pytest.raises(InputError, match="began with other weights"):
        finetune(other, asked, short, seeds=2, out=home, resume=True, quiet=True)
