"""Byte pair encoding of words whose last character carries </w>.

Source: Sennrich et al., arXiv:1508.07909; as in GPT (released tokenizer, 40,478 ids). Textbooks also cut words at the
longest piece of the list first, which is not the order of the merges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.tokenizers import Layout, Tokenizer

END = "</w>"


class BPE(Tokenizer):
    """<pad> <unk> <s> </s> <mask> first, where cls is <s> and sep is </s>; or as in GPT: <unk> alone, and </s> last."""

    class Config(Tokenizer.Config):
        """family: whose special tokens: `framed`, or `gpt` (no padding and no mask; nothing stands around a text);
        encode: by the merges in the order they were learnt, or by the longest piece a word holds (of equal ones the
        leftmost; the end of the word counts as a character), then what is left of it on either side."""

        family: Literal["framed", "gpt"] = "framed"
        encode: Literal["merges", "longest"] = "merges"

    spells = True

    def layout(self) -> Layout:
        if self.config.family == "gpt":
            return Layout(("<unk>",), ("</s>",), {"unk": "<unk>", "bos": "</s>", "eos": "</s>"})
        names = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "mask": "<mask>"}
        roles = names | {"cls": "<s>", "sep": "</s>"}
        return Layout(tuple(names.values()), (), roles, "<s> $A </s>", "<s> $A </s> $B:1 </s>:1")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix=END))
        inner.normalizer = normalizers.BertNormalizer(lowercase=self.config.lowercase, strip_accents=False)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inner.decoder = decoders.BPEDecoder(suffix=END)
        return inner

    def trainer(self, vocab: int, special: list[str], letters: list[str]) -> Any:
        return trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=special,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            end_of_word_suffix=END,
            show_progress=False,
        )

    def inside(self, letter: str) -> str | None:
        return letter + END

    # ---- the longest piece first ----

    @property
    def portable(self) -> bool:
        return self.config.encode == "merges"

    @cached_property
    def listed(self) -> tuple[dict[str, int], int]:
        """The pieces with their ids, and the length of the longest."""
        table = self.inner.get_vocab(with_added_tokens=False)
        return table, max(map(len, table))

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        return super().ids_of(texts) if self.portable else [e.ids for e in self.encodings(texts)]

    def encodings(self, texts: Sequence[str]) -> list[hf.Encoding]:
        if self.portable:
            return super().encodings(texts)
        table, most = self.listed
        found = []
        for text in texts:
            pre = hf.PreTokenizedString(text)
            pre.normalize(self.inner.normalizer.normalize)
            self.inner.pre_tokenizer.pre_tokenize(pre)
            pre.tokenize(lambda word: tokens(word, table, most))
            found.append(pre.to_encoding())
        return found


def tokens(word: str, table: dict[str, int], most: int) -> list[hf.Token]:
    """The pieces of a word with their places; what no piece covers is unknown, character by character."""
    out, at = [], 0
    for piece in cut([*word, END], table, most):
        end = at + len(piece.removesuffix(END).encode())  # the library counts bytes here
        out.append(hf.Token(table.get(piece, table["<unk>"]), piece, (at, end)))
        at = end
    return out


def cut(symbols: list[str], table: dict[str, int], most: int) -> list[str]:
    """The longest piece of `table` (of at most `most` characters) among consecutive symbols, and the rest cut likewise.

    The end of the word is never left alone: no piece is nothing but it."""
    last = len(symbols) - 1 if symbols[-1:] == [END] else -1
    parts = [(0, len(symbols), False)]  # from, to, whether it is a piece: all of a length before the next shorter ones
    for size in range(min(len(symbols), most), 0, -1):
        found = []
        for begin, end, known in parts:
            at = end if known else begin
            while at + size <= end:
                if at + size != last and "".join(symbols[at : at + size]) in table:
                    found += [(begin, at, False)] * (begin < at) + [(at, at + size, True)]
                    begin = at = at + size
                else:
                    at += 1
            found += [(begin, end, known)] * (begin < end)
        parts = found
    whole = [["".join(symbols[a:b])] if known else symbols[a:b] for a, b, known in parts]
    out = [piece for pieces in whole for piece in pieces]
    return [*out[:-2], "".join(out[-2:])] if out[-1:] == [END] else out
