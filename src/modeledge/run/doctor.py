"""What this machine can do: versions, processor, memory, disk, processes, tokenizer, checkpoints. Each line is tried
here and now and is passed, failed with its remedy, or a note on something optional. Takes a few seconds."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

GIB = 2**30
PATIENCE = 25.0
"""Seconds after which a child process counts as hanging."""
_TEXT = "Bücher, naïve café: 3.14 ± 0.1, 北京 🙂"


@dataclass(frozen=True)
class Line:
    """One thing looked at: what was found and, if it is not in order, the remedy."""

    name: str
    state: Literal["pass", "fail", "note"]
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Examination:
    """All lines; `ok` if none failed."""

    lines: list[Line]
    seconds: float

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return all(line.state != "fail" for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"ok": self.ok, "seconds": round(self.seconds, 1), "lines": [asdict(line) for line in self.lines]}

    def __str__(self) -> str:
        wide = max(len(line.name) for line in self.lines)
        out = []
        for line in self.lines:
            out.append(f"{line.state}  {line.name.ljust(wide)}  {line.found}")
            out += [f"{'':6}{'':{wide}}  fix: {line.fix}"] if line.fix else []
        failed = sum(line.state == "fail" for line in self.lines)
        end = f"{failed} of {len(self.lines)} checks failed" if failed else "everything needed is in order"
        return "\n".join([*out, f"{end} ({self.seconds:.1f} s)"])


def examine() -> Examination:
    """Look at everything; what a check raises becomes its failed line."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="modeledge-doctor-") as name:
        folder = Path(name)
        ranks = [_child(f"rank({str(folder / 'meet')!r}, {r})") for r in (0, 1)]
        writer = _child(f"write_forever({str(folder / 'checkpoints')!r})")
        checks: list[tuple[str, Callable[[], Line]]] = [
            ("python", _python),
            ("packages", _packages),
            ("extras", _extras),
            ("processor", _processor),
            ("memory", _memory),
            ("gpu", _gpu),
            ("disk", _disk),
            ("shared memory", _shared_memory),
            ("tokenizer", lambda: _tokenizer(folder)),
            ("checkpoint", lambda: _checkpoint(folder / "checkpoints", writer)),
            ("two processes", lambda: _processes(ranks)),
            ("bf16", _bf16),  # last: it is a measurement, and the others have ended by now
        ]
        lines = [_look(name, check) for name, check in checks]
        for child in [*ranks, writer]:
            child.kill()
            child.communicate()
    return Examination(lines, time.perf_counter() - begun)


def _look(name: str, check: Callable[[], Line]) -> Line:
    try:
        return check()
    except Exception as error:  # whatever breaks here is what the user wants to read
        return Line(name, "fail", f"{type(error).__name__}: {error}".splitlines()[0])


def _child(call: str) -> subprocess.Popen[str]:
    code = f"import modeledge.run.doctor as doctor; doctor.{call}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


# -- versions -------------------------------------------------------------------------------------------------------


def _python() -> Line:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    good = sys.version_info >= (3, 11)
    return Line("python", "pass" if good else "fail", found, "" if good else "install Python 3.11 or newer")


def _required(extra: str | None) -> list[str]:
    """Names of the packages we require, those of an extra or (None) of the core."""
    names = []
    for line in requires("modeledge") or []:
        spec, _, marker = line.partition(";")
        if marker.strip().replace("'", '"') == (f'extra == "{extra}"' if extra else ""):
            names.append(re.split(r"[^\w.-]", spec.strip())[0])
    return [n for n in names if n != "modeledge"]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _packages() -> Line:
    found = {name: _version(name) for name in _required(None)}
    missing = [name for name, v in found.items() if v is None]
    text = ", ".join(f"{name} {v}" for name, v in found.items() if v)
    if missing:
        return Line("packages", "fail", f"missing: {', '.join(missing)}", "pip install modeledge")
    return Line("packages", "pass", text)


def _extras() -> Line:
    gone = {}
    for extra in ("data", "track", "eval", "report", "vision"):
        missing = [name for name in _required(extra) if _version(name) is None]
        if missing:
            gone[extra] = missing
    if not gone:
        return Line("extras", "pass", "data, track, eval, report and vision are installed")
    text = "; ".join(f"{extra}: no {', '.join(names)}" for extra, names in gone.items())
    return Line("extras", "note", text, f"pip install 'modeledge[{','.join(gone)}]'")


# -- hardware -------------------------------------------------------------------------------------------------------


def _processor() -> Line:
    import torch

    from modeledge.data._job import cores

    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    fast = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "bf16") if name in flags]
    text = (
        f"{cores()} cores, torch uses {torch.get_num_threads()} threads and {torch.backends.cpu.get_cpu_capability()}"
    )
    return Line("processor", "pass", text + (f"; {' '.join(fast)}" if fast else ""))


def _memory() -> Line:
    import torch

    from modeledge.engine.memory import free_bytes

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = free_bytes(torch.device("cpu"))
    text = f"{free / GIB:.1f} GiB free of {total / GIB:.1f}"
    if free < 2 * GIB:
        return Line("memory", "fail", text, "close other programs; the small recipes need about 2 GiB")
    return Line("memory", "pass", text)


