"""Byte pair encoding of words whose last character carries </w>.

Source: Sennrich et al., arXiv:1508.07909; as in GPT (released tokenizer, 40,478 ids)."""

from __future__ import annotations

from typing import Any, Literal

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.tokenizers import Layout, Tokenizer


class BPE(Tokenizer):
    """<pad> <unk> <s> </s> <mask> first, where cls is <s> and sep is </s>; or as in GPT: <unk> alone, and </s> last."""

    class Config(Tokenizer.Config):
        """family: whose special tokens: `framed`, or `gpt` (no padding and no mask; nothing stands around a text)."""

        family: Literal["framed", "gpt"] = "framed"

    spells = True

    def layout(self) -> Layout:
        if self.config.family == "gpt":
            return Layout(("<unk>",), ("</s>",), {"unk": "<unk>", "bos": "</s>", "eos": "</s>"})
        names = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "mask": "<mask>"}
        roles = names | {"cls": "<s>", "sep": "</s>"}
        return Layout(tuple(names.values()), (), roles, "<s> $A </s>", "<s> $A </s> $B:1 </s>:1")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        inner.normalizer = normalizers.BertNormalizer(lowercase=self.config.lowercase, strip_accents=False)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inner.decoder = decoders.BPEDecoder(suffix="</w>")
        return inner

    def trainer(self, vocab: int, special: list[str], letters: list[str]) -> Any:
        return trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=special,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            end_of_word_suffix="</w>",
            show_progress=False,
        )

    def inside(self, letter: str) -> str | None:
        return f"{letter}</w>"
