import json
import subprocess
import sys
from collections import namedtuple

import pytest

from modeledge.run import doctor
from modeledge.run.doctor import Examination, Line

Usage = namedtuple("Usage", "total used free")


def test_a_failed_line_makes_the_whole_fail_and_shows_its_remedy():
    good, bad = Line("disk", "pass", "9 GiB"), Line("memory", "fail", "1 GiB", "close other programs")
    assert Examination([good], 0.1).ok
    found = Examination([good, bad], 0.1)
    assert not found.ok and found.as_dict()["ok"] is False
    assert str(found).splitlines()[2].endswith("fix: close other programs")
    assert "1 of 2 checks failed" in str(found)
    json.dumps(found.as_dict())


def test_what_is_optional_and_missing_does_not_fail(monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "jieba" else real(name))
    line = doctor._extras()
    assert (line.state, line.fix) == ("note", "pip install 'modeledge[data]'")
    assert "jieba" in line.found


def test_a_missing_core_package_fails(monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "safetensors" else real(name))
    assert doctor._packages() == Line("packages", "fail", "missing: safetensors", "pip install modeledge")


def test_a_full_disk_fails(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(100 << 30, 100 << 30, 10 << 20))
    assert doctor._disk().state == "fail"


def test_a_check_that_raises_is_a_failed_line_not_a_traceback():
    def broken():
        raise OSError("no such device\nsecond line")

    assert doctor._look("disk", broken) == Line("disk", "fail", "OSError: no such device")


def test_the_tokenizer_gives_its_text_back(tmp_path):
    assert doctor._tokenizer(tmp_path).state == "pass"


def test_a_writer_that_dies_is_reported_with_its_last_words(tmp_path):
    code = "raise SystemExit('disk is on fire')"
    writer = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    line = doctor._checkpoint(tmp_path, writer)
    assert (line.state, line.found) == ("fail", "disk is on fire")


def test_a_process_that_fails_is_reported_with_its_last_words():
    code = "import sys; sys.exit('no interface' if sys.argv[1] == '1' else 0)"
    ranks = [subprocess.Popen([sys.executable, "-c", code, n], stderr=subprocess.PIPE, text=True) for n in "01"]
    line = doctor._processes(ranks)
    assert (line.state, line.found) == ("fail", "no interface") and "GLOO_SOCKET_IFNAME" in line.fix


@pytest.mark.slow
@pytest.mark.multi
def test_this_machine_passes():
    found = doctor.examine()
    assert found.ok, str(found)
    assert {line.name for line in found.lines} >= {"checkpoint", "two processes", "tokenizer", "bf16"}