def _gpu() -> Line:
    import torch

    if not torch.cuda.is_available():
        built = "built without CUDA" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
        return Line("gpu", "note", f"none that torch can use (torch is {built}); training runs on the processor")
    each = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    text = ", ".join(f"{p.name} {p.total_memory / GIB:.0f} GiB (sm_{p.major}{p.minor})" for p in each)
    total = float((torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")).sum())
    if total != 64.0**3:
        return Line("gpu", "fail", f"{text}: a product of ones came out as {total}", "check the driver with nvidia-smi")
    return Line("gpu", "pass", text)


def _bf16() -> Line:
    from modeledge.engine.device import choose_device, choose_precision

    chosen, gain = choose_precision("auto", choose_device("auto"), width=512)
    measured = f"bf16 products run {gain:.1f} times as fast as fp32 here; " if gain else ""
    return Line("bf16", "pass", f"{measured}`precision: auto` means {chosen}")


def _space(name: str, path: str, least: float, fix: str) -> Line:
    usage = shutil.disk_usage(path)
    text = f"{usage.free / GIB:.1f} GiB free of {usage.total / GIB:.1f} in {path}"
    return Line(name, "pass", text) if usage.free >= least else Line(name, "fail", text, fix)


def _disk() -> Line:
    return _space(
        "disk", os.getcwd(), 1 * GIB, "make space, or run where there is more: stores and checkpoints need it"
    )


def _shared_memory() -> Line:
    if not Path("/dev/shm").is_dir():
        return Line("shared memory", "note", "no /dev/shm on this system")
    return _space(
        "shared memory", "/dev/shm", 0.0625 * GIB, "mount a larger /dev/shm (docker: --shm-size 1g) or loop.workers=0"
    )


# -- things that must work --------------------------------------------------------------------------------------------


def _tokenizer(folder: Path) -> Line:
    from modeledge.core import find
    from modeledge.tokenizers import load_tokenizer

    part = find("tokenizers", "byte_bpe")
    made = part(part.Config(kind="byte_bpe", vocab=300)).train(iter([_TEXT] * 8))
    made.save(folder / "tokenizer")
    again = load_tokenizer(folder / "tokenizer")
    back = again.decode(made.encode_batch([_TEXT])[0])
    if back != _TEXT:
        return Line("tokenizer", "fail", f"{_TEXT!r} came back as {back!r}", "pip install --force-reinstall tokenizers")
    return Line("tokenizer", "pass", "a byte-level BPE trained, saved, loaded and gave the text back")


def _checkpoint(folder: Path, writer: subprocess.Popen[str]) -> Line:
    from modeledge.run import checkpoint

    end = time.monotonic() + PATIENCE
    while len(checkpoint.steps_in(folder)) < 3:
        if writer.poll() is not None or time.monotonic() > end:
            text = writer.communicate()[1].strip() if writer.poll() is not None else "no checkpoint after 25 s"
            return Line("checkpoint", "fail", text.splitlines()[-1], "see `disk`; is the temporary folder writable?")
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    said: list[str] = []
    saved = checkpoint.newest(folder, say=said.append)
    if saved is None or float(saved.model["weight"][0, 0]) != saved.step:
        return Line(
            "checkpoint", "fail", "no complete checkpoint after a kill", "run on a local disk, not a network one"
        )
    left = len(list(folder.glob(".tmp-*")))
    cut = f"; {left} unfinished passed over" if left else ""
    return Line("checkpoint", "pass", f"writer killed, step {saved.step} read back whole{cut}")


def _processes(ranks: list[subprocess.Popen[str]]) -> Line:
    try:
        said = [child.communicate(timeout=PATIENCE)[1] for child in ranks]
    except subprocess.TimeoutExpired:
        said = ["the two processes did not find each other"]
    if any(child.returncode != 0 for child in ranks):
        text = next((s.strip().splitlines()[-1] for s in said if s.strip()), "a process ended without a word")
        return Line("two processes", "fail", text, "export GLOO_SOCKET_IFNAME=lo (the name of a working interface)")
    return Line("two processes", "pass", "two gloo processes added their tensors")


def rank(meeting: str, number: int) -> None:
    """What each of the two processes runs: meet at a file, add one tensor. Fails if the sum is wrong."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    wait = timedelta(seconds=PATIENCE - 5)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=2, timeout=wait)
    tensor = torch.tensor([1.0 + number])
    dist.all_reduce(tensor)
    if float(tensor) != 3.0:
        raise RuntimeError(f"1 + 2 over two processes gave {float(tensor)}")
    dist.destroy_process_group()


def write_forever(folder: str) -> None:
    """What the process that is going to be killed runs: one checkpoint after another, each filled with its step."""
    import torch
    from torch import nn

    from modeledge.run import checkpoint

    model = nn.Linear(512, 1024)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = 0
    while True:
        step += 1
        nn.init.constant_(model.weight, step)
        checkpoint.save(Path(folder), step, model, optimizer, {"position": {"step": step}})
        checkpoint.rotate(Path(folder), keep=4, best=None)
