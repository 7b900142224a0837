import pytest

from modeledge.core import InputError
from modeledge.run.track import make_tracker, scalars


def test_a_record_becomes_scalars_by_name():
    record = {"step": 3, "stage": 0, "loss": {"mlm": 2.5, "nsp": 0.5}, "lr": 1e-3, "note": "text"}
    assert dict(scalars(record)) == {"loss/mlm": 2.5, "loss/nsp": 0.5, "lr": 1e-3}


def test_tensorboard_holds_the_losses_of_metrics_jsonl(train, losses, tmp_path):
    pytest.importorskip("tensorboard")
    train(steps=4, track="tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curve = {e.step: e.value for e in found.Scalars("loss/mlm")}
    assert curve == pytest.approx({s: v["mlm"] for s, v in losses().items()}, rel=1e-6)


def test_a_tracker_that_fails_is_said_and_dropped_and_the_run_goes_on(train, losses, monkeypatch):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")

    def fail(self, *args, **named):
        raise OSError("no space")

    monkeypatch.setattr(tensorboard.SummaryWriter, "add_scalar", fail)
    assert train(steps=3, track="tensorboard").done.result.position.step == 3 and len(losses()) == 3


def test_an_unknown_tracker_names_the_nearest(tmp_path):
    with pytest.raises(InputError, match="did you mean 'tensorboard'"):
        make_tracker("tensorbord", tmp_path, say=print)
