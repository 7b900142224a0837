import json
import os
import random
import shutil

import pytest
import torch
from torch import nn

from modeledge.core import InputError, RunError
from modeledge.run import checkpoint


def make(seed=0):
    torch.manual_seed(seed)
    model = nn.ModuleDict({"a": nn.Linear(6, 5), "b": nn.Linear(6, 5, bias=False)})
    model["b"].weight = model["a"].weight  # tied
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model["a"](torch.ones(2, 6)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(folder, step, seed=0):
    model, optimizer = make(seed)
    return checkpoint.save(folder, step, model, optimizer, {"note": step})


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 3, seed=1)
    saved = checkpoint.newest(tmp_path)
    model, optimizer = make(seed=2)
    checkpoint.set_tensors(model, saved.model, where="x")
    checkpoint.set_optimizer(optimizer, saved)
    wanted, moments = make(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), wanted.parameters(), strict=True))
    for one, two in zip(optimizer.state.values(), moments.state.values(), strict=True):
        assert all(torch.equal(one[k], two[k]) for k in two)
    assert model["b"].weight is model["a"].weight and saved.state["note"] == 3 and saved.step == 3


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
def test_a_truncated_file_is_found_at_every_length_and_the_older_step_is_taken(tmp_path, file):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / file
    whole = path.read_bytes()
    for cut in [int(len(whole) * i / 20) for i in range(20)]:
        path.write_bytes(whole[:cut])
        said = []
        assert checkpoint.newest(tmp_path, say=said.append).step == 1
        assert "step-00000002" in said[0]
    path.write_bytes(whole)
    assert checkpoint.newest(tmp_path).step == 2


def test_a_flipped_bit_anywhere_is_found_and_the_file_is_named(tmp_path):
    path = save(tmp_path, 1)
    draw = random.Random(0)
    for _ in range(120):
        file = draw.choice([f for f in path.iterdir()])
        whole = bytearray(file.read_bytes())
        place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        whole[place] ^= bit
        file.write_bytes(bytes(whole))
        problem = checkpoint.verify_folder(path)
        assert problem is None and file.name == "MANIFEST.json" or problem is not None, (file.name, place)
        if file.name != "MANIFEST.json":
            assert file.name in problem
        whole[place] ^= bit
        file.write_bytes(bytes(whole))
    assert checkpoint.verify_folder(path) is None


@pytest.mark.parametrize("gone", ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
def test_a_missing_file_is_named(tmp_path, gone):
    path = save(tmp_path, 1)
    (path / gone).unlink()
    with pytest.raises(InputError, match=gone):
        checkpoint.load(path)


def test_files_are_synced_before_the_name_appears(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, type(tmp_path).rename

    def noting(handle):
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(type(tmp_path), "rename", lambda a, b: (events.append("rename"), rename(a, b))[1])
    save(tmp_path, 1)
    at = events.index("rename")
    assert {"model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"} <= set(events[:at])
    assert events.index("MANIFEST.json") > events.index("model.safetensors")
    assert events[at - 1].startswith(".tmp-") and events[at + 1] == tmp_path.name


def test_a_kill_at_any_system_call_of_a_save_leaves_the_old_or_the_new_step(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    save(tmp_path, 1)
    fsync, rename = os.fsync, type(tmp_path).rename
    for point in range(20):
        shutil.rmtree(tmp_path / "step-00000002", ignore_errors=True)
        calls, renamed = 0, False

        def move(a, b):
            nonlocal renamed
            count()
            rename(a, b)
            renamed = renamed or b.name == "step-00000002"

        def count(point=point):
            nonlocal calls
            calls += 1
            if calls > point:
                raise Killed

        monkeypatch.setattr(os, "fsync", lambda h: (count(), fsync(h))[1])
        monkeypatch.setattr(type(tmp_path), "rename", move)
        try:
            save(tmp_path, 2)
            finished = True
        except Killed:
            finished = False
        monkeypatch.undo()
        assert checkpoint.newest(tmp_path).step == (2 if renamed else 1)
        if finished:
            break
    assert finished and not list(tmp_path.glob(".tmp-*"))


def test_a_full_disk_leaves_the_older_step_and_says_how_much_is_free(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(tensors, path):
        path.write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match=r"No space left on device[\s\S]*free here: \d+ MiB"):
        save(tmp_path, 2)
    assert checkpoint.newest(tmp_path).step == 1 and not list(tmp_path.glob(".tmp-*"))


def test_a_model_with_a_tensor_that_is_not_finite_is_never_saved(tmp_path):
    model, optimizer = make()
    with torch.no_grad():
        model["a"].bias[2] = float("nan")
    with pytest.raises(RunError, match="a.bias is not finite"):
        checkpoint.save(tmp_path, 1, model, optimizer, {})
    assert checkpoint.steps_in(tmp_path) == []


def test_rotation_keeps_the_last_ones_and_the_best(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step)
        checkpoint.rotate(tmp_path, keep=2, best=2)
    assert checkpoint.steps_in(tmp_path) == [2, 5, 6]
    assert not list(tmp_path.glob(".old-*"))


def test_a_newer_format_is_refused_and_a_missing_step_lists_those_that_exist(tmp_path):
    path = save(tmp_path, 4)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    (path / "MANIFEST.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        checkpoint.load(path)
    with pytest.raises(InputError, match="no checkpoint of step 7\n  there are: 4"):
        checkpoint.newest(tmp_path, step=7)


def test_tensors_that_do_not_fit_are_all_named(tmp_path):
    model, _ = make()
    with pytest.raises(InputError) as error:
        checkpoint.set_tensors(model, {"a.weight": torch.zeros(6, 5), "c": torch.zeros(1)}, where="file")
    text = str(error.value)
    assert "missing: a.bias" in text and "left over: c" in text and "(6, 5) in the file, (5, 6) in the model" in text


def test_a_pickle_in_place_of_a_file_is_not_opened(tmp_path):
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {canary}",))

    import pickle

    path = save(tmp_path / "run", 1)
    for name in ("model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(InputError):
            checkpoint.load(path)
        (path / name).write_bytes(whole)
    assert not canary.exists()
