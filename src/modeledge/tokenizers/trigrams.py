"""Letter trigrams of words: good -> #go goo ood od#. Any word of a known alphabet has them, misspelt or new.

Source: word hashing, DSSM (Huang et al., CIKM 2013) §3.2. A text becomes the trigrams of its words, one word after the
other; that they are counted, not ordered, is the model's business (backbones/bag.py). They are of characters, not
bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import tokenizers as hf
from tokenizers import pre_tokenizers

from modeledge.tokenizers import Encoded, clean
from modeledge.tokenizers.word import Word

MARK = "#"


class Trigrams(Word):
    """A vocabulary of trigrams by falling frequency; a trigram that is not in it is unknown."""

    class Config(Word.Config):
        """vocab: at most so many trigrams and special tokens; least: a trigram seen less often is unknown."""

        vocab: int = 30_626

    @property
    def portable(self) -> bool:
        return False

    def blank(self) -> hf.Tokenizer:
        inner = super().blank()
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return inner

    def learn(self, texts: list[str], vocab: int, special: list[str]) -> hf.Tokenizer:
        return super().learn([self.spell(t) for t in texts], vocab, special)

    def spell(self, text: str) -> str:
        """The trigrams of a text's words, with blanks between them."""
        return " ".join(trigrams(word) for word, _ in self.words_of(text))

    def words_of(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """The words of a text, their case folded if the tokenizer does, and where each stands in the text."""
        text = text.lower() if self.config.lowercase and len(text.lower()) == len(text) else text
        return pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return super().encode_flat([self.spell(clean(t)) for t in texts])

    def encode_spans(self, texts: Sequence[str]) -> list[Encoded]:
        """As for every tokenizer; the characters of a trigram are those of its word."""
        found = []
        for text in texts:
            words = self.words_of(clean(text))
            encoded = self.encode_words([[word for word, _ in words]])[0]
            places = np.array([place for _, place in words], np.int64).reshape(-1, 2)
            found.append(Encoded(encoded.ids, places[encoded.words], self.word_starts(encoded.ids)))
        return found

    def word_starts(self, ids: np.ndarray) -> np.ndarray:
        starts = self._opens[ids]
        starts[:1] = True
        return starts

    @cached_property
    def _opens(self) -> np.ndarray:
        """bool [v]: trigrams at the beginning of a word, and special tokens."""
        opens = np.array([token.startswith(MARK) for token in self.pieces.tokens])
        opens[self._special_ids] = True
        return opens


@lru_cache(1 << 17)
def trigrams(word: str) -> str:
    """The trigrams of a word between two marks, as many as it has characters, with blanks between them."""
    marked = MARK + word + MARK
    return " ".join(marked[i : i + 3] for i in range(len(word)))
