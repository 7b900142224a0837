"""A small corpus in English and Chinese, and every kind of tokenizer trained on it."""

from __future__ import annotations

from functools import cache

import pytest

from modeledge.core import find

WORDS = (
    "the of and to in was that he his it had with as for her she not at but on be they were which by this from "
    "have all would said there been when one who their more if no out so up into them some what could time "
    "only now then like my over man than other even most made after also did many before through down little "
    "own day came people never unaffable lower newest widest happening running jumped houses opened different "
    "naive café "
).split()
CHINESE = "今天天气很好,我们一起去公园散步吧。他在图书馆里读了一本关于历史的书。"


@cache
def corpus() -> tuple[str, ...]:
    lines = []
    for n in range(240):
        chosen = [WORDS[(n * 7 + i * i * 3 + i * n) % len(WORDS)] for i in range(14)]
        lines.append(" ".join(chosen).capitalize() + f", {n * 37 % 1000}! (Don't) {CHINESE[n % 20 : n % 20 + 9]}.")
    return tuple(lines)


SETTINGS = [
    ("wordpiece", {}),
    ("wordpiece", {"lowercase": False, "sentinels": 5}),
    ("bpe", {}),
    ("byte_bpe", {}),
    ("byte_bpe", {"family": "gpt2"}),
    ("unigram", {}),
    ("unigram", {"family": "xlnet"}),
    ("unigram", {"family": "t5", "sentinels": 10}),
    ("unigram", {"family": "mbart", "languages": 3}),
    ("unigram", {"sample": 0.2}),
    ("unigram", {"sample": 50.0}),
    ("word", {}),
    ("chars", {}),
]


@cache
def trained(number: int):
    kind, settings = SETTINGS[number]
    part = find("tokenizers", kind)
    return part(part.Config(kind=kind, vocab=400, **settings)).train(iter(corpus()))


@pytest.fixture(
    params=range(len(SETTINGS)), ids=lambda n: "-".join([SETTINGS[n][0], *map(str, SETTINGS[n][1].values())])
)
def tokenizer(request):
    return trained(request.param)


@pytest.fixture(scope="session")
def make():
    """A trained tokenizer by kind and settings."""

    def get(kind: str, **settings):
        return trained(SETTINGS.index((kind, settings)))

    return get


@pytest.fixture
def texts():
    return list(corpus())
