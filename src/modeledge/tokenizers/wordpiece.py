"""WordPiece: greedy longest match, words continued by ##.

Encoding and special tokens: BERT, arXiv:1810.04805 and its released code. Merges are chosen by frequency, as in the
`tokenizers` library, not by the likelihood gain of the original (unreleased) trainer."""

from __future__ import annotations

import unicodedata
from typing import Any

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.tokenizers import Layout, Tokenizer
from modeledge.tokenizers._pieces import is_chinese


class WordPiece(Tokenizer):
    """[PAD] [UNK] [CLS] [SEP] [MASK] first; Chinese characters stand alone; bos is [CLS] and eos is [SEP]."""

    class Config(Tokenizer.Config):
        """vocab, lowercase, sentinels: see Tokenizer."""

        lowercase: bool = True

    spells = True

    def layout(self) -> Layout:
        names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        roles = names | {"bos": "[CLS]", "eos": "[SEP]"}
        return Layout(tuple(names.values()), (), roles, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
        inner.normalizer = normalizers.BertNormalizer(lowercase=self.config.lowercase)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inner.decoder = decoders.WordPiece(prefix="##")
        return inner

    def trainer(self, vocab: int, special: list[str], letters: list[str]) -> Any:
        return trainers.WordPieceTrainer(
            vocab_size=vocab,
            special_tokens=special,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=False,
        )

    def inside(self, letter: str) -> str | None:
        alone = (
            is_chinese(letter) or unicodedata.category(letter)[0] == "P" or (letter.isascii() and not letter.isalnum())
        )
        return None if alone else f"##{letter}"
