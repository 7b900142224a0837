import json
import os
import re
import signal
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from modeledge.core import DataError, InputError, RecipeError, RunError
from modeledge.objectives import Objective
from modeledge.objectives._momentum import Queue
from modeledge.objectives.mlm import MaskedLM
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run import ahead, checkpoint, compare, loop
from modeledge.run.ahead import Taken
from modeledge.run.folder import read_metrics
from modeledge.run.pretrain import pretrain


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Send ourselves a signal when `step` has been logged."""
    plain = loop.Trainer.note

    def note(self, *args):
        plain(self, *args)
        if self.position.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop.Trainer, "note", note)


SETTINGS = {
    "accumulating": ["loop.micro=2", "backbone.dropout=0.1", "backbone.attention.dropout=0.1"],
    "workers": ["loop.workers=2", "backbone.dropout=0.1"],
    "static masks over epochs": ["objectives=[{kind: mlm, static: 2}]", "loop.batch=96", "loop.micro=24"],
    "two objectives": ["data.text={kind: segment_pair, length: 32}", "objectives=[{kind: mlm}, {kind: nsp}]"],
    "lamb": ["optim={kind: lamb, lr: 1e-3}"],
    "adafactor": ["optim={kind: adafactor, lr: 1e-2}"],
    "layers that join": ["unfreeze.joins=3", "optim.layer_decay=0.5", "backbone.dropout=0.1"],
    "bf16": ["loop.precision=bf16"],
    "recomputing": ["loop.recompute=selective", "backbone.dropout=0.1", "backbone.attention.dropout=0.1"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "two objectives" else pytest.mark.contract) for n in SETTINGS]
)
def test_a_run_stopped_and_resumed_twice_is_the_uninterrupted_run_to_the_last_bit(
    train, losses, monkeypatch, tmp_path, name
):
    sets = SETTINGS[name]
    train("whole", steps=9, sets=sets)
    for step in (4, 7):
        with monkeypatch.context() as patch:
            stop_after(patch, step)
            outcome = train("parts", steps=9, sets=sets, resume=step > 4)
        assert outcome.exit_code == 143 and outcome.done.result.position.step == step
    train("parts", steps=9, sets=sets, resume=True)
    assert losses("parts") == losses("whole") and len(losses("whole")) == 9
    files = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "parts")]
    assert files[0] == files[1]


@pytest.mark.contract
def test_micro_batches_do_not_change_the_loss(train, losses):
    for micro in (8, 4, 1):
        still = ["backbone.dropout=0.0", "backbone.attention.dropout=0.0"]
        train(f"m{micro}", steps=5, sets=[f"loop.micro={micro}", *still])
    whole = losses("m8")
    for other in ("m4", "m1"):
        assert all(losses(other)[s]["mlm"] == pytest.approx(whole[s]["mlm"], abs=2e-6) for s in whole)


@pytest.mark.contract
def test_the_loss_falls_below_the_unigram_entropy(train):
    outcome = train(steps=250, sets=["optim.lr=5e-3", "loop.batch=32"])
    baselines = outcome.done.baselines["mlm"]
    assert outcome.done.result.valid["mlm"] < baselines["unigram"] - 0.3 < baselines["uniform"]
    assert "below the unigram baseline" in str(outcome)


def test_interrupt_and_terminate_save_and_give_the_shells_exit_code(train, monkeypatch, tmp_path):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with monkeypatch.context() as patch:
            stop_after(patch, 3, number)
            assert train(f"s{code}").exit_code == code
        assert checkpoint.newest(tmp_path / f"s{code}" / "checkpoints").step == 3


def poison(monkeypatch, steps, value=float("nan"), where="weight"):
    """Put `value` into a weight, or into the gradient, just before these steps."""
    plain, backward = loop.Trainer.take, loop.Trainer.backward

    def take(self, step):
        if step.number in steps and where == "weight":
            with torch.no_grad():
                next(self.model.parameters())[3, 1] = value
        return plain(self, step)

    def spoiled(self, step):
        totals = backward(self, step)
        if step.number in steps and where == "gradient":
            next(p for p in self.parameters if p.grad is not None).grad[0, 0] = value
        return totals

    monkeypatch.setattr(loop.Trainer, "take", take)
    monkeypatch.setattr(loop.Trainer, "backward", spoiled)


def test_a_weight_that_is_not_finite_stops_the_run_before_the_optimizer_and_is_named(train, monkeypatch, tmp_path):
    poison(monkeypatch, {7})
    with pytest.raises(RunError) as error:
        train(sets=["loop.save.every=2"])
    text = str(error.value)
    assert text.startswith("step 7: backbone.") and "first rows of the batch: text: [" in text
    assert "last good checkpoint: step 6" in text
    saved = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert saved.step == 6 and all(torch.isfinite(t).all() for t in saved.model.values())


def test_a_bad_gradient_is_skipped_by_policy_and_leaves_the_weights_alone(train, monkeypatch):
    poison(monkeypatch, {4}, float("inf"), where="gradient")
    seen = {}
    plain = loop.Trainer.take

    def take(self, step):
        before = [p.detach().clone() for p in self.parameters]
        out = plain(self, step)
        seen[step.number] = all(torch.equal(a, b) for a, b in zip(before, self.parameters, strict=True)), out.good
        return out

    monkeypatch.setattr(loop.Trainer, "take", take)
    outcome = train(sets=["loop.guard.on_bad=skip"])
    assert seen[4] == (True, False) and seen[5] == (False, True)
    assert outcome.done.result.position.skipped == 1


def test_too_many_bad_steps_in_a_row_end_the_run(train, monkeypatch):
    poison(monkeypatch, set(range(2, 12)), where="gradient")
    with pytest.raises(RunError, match="3 steps in a row were skipped"):
        train(sets=["loop.guard={on_bad: skip, skips: 3}"])


@pytest.mark.contract
def test_a_full_disk_during_a_periodic_save_is_survived_and_at_the_end_it_is_an_error(train, monkeypatch, tmp_path):
    plain = checkpoint.save_file

    def full(tensors, path):
        if "00000004" in str(path) or "00000012" in str(path):
            raise OSError(28, "No space left on device")
        plain(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match="No space left on device"):
        train(sets=["loop.save={every: 2, keep: 9}"])
    assert checkpoint.steps_in(tmp_path / "run" / "checkpoints") == [2, 6, 8, 10]
    monkeypatch.undo()
    assert train(sets=["loop.save={every: 2, keep: 9}"], resume=True).done.result.position.step == 12


@pytest.mark.contract
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(train, losses, monkeypatch, capsys, tmp_path):
    sets = ["loop.save.every=3"]
    train("whole", sets=sets)
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        train("cut", sets=sets)
    file = tmp_path / "cut" / "checkpoints" / "step-00000008" / "optimizer.safetensors"
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 1
    file.write_bytes(bytes(whole))
    train("cut", sets=sets, resume=True)
    said = capsys.readouterr().err
    assert f"{file.parent} is passed over: optimizer.safetensors was changed after it was written" in said
    assert losses("cut") == losses("whole")


def test_a_changed_recipe_is_refused_with_the_difference(train, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train()
    with pytest.raises(RecipeError) as error:
        train(sets=["optim.lr=0.5"], resume=True)
    assert "optim.lr: 0.0001 in the run, 0.5 now" in str(error.value)


def test_other_data_is_refused_on_resume(train, monkeypatch, tmp_path, corpus, toy):
    from modeledge.core import find
    from modeledge.data.prepare import prepare

    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train()
    config = find("tokenizers", "wordpiece").Config(kind="wordpiece", vocab=60)
    prepare([str(corpus)], out=tmp_path / "other", tokenizer=config, valid_fraction=0.1, processes=1)
    wanted = [*toy, "loop.steps=12"]
    with pytest.raises(InputError, match="the run used the tokenizer"):
        pretrain("bert", data=[str(tmp_path / "other")], out=tmp_path / "run", sets=wanted, resume=True, quiet=True)


@pytest.mark.contract
def test_a_folder_that_holds_a_run_or_is_being_written_is_refused(train, tmp_path):
    train(steps=2)
    with pytest.raises(InputError, match="already holds a run\n  next: add --resume"):
        train(steps=2)
    (tmp_path / "run" / ".lock").write_text(f'{{"pid": {os.getppid()}, "host": "{os.uname().nodename}"}}')
    with pytest.raises(InputError, match=f"another process writes here \\(pid {os.getppid()}"):
        train(steps=2, resume=True)
    (tmp_path / "run" / ".lock").write_text(f'{{"pid": 999999999, "host": "{os.uname().nodename}"}}')  # a dead one
    assert train(steps=2, resume=True).done.result.position.step == 2


def test_resuming_where_there_is_nothing_and_a_missing_step_are_refused(train):
    with pytest.raises(InputError, match="no run to resume"):
        train("none", resume=True)
    train(steps=4, sets=["loop.save.every=2"])
    with pytest.raises(InputError, match="no checkpoint of step 3\n  there are: 2, 4"):
        train(steps=4, sets=["loop.save.every=2"], resume=True, step=3)


@pytest.mark.contract
def test_patience_stops_the_run_and_what_is_kept_is_the_best_step(train, tmp_path):
    sets = ["loop.evaluate={every: 2, batches: 2, patience: 2}", "loop.save={every: 2, keep: 1}", "optim.lr=0.5"]
    outcome = train(steps=60, sets=sets)
    position, valid = outcome.done.result.position, outcome.done.result.valid
    assert outcome.done.result.stopped == "patience" and position.best_step < position.step < 60
    best = checkpoint.load(checkpoint.path_of(tmp_path / "run" / "checkpoints", position.best_step))
    kept = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert best.model.keys() == kept.keys() and all(torch.equal(best.model[n], t) for n, t in kept.items())
    assert valid["mlm"] == pytest.approx(position.best, abs=1e-6)


@pytest.mark.contract
def test_stages_follow_one_another_with_the_weights_carried_over(text_store, tmp_path, toy):
    recipe = tmp_path / "staged.yaml"
    recipe.write_text("extends: bert\nstages: [{loop: {steps: 3}}, {loop: {steps: 2}, optim: {lr: 0.0}}]\n")
    outcome = pretrain(str(recipe), data=[str(text_store)], out=tmp_path / "run", sets=toy, quiet=True)
    position = outcome.done.result.position
    assert (position.stage, position.step) == (1, 2)
    first = checkpoint.load(checkpoint.path_of(tmp_path / "run" / "checkpoints", 3)).model
    assert all(torch.equal(first[n], t) for n, t in checkpoint.own_tensors(outcome.done.model).items())


STAGED = "extends: bert\nstages: [{loop: {steps: 30}}, {loop: {steps: 10}}]\n"


@pytest.mark.contract
def test_a_budget_is_shared_out_among_the_stages_and_cost_is_counted_over_them(text_store, tmp_path, toy):
    recipe = tmp_path / "staged.yaml"
    recipe.write_text(STAGED)
    one = {"data": [str(text_store)], "sets": toy, "quiet": True}
    done = pretrain(str(recipe), out=tmp_path / "run", budget="8steps", **one).done
    assert [stage["steps"] for stage in done.decided] == [6, 2]
    position = done.result.position
    assert (position.stage, position.step, position.overall) == (1, 2, 8)
    records = [r for r in read_metrics(tmp_path / "run") if "loss" in r]
    assert [r["step"] for r in records] == list(range(1, 9)) and position.tokens == records[-1]["tokens"]
    assert all(a["tokens"] < b["tokens"] and a["seconds"] < b["seconds"] for a, b in pairwise(records))
    found = compare.cost(pretrain(str(recipe), out=tmp_path / "flop", budget="4e8flop", **one).done)
    assert found["flop"] == pytest.approx(4e8, rel=0.1) and found["steps"] > 10


def test_what_a_refused_step_noted_is_dropped(train, monkeypatch):
    poison(monkeypatch, {4}, float("inf"), where="gradient")
    heard = []
    for name in ("after_step", "forget_step"):
        monkeypatch.setattr(MaskedLM, name, lambda self, *step, name=name: heard.append(name))
    train(steps=6, sets=["loop.guard.on_bad=skip"])
    assert heard == ["after_step"] * 4 + ["forget_step", "after_step"]


def test_forgetting_empties_every_list_of_what_waits():
    class Holder(Objective):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.queue, self.waiting = Queue(4, 2), [1]

    holder = Holder()
    holder.queue.note(torch.ones(2, 2))
    holder.forget_step()
    holder.queue.settle()
    assert holder.waiting == [] and int(holder.queue.seen) == 0


@pytest.mark.contract
def test_a_run_that_patience_ended_does_not_go_on_when_it_is_resumed(train, monkeypatch, tmp_path):
    sets = ["loop.evaluate={every: 2, batches: 2, patience: 2}", "loop.save={every: 2, keep: 1}", "optim.lr=0.5"]
    first = train(steps=60, sets=sets).done.result.position
    again = train(steps=60, sets=sets, resume=True).done.result.position
    assert (again.step, again.best_step) == (first.step, first.best_step)


def test_fp16_overflow_halves_the_scale_and_leaves_the_weights(train, monkeypatch):
    poison(monkeypatch, {1, 2}, float("inf"), where="gradient")
    plain, seen = loop.Trainer.take, []

    def take(self, step):
        before, scale = [p.detach().clone() for p in self.parameters], self.scaler.get_scale()
        out = plain(self, step)
        same = all(torch.equal(a, b) for a, b in zip(before, self.parameters, strict=True))
        seen.append((same, self.scaler.get_scale() / scale))
        return out

    monkeypatch.setattr(loop.Trainer, "take", take)
    outcome = train(steps=4, sets=["loop.precision=fp16"])
    assert seen == [(False, 1.0), (True, 0.5), (True, 0.5), (False, 1.0)]
    assert outcome.done.result.position.skipped == 2


def test_fp16_does_not_go_on_with_a_weight_that_is_not_finite(train, monkeypatch):
    poison(monkeypatch, {2})
    with pytest.raises(RunError, match="step 2: backbone"):
        train(steps=4, sets=["loop.precision=fp16"])


@pytest.mark.contract
def test_a_run_that_dies_goes_on_from_the_checkpoint_of_some_minutes_ago(train, losses, monkeypatch, tmp_path):
    assert check(resolve("bert")).loop.save.minutes > 0
    monkeypatch.setattr(loop, "SAVING", 0.0)
    train("whole", steps=9)
    with monkeypatch.context() as patch:
        poison(patch, {7})
        with pytest.raises(RunError, match="last good checkpoint: step 7"):
            train("died", steps=9, sets=["loop.save.minutes=1e-6"])
    again = train("died", steps=9, sets=["loop.save.minutes=1e-6"], resume=True)
    assert again.done.result.position.step == 9 and losses("died") == losses("whole")


def test_figures_that_cannot_be_written_are_said_once_and_do_not_end_the_run(train, capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
    assert train(steps=5).done.result.position.step == 5
    said = capsys.readouterr().err
    assert said.count("metrics.jsonl: No space left on device; training goes on") == 1


@pytest.mark.contract
@pytest.mark.parametrize(
    ("lr", "expected"), [(0.0, r"mlm after 4\d% of the steps: nothing learnt"), (30.0, "diverged")]
)
def test_a_run_that_learns_nothing_or_diverges_says_so_before_its_end(train, capsys, lr, expected):
    train(steps=60, sets=[f"optim.lr={lr}", "schedule=constant"])
    said = capsys.readouterr().err
    assert len(re.findall(expected, said)) == 1 and "next: " in said


@pytest.mark.contract
def test_seconds_leave_out_evaluation_wherever_it_falls(train, monkeypatch, tmp_path):
    """On a clock by which a step takes a second and an evaluation a hundred."""
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], monotonic=lambda: now[0])

    def take(self, step):
        now[0] += 1
        return Taken(step, ["mlm"], torch.tensor([float(step.counts["mlm"]), 1.0]), lr=0.0)

    def judge(self):
        now[0] += 100
        return {"mlm": 1.0}, False

    for module in (loop, ahead):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(loop.Trainer, "take", take)
    monkeypatch.setattr(loop.Trainer, "judge", judge)
    train(steps=2002, sets=["loop.evaluate={every: 401, batches: 1}", "loop.save.minutes=0"])
    last = [r for r in read_metrics(tmp_path / "run") if "loss" in r][-1]
    assert last["seconds"] == 2002
    assert last["tokens_per_second"] == pytest.approx(last["tokens"] / 2002, rel=0.2)


def test_the_remedy_for_too_few_rows_works_with_the_same_folder(train):
    with pytest.raises(DataError, match="fewer than one batch"):
        train(steps=2, sets=["loop.batch=100000"])
    assert train(steps=2, sets=["loop.batch=4"]).done.result.position.step == 2


@pytest.mark.contract
def test_a_run_is_not_resumed_with_another_budget(train, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(budget="8steps")
    with pytest.raises(RecipeError, match="begun with a budget of 8 steps, --budget now says 20 steps"):
        train(budget="20steps", resume=True)
    assert train(resume=True).done.result.position.step == 8


@pytest.mark.contract
def test_an_evaluation_that_a_signal_prevents_is_made_up_for(train, monkeypatch, tmp_path):
    sets = ["loop.evaluate={every: 4, batches: 2}"]
    train("whole", steps=9, sets=sets)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        train("cut", steps=9, sets=sets)
    train("cut", steps=9, sets=sets, resume=True)
    valid = {n: [(r["step"], r["valid"]) for r in read_metrics(tmp_path / n) if "valid" in r] for n in ("whole", "cut")}
    assert valid["cut"] == valid["whole"] and [step for step, _ in valid["whole"]] == [4, 8, 9]


@pytest.mark.parametrize(("what", "again"), [("none", 0), ("full", 1)])
def test_the_first_step_is_counted_as_by_hand_and_records_tell_share_and_memory(
    train, monkeypatch, tmp_path, what, again
):
    counted = []

    def keep(self, gauge, step, plain=loop.Trainer.weigh):
        plain(self, gauge, step)
        places = step.works[0].micros[0].targets.size
        counted.append((self.flop_per_token, step.tokens, places, self.model.backbone.embed.weight.shape[0]))

    monkeypatch.setattr(loop.Trainer, "weigh", keep)
    train(steps=2, sets=[f"loop.recompute={what}", "backbone.attention.dropout=0.0"])
    ((flop, real, places, vocab),) = counted
    products = 8 * 32 * 2 * (4 * 32 * 32 + 2 * 32 * 64)  # 8 rows of 32 tokens, four and two matrices
    attention = 8 * 32 * 2 * 2 * 32 * 32  # scores and reading
    head, pool = places * 2 * (32 * 32 + 32 * vocab), 8 * 2 * 32 * 32
    bias = places * 2 * vocab  # the gradient of the head's, which is a product too
    assert flop * real == (3 + again) * (products + attention) + 3 * head + bias + pool
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    steps = [r for r in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) if "loss" in r]
    for r in steps:
        assert r["share"] == pytest.approx(r["tokens_per_second"] * flop / environment["product_flops"], abs=1e-4)
        assert 5e7 < r["memory"] < 1e11
    assert len(steps) == 2
