import time

import pytest
import torch

from modeledge.core import RunError
from modeledge.run import ahead, checkpoint, loop
from modeledge.run.ahead import Ahead, Taken
from modeledge.run.feed import Step
from modeledge.run.folder import read_metrics


@pytest.fixture
def hasty(monkeypatch):
    """hasty(): trainers made from here on do not wait for their device, and ask only where they must."""

    def be_hasty() -> None:
        plain = loop.Trainer.__init__

        def begin(self, *args, **options):
            plain(self, *args, **options)
            self.waits = False

        monkeypatch.setattr(loop.Trainer, "__init__", begin)
        monkeypatch.setattr(ahead, "IMPATIENCE", 1e9)

    return be_hasty


def figures(folder):
    """All records of a run but for what the clock says."""
    return [{k: v for k, v in r.items() if k not in CLOCK} for r in read_metrics(folder)]


CLOCK = ("seconds", "tokens_per_second", "share", "memory")
ALTERNATING = ["data.text={kind: segment_pair, length: 32}", "objectives=[{kind: mlm}, {kind: nsp}]",
               "mix={kind: sample}"]  # fmt: skip


@pytest.mark.contract
@pytest.mark.parametrize("sets", [[], ["loop.micro=2", "loop.save.every=5"], ALTERNATING])
def test_without_waiting_a_run_is_the_same_to_the_last_bit(train, hasty, tmp_path, sets):
    sets = [*sets, "loop.evaluate={every: 4, batches: 1}"]
    train("waits", steps=13, sets=sets)
    hasty()
    train("does not", steps=13, sets=sets)
    made = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("waits", "does not")]
    assert made[0] == made[1]
    one, two = (figures(tmp_path / run) for run in ("waits", "does not"))
    assert one == two and sum("loss" in r for r in one) == 13
    seconds = [r["seconds"] for r in read_metrics(tmp_path / "does not") if "loss" in r]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(("seconds", "expected"), [(1e9, [4, 2, 2, 4, 1]), (0.0, [1] * 13)])
def test_a_device_is_asked_where_something_depends_on_it_and_now_and_then(train, hasty, monkeypatch, seconds, expected):
    hasty()
    monkeypatch.setattr(ahead, "IMPATIENCE", seconds)
    asked, plain = [], Ahead.hear

    def hear(self):
        asked.append(len(self.open))
        return plain(self)

    monkeypatch.setattr(Ahead, "hear", hear)
    train(steps=13, sets=["loop.evaluate={every: 4, batches: 1}", "loop.save={every: 6, minutes: 0}"])
    assert [n for n in asked if n] == expected


def test_numbers_that_are_not_finite_are_found_before_anything_is_saved(train, hasty, monkeypatch, tmp_path):
    hasty()
    plain = loop.Trainer.take

    def take(self, step):
        if step.number == 7:
            with torch.no_grad():
                next(self.model.parameters())[3] = float("nan")
        return plain(self, step)

    monkeypatch.setattr(loop.Trainer, "take", take)
    with pytest.raises(RunError, match="step 7: the loss is not finite(?s:.*)last good checkpoint: step 5"):
        train(steps=12, sets=["loop.save={every: 5, minutes: 0}"])
    saved = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert saved.step == 5 and all(torch.isfinite(t).all() for t in saved.model.values())


def test_skipping_a_bad_step_needs_the_wait(train, monkeypatch):
    """A GPU, as far as a trainer looks at it."""
    seen, plain = {}, loop.Trainer.__init__

    def begin(self, *args, device, **options):
        plain(self, *args, device=torch.device("meta"), **options)
        seen[self.recipe.loop.guard.on_bad] = self.waits
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "__init__", begin)
    for policy in ("stop", "skip"):
        with pytest.raises(KeyboardInterrupt):
            train(policy, steps=2, sets=[f"loop.guard.on_bad={policy}"])
    assert seen == {"stop": False, "skip": True}


def test_several_steps_are_brought_at_once_each_with_its_own_losses():
    waiting = Ahead()
    time.sleep(0.01)
    waiting.open += [
        Taken(Step(0, [], {"mlm": 2.0, "nsp": 4.0}), ["mlm", "nsp"], torch.tensor([6.0, 2.0, 0.5]), lr=0.1),
        Taken(Step(1, [], {"clm": 5.0}), ["clm"], torch.tensor([float("inf"), 1.5]), lr=0.1),
        Taken(Step(2, [], {"clm": 0.0}), ["clm"], torch.tensor([0.0, 2.5]), lr=0.1),
    ]
    heard = waiting.hear()
    told = [({"mlm": 3.0, "nsp": 0.5}, 0.5), ({"clm": float("inf")}, 1.5), ({"clm": 0.0}, 2.5)]
    assert [t.told for t, _ in heard] == told
    assert [t.finite for t, _ in heard] == [True, False, True]
    assert len({s for _, s in heard}) == 1 and heard[0][1] > 0.003 and waiting.open == []
    waiting.count(2.0, 30)
    waiting.count(1.0, 30)
    assert waiting.rate() == 20.0 and waiting.rate() == 0.0


@pytest.mark.gpu
def test_on_a_gpu_a_loop_that_does_not_wait_computes_what_one_that_waits_does(train, losses, monkeypatch):
    still = ["backbone.dropout=0.0", "backbone.attention.dropout=0.0"]
    train("does not", steps=13, sets=still, device="cuda")
    monkeypatch.setattr(loop.Trainer, "waits", property(lambda self: True, lambda self, value: None), raising=False)
    train("waits", steps=13, sets=still, device="cuda")
    for way in ("true", "graphs"):
        train(way, steps=13, sets=[*still, f"loop.compile={way}", "loop.micro=4"], device="cuda")
    plain = {step: found["mlm"] for step, found in losses("waits").items()}
    assert len(plain) == 13
    for run in ("does not", "true", "graphs"):
        assert {step: found["mlm"] for step, found in losses(run).items()} == pytest.approx(plain, rel=1e-3)
