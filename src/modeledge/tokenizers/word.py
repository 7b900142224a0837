"""Whole words: the vocabulary of word vectors and of word-level language models."""

from __future__ import annotations

from typing import Any

import tokenizers as hf
from pydantic import Field
from tokenizers import models, normalizers, pre_tokenizers, trainers

from modeledge.tokenizers import Layout, Tokenizer


class Word(Tokenizer):
    """<pad> <unk> <s> </s> <mask> first, then words by falling frequency; cls is <s> and sep is </s>."""

    class Config(Tokenizer.Config):
        """least: a word seen less often is unknown (word2vec: 5)."""

        vocab: int = 200_000
        lowercase: bool = True
        least: int = Field(1, ge=1)

    def layout(self) -> Layout:
        names = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "mask": "<mask>"}
        roles = names | {"cls": "<s>", "sep": "</s>"}
        return Layout(tuple(names.values()), (), roles, "<s> $A </s>", "<s> $A </s> $B:1 </s>:1")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.WordLevel(unk_token="<unk>"))
        inner.normalizer = normalizers.BertNormalizer(lowercase=self.config.lowercase, strip_accents=False)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return inner

    def trainer(self, vocab: int, special: list[str], letters: list[str]) -> Any:
        return trainers.WordLevelTrainer(
            vocab_size=vocab, special_tokens=special, min_frequency=self.config.least, show_progress=False
        )
