"""Chinese words by jieba: which tokens begin one. Token ids do not depend on it.

Source of the idea: whole-word masking for Chinese, arXiv:1906.08101 (with another segmenter)."""

from __future__ import annotations

import logging
import re
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

_IDEOGRAPHS = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_ANY = re.compile(f"[{_IDEOGRAPHS}]")


def has_chinese(text: str) -> bool:
    """Whether the text holds an ideograph."""
    return not text.isascii() and _ANY.search(text) is not None


def segmenter_name() -> str | None:
    """Name and version of the segmenter, None where jieba is not installed."""
    try:
        return f"jieba {version('jieba')}"
    except PackageNotFoundError:
        return None


@cache
def segmenter() -> Any:
    """jieba's segmenter, its dictionary read from the package itself (about a second, once a process)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel(logging.WARNING)
    made = jieba.Tokenizer()
    made.FREQ, made.total = made.gen_pfdict(made.get_dict_file())  # not from a cache file in a shared folder
    made.initialized = True
    return made


def chinese_starts(text: str, spans: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """`starts` (which tokens begin a word), with tokens that begin at an ideograph told by the segmenter instead."""
    at = np.zeros(len(text) + 1, bool)
    place = 0
    for word in segmenter().cut(text):
        at[place] = True
        place += len(word)
    ideograph = np.zeros(len(text) + 1, bool)
    ideograph[[m.start() for m in _ANY.finditer(text)]] = True
    begin = spans[:, 0]
    return np.where(ideograph[begin], at[begin], starts)
