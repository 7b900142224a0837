"""Unigram language model pieces, the space written as U+2581.

Source: Kudo, arXiv:1804.10959 (SentencePiece); special tokens as in the released vocabularies of ALBERT (30,000), XLNet
(32,000) and T5 (32,000 and 100 sentinels), in the first rows of PEGASUS's (96,103, a mask for sentences), and in the
first and last of mBART's (250,027, tokens of 25 languages; here they are numbered, as a store numbers languages)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
import tokenizers as hf
from pydantic import Field, model_validator
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from modeledge.tokenizers import Layout, Tokenizer, clean
from modeledge.tokenizers._alphabet import alphabet
from modeledge.tokenizers._draw import draw
from modeledge.tokenizers._unigram import learn, normal

_RUNS = re.compile(r"\u2581?\w+|\u2581?[^\w\u2581]+|\u2581")  # a piece does not mix letters and other signs
_WORDS = 300_000
"""Distinct words the pieces are learnt from, the most frequent ones."""


class Unigram(Tokenizer):
    """Special tokens of a family; every family gets a cls, sep and mask, so that any objective can read the store."""

    class Config(Tokenizer.Config):
        """family: whose special tokens, and in which order. T5 also wants `sentinels: 100`; languages: how many have a
        token of their own (mBART: 25); sample: cut the words of training text into pieces by chance, each way x with a
        probability in proportion to P(x)^sample (none: the most probable way)."""

        vocab: int = 32_000
        family: Literal["albert", "xlnet", "t5", "pegasus", "xlm_r", "mbart"] = "albert"
        languages: int = Field(0, ge=0, le=1000)
        sample: float | None = Field(None, gt=0)

        @model_validator(mode="after")
        def _has_tokens(self) -> Unigram.Config:
            if bool(self.languages) != (self.family == "mbart"):
                raise ValueError("languages are the tokens of the family mbart, which needs some")
            return self

    def layout(self) -> Layout:
        if self.config.family == "xlnet":
            front = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
            roles = {r: f"<{r}>" for r in ("pad", "unk", "cls", "sep", "mask")} | {"bos": "<s>", "eos": "</s>"}
            return Layout(front, (), roles, "$A <sep> <cls>:2", "$A <sep> $B:1 <sep>:1 <cls>:2")
        if self.config.family == "xlm_r":
            front = ("<s>", "<pad>", "</s>", "<unk>")
            roles = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
            roles |= {"bos": "<s>", "eos": "</s>"}
            return Layout(front, ("<mask>",), roles, "<s> $A </s>", "<s> $A </s> </s> $B </s>")
        if self.config.family == "mbart":
            front = ("<s>", "<pad>", "</s>", "<unk>")
            roles = {r: f"<{r}>" for r in ("pad", "unk", "mask")} | {"bos": "<s>", "eos": "</s>", "sep": "</s>"}
            tongues = {f"lang{i}": f"<lang_{i}>" for i in range(self.config.languages)}
            return Layout(front, (*tongues.values(), "<mask>"), roles | tongues, "$A </s>", "$A </s> $B </s>")
        if self.config.family == "t5":
            front = ("<pad>", "</s>", "<unk>", "<mask>")
            roles = {r: f"<{r}>" for r in ("pad", "unk", "mask")} | {"eos": "</s>", "sep": "</s>"}
            return Layout(front, (), roles, "$A </s>", "$A </s> $B </s>")
        if self.config.family == "pegasus":
            front = ("<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk>")
            roles = {"pad": "<pad>", "unk": "<unk>", "mask_sent": "<mask_1>", "mask": "<mask_2>"}
            return Layout(front, (), roles | {"eos": "</s>", "sep": "</s>"}, "$A </s>", "$A </s> $B </s>")
        front = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
        roles = {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        roles |= {"bos": "[CLS]", "eos": "[SEP]"}
        return Layout(front, (), roles, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.Unigram())
        steps = [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
        inner.normalizer = normalizers.Sequence([*steps, *([normalizers.Lowercase()] * self.config.lowercase)])
        spaces = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
        inner.pre_tokenizer = pre_tokenizers.Sequence([spaces, pre_tokenizers.Split(self._spelled(), "isolated")])
        inner.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
        return inner

    def _spelled(self) -> Regex:
        """The first sign of a special token that a text spells: cut off, so that the model cannot find the token.

        (In Unigram special tokens are pieces like others.)"""
        names = "|".join(re.escape(token[1:]) for token in self.layout().front)
        return Regex(rf"[<\[](?=(?:{names}|extra_id_\d+>))")

    def encode_training(self, texts: Sequence[str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self.config.sample is None:
            return super().encode_training(texts, rng)
        inner, rows = self.inner, []
        for text in texts:
            normal = inner.normalizer.normalize_str(clean(text))
            rows.append([word for word, _ in inner.pre_tokenizer.pre_tokenize_str(normal)])
        words = list(chain.from_iterable(rows))
        pieces, score, number = self._known
        drawn, sizes = draw(words, pieces, score, rng, alpha=self.config.sample)
        parts = np.split(number[drawn], np.cumsum(sizes)[:-1]) if words else []
        for place in np.flatnonzero(sizes == 0).tolist():  # unknown characters, or too long
            parts[place] = np.array([token.id for token in inner.model.tokenize(words[place])], np.int64)
        of_row = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        lengths = np.bincount(of_row, [len(p) for p in parts], len(rows)).astype(np.int64)
        return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int32), lengths

    @cached_property
    def _known(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The ordinary pieces, their log-probabilities and their ids."""
        special = set(self._special_ids)
        vocab = json.loads(self.inner.to_str())["model"]["vocab"]
        known = [(piece, score, i) for i, (piece, score) in enumerate(vocab) if i not in special and piece]
        pieces, scores, ids = zip(*known, strict=True)
        return list(pieces), np.array(scores), np.array(ids, np.int64)

    def learn(self, texts: list[str], vocab: int, special: list[str]) -> hf.Tokenizer:
        inner = self.blank()
        letters = set(alphabet(inner, texts, vocab))
        counts: Counter[str] = Counter()
        for text in texts:
            for word in inner.normalizer.normalize_str(text).split(" "):
                counts.update(_RUNS.findall(f"\u2581{word}"))
        known = Counter({w: n for w, n in counts.items() if letters.issuperset(w.lstrip("\u2581"))})
        known["\u2581"] += 1
        often = dict(sorted(known.items(), key=lambda pair: (-pair[1], pair[0]))[:_WORDS])
        pieces = normal([p for p in learn(often, vocab) if p[0] not in special][: vocab - len(special)])
        inner.model = models.Unigram([*((token, 0.0) for token in special), *pieces], special.index("<unk>"), False)
        inner.add_special_tokens([hf.AddedToken(token, special=True, normalized=False) for token in special])
        return inner
