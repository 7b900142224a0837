"""A small language laboratory: facts, backbones, objectives and rows at toy width."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from modeledge.core import Batch, Facts, build, find, keyed

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 5, "eos": 6}
TINY = {
    "transformer": {"width": 16, "layers": 2, "heads": 2, "ffn": {"kind": "mlp", "width": 24}},
    "encoder_decoder": {"width": 16, "layers": 2, "heads": 2, "ffn": {"kind": "mlp", "width": 24}},
    "two_stream": {"width": 16, "layers": 2, "heads": 2, "ffn": {"kind": "mlp", "width": 24}},
}


class Laboratory:
    """Vocabulary of 60: special tokens 0-6, ordinary ones 7-49, sentinels 59 down to 50."""

    def __init__(self, vocab: int = 60):
        counts = np.zeros(vocab)
        counts[7:50] = 1 / np.arange(1, 44)
        self.facts = Facts(
            vocab=vocab, special=dict(SPECIAL), words=(7, 50), sentinels=list(range(59, 49, -1)), counts=counts
        )

    def backbone(self, kind: str = "transformer", **settings: Any) -> Any:
        config = find("backbones", kind).Config.model_validate({"kind": kind, **TINY[kind], **settings})
        return build("backbones", config, self.facts).eval()

    def objective(self, kind: str, backbone: nn.Module, **settings: Any) -> Any:
        config = find("objectives", kind).Config.model_validate({"kind": kind, **settings})
        return build("objectives", config, self.facts, backbone).eval()

    def rows(self, b: int = 4, t: int = 24, *, padded: bool = True, framed: bool = True, seed: int = 0) -> Batch:
        """[cls] A [sep] B [sep] and padding (framed), or a bare stream with an end token in the middle."""
        rng = keyed("rows", seed)
        ids = rng.integers(*self.facts.words, (b, t)).astype(np.int32)
        place = np.arange(t)
        number = {"row": np.arange(b), "epoch": np.zeros(b, np.int64)}
        if not framed:
            ids[:, t // 2] = SPECIAL["eos"]
            doc = np.broadcast_to((place > t // 2).astype(np.int32), ids.shape)
            return Batch(ids=ids, special=doc < 0, doc=doc, **number).but(special=ids == SPECIAL["eos"])
        n = rng.integers(t // 2, t + 1, b)[:, None] if padded else np.full((b, 1), t)
        middle = n // 2
        special = (place == 0) | (place == middle) | (place == n - 1)
        ids[special] = SPECIAL["sep"]
        ids[:, 0] = SPECIAL["cls"]
        valid = place < n
        ids[~valid] = SPECIAL["pad"]
        starts = (rng.random((b, t)) < 0.6) | special | ~valid
        starts[:, 1:] |= special[:, :-1]
        batch = Batch(ids=ids, special=special | ~valid, word_starts=starts, valid=valid, **number)
        batch["segments"] = ((place > middle) & valid).astype(np.int8)
        batch["is_next"], batch["swapped"] = rng.integers(0, 2, b), rng.integers(0, 2, b)
        return batch if padded else batch.but(valid=None)

    def view(self, objective: Any, batch: Batch, *key: int | str) -> Batch:
        return objective.view(batch, keyed("view", *key))

    def ready(self, objective: Any, batch: Batch, *key: int | str) -> Batch:
        """The batch as the model gets it."""
        return objective.finish(self.view(objective, batch, *key)).tensors()


@pytest.fixture
def lab() -> Laboratory:
    torch.manual_seed(0)
    return Laboratory()


class Shelf:
    """Passages given as lists of ids, as a source; [cls] and [sep] are put around them."""

    def __init__(self, passages: list[list[int]]):
        self.rows = [[1, *p, 2] for p in passages]
        self.passages = len(passages)

    def whole(self, numbers: np.ndarray) -> SimpleNamespace:
        """Their sizes."""
        return SimpleNamespace(size=np.array([len(self.rows[n]) for n in numbers]))

    def texts(self, numbers: np.ndarray) -> Batch:
        """As `ids` and `valid`."""
        return padded([self.rows[n] for n in numbers])


def padded(texts: list[list[int]]) -> Batch:
    """Texts padded to the longest."""
    longest = max(map(len, texts), default=1)
    ids = np.array([[*t, *[0] * (longest - len(t))] for t in texts], np.int64).reshape(len(texts), longest)
    return Batch(ids=ids, valid=np.arange(longest) < np.array([len(t) for t in texts])[:, None])


def stack(width: int = 16, layers: int = 1, kind: str = "transformer", **more: Any) -> dict[str, Any]:
    """Settings of a small stack."""
    return {
        "kind": kind, "width": width, "layers": layers, "heads": 2, "ffn": {"kind": "mlp", "width": 2 * width},
        "positions": {"kind": "learned", "max": 40}, **more,
    }  # fmt: skip


class Library:
    """Passages, and two towers with a reader. Vocabulary of 60: special tokens 0-4."""

    Shelf = Shelf
    padded, stack = staticmethod(padded), staticmethod(stack)
    facts = Facts(vocab=60, special={"pad": 0, "cls": 1, "sep": 2, "mask": 3, "eos": 4}, words=(5, 60))

    def dual(
        self, reader: dict[str, Any], facts: Facts | None = None, *, width: int | None = 8, norm: str | None
    ) -> Any:
        """Two towers and a reader."""
        torch.manual_seed(0)
        towers = {"query": stack(pool="mean"), "passage": stack(pool="mean")}
        keys = {"kind": "dual", "towers": towers, "width": width, "norm": norm, "reader": reader}
        return build("backbones", find("backbones", "dual").Config.model_validate(keys), facts or self.facts).eval()


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def adopt() -> Any:
    """adopt(model of transformers): our backbone and objectives by kind, with its weights."""
    from modeledge.interop import from_hf

    def make(theirs: Any, **facts: Any) -> tuple[Any, dict[str, Any]]:
        found = from_hf(theirs.config.to_dict() | {"architectures": [type(theirs).__name__]}, theirs.state_dict())
        vocab = found.facts["vocab"]
        known = Facts(vocab=vocab, special=dict(SPECIAL), words=(7, vocab), sentinels=[vocab - 1, vocab - 2])
        for name, value in facts.items():
            setattr(known, name, value)
        backbone = build(
            "backbones", find("backbones", found.backbone["kind"]).Config.model_validate(found.backbone), known
        )
        objectives = {}
        for settings in found.objectives:
            config = find("objectives", settings["kind"]).Config.model_validate(settings)
            objectives[settings["kind"]] = build("objectives", config, known, backbone)
        whole = nn.ModuleDict({"backbone": backbone, "objectives": nn.ModuleDict(objectives)})
        lost = whole.load_state_dict(found.state, strict=False)
        assert not lost.unexpected_keys, lost
        return backbone.eval(), {name: o.eval() for name, o in objectives.items()}

    return make


@pytest.fixture
def facts_text() -> Any:
    """facts_text(rng, countries=, sentences=): sentences in which capitals are to each other as their countries."""

    def make(rng, *, countries, sentences):
        """Sentences about countries, one a document: what belongs to one country shares words, and so does what is a
        capital."""
        shared = ["river", "leader", "language", "mountain", "food", "song"]
        of_capital = ["city", "mayor", "streets", "metro", "town", "square"]
        of_country = ["nation", "border", "farmers", "parliament", "army", "coast"]
        out = []
        for _ in range(sentences):
            i, kind = rng.integers(countries), rng.integers(3)
            own = f"{shared[rng.integers(6)]}{i}"
            if kind == 0:
                out.append(f"capital{i} is the capital of country{i}")
            elif kind == 1:
                out.append(f"the {rng.choice(of_capital)} of capital{i} with {own} has its {rng.choice(of_capital)}")
            else:
                out.append(f"the {rng.choice(of_country)} of country{i} with {own} has its {rng.choice(of_country)}")
        return [s.split() for s in out]

    return make


@pytest.fixture
def shelf(library):
    """Twenty passages of 2 to 8 tokens."""
    rng = np.random.default_rng(0)
    return library.Shelf([rng.integers(5, 60, n).tolist() for n in rng.integers(2, 9, 20)])


@pytest.fixture
def spawn_two(tmp_path):
    """spawn_two(work): run work(rank, port, folder) in two processes that can meet at the port."""

    def spawn(work):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.spawn(work, (port, tmp_path), nprocs=2)

    return spawn
