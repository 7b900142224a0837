"""WordPiece: greedy longest match, words continued by ##.

Encoding and special tokens: BERT, arXiv:1810.04805 and its released code. Its trainer was not released. Merges are
chosen by frequency, as in the `tokenizers` library, unless the recipe asks for the gain in likelihood (_likelihood.py):
that takes rare symbols which always stand together before frequent ones, so that a vocabulary of the same size cuts the
words of the corpus into more pieces."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any, Literal

import tokenizers as hf
from pydantic import Field
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from modeledge.tokenizers import Layout, Tokenizer
from modeledge.tokenizers._alphabet import alphabet
from modeledge.tokenizers._likelihood import learn
from modeledge.tokenizers._pieces import is_chinese

_LONGEST = 100
"""Characters of a word, at most; longer ones are unknown."""


class WordPiece(Tokenizer):
    """[PAD] [UNK] [CLS] [SEP] [MASK] first; Chinese characters stand alone; bos is [CLS] and eos is [SEP]."""

    class Config(Tokenizer.Config):
        """merge: what the next two symbols to be joined are chosen by; least: symbols that stand together less often
        are not joined. vocab, lowercase, sentinels: see Tokenizer."""

        lowercase: bool = True
        merge: Literal["frequency", "likelihood"] = "frequency"
        least: int = Field(2, ge=1)

    spells = True

    def layout(self) -> Layout:
        names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        roles = names | {"bos": "[CLS]", "eos": "[SEP]"}
        return Layout(tuple(names.values()), (), roles, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")

    def blank(self) -> hf.Tokenizer:
        inner = hf.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=_LONGEST))
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
            min_frequency=self.config.least,
            show_progress=False,
        )

    def learn(self, texts: list[str], vocab: int, special: list[str]) -> hf.Tokenizer:
        if self.config.merge == "frequency":
            return super().learn(texts, vocab, special)
        inner = self.blank()
        letters = alphabet(inner, texts, vocab)
        counts: Counter[str] = Counter()
        for text in texts:
            normal = inner.normalizer.normalize_str(text)
            counts.update(word for word, _ in inner.pre_tokenizer.pre_tokenize_str(normal))
        known = set(letters)  # a word with any other character is unknown as a whole
        counts = Counter({w: n for w, n in sorted(counts.items()) if len(w) <= _LONGEST and known.issuperset(w)})
        pieces = [*special, *letters, *filter(None, map(self.inside, letters))]
        pieces += learn(counts, most=vocab - len(pieces), least=self.config.least)
        inner.model = models.WordPiece(
            {p: i for i, p in enumerate(pieces)}, unk_token="[UNK]", max_input_chars_per_word=_LONGEST
        )
        inner.add_special_tokens([hf.AddedToken(token, special=True, normalized=False) for token in special])
        return inner

    def inside(self, letter: str) -> str | None:
        alone = (
            is_chinese(letter) or unicodedata.category(letter)[0] == "P" or (letter.isascii() and not letter.isalnum())
        )
        return None if alone else f"##{letter}"
