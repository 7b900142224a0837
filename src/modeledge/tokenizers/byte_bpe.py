"""Byte-level BPE: 256 bytes and their merges, no unknown tokens, decoding gives back the text exactly.

Source: GPT-2 (released tokenizer, 50,257 ids) and RoBERTa, arXiv:1907.11692 §4.4 (50,265 ids)."""

from __future__ import annotations

from typing import Any, Literal

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.tokenizers import Layout, Tokenizer


class ByteBPE(Tokenizer):
    """Special tokens as in RoBERTa (pad is id 1, the mask is last) or as in GPT-2 (one <|endoftext|>, last)."""

    class Config(Tokenizer.Config):
        """family: whose special tokens: `roberta` or `gpt2` (bos and eos only, no padding and no mask)."""

        vocab: int = 50_265
        family: Literal["roberta", "gpt2"] = "roberta"

    def layout(self) -> Layout:
        if self.config.family == "gpt2":
            end = "<|endoftext|>"
            return Layout((), (end,), {"bos": end, "eos": end})
        front = ("<s>", "<pad>", "</s>", "<unk>")
        roles = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
        roles |= {"bos": "<s>", "eos": "</s>"}
        return Layout(front, ("<mask>",), roles, "<s> $A </s>", "<s> $A </s> </s> $B </s>")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.BPE())
        if self.config.lowercase:
            inner.normalizer = normalizers.Lowercase()
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        return inner

    def trainer(self, vocab: int, special: list[str], letters: list[str]) -> Any:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        return trainers.BpeTrainer(
            vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
