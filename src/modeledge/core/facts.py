"""What is known about the data before a model is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modeledge.core.errors import RecipeError


@dataclass
class Facts:
    """Sizes and tables that come from the data and the tokenizer, never from the recipe.

    vocab      rows of the token table
    special    ids of the special tokens that exist, by role: pad unk cls sep mask bos eos (and others by name)
    words      (first, end): the range of ordinary token ids; a random replacement is drawn from it
    sentinels  ids of T5's sentinels in the order of use, empty where the tokenizer has none
    continues  bool [v]: the token continues a word (WordPiece ##x); None where the store has word starts instead
    counts     float64 [v]: how often each token occurs in the training store; None away from training
    labels     names of the classes (of a source of records: of its fields), by data source
    classes    int64 [c]: how often each class occurs in the training rows, by data source; empty away from training
    types      how many values a further field of a batch has in the data (lang: languages); empty away from training
    image      (height, width, channels) of stored images
    entities   how many entities the data names
    relations  how many relations a store of triples has
    names      of the entities, by number; empty away from training
    vectors    float32 [entities, n]: a vector for each entity, made elsewhere; zeros for those without one
    tokenizer  the tokenizer itself, for parts that need strings (characters of words, prompts)
    pairs      computes `bigram`, when somebody asks; None away from training
    """

    vocab: int = 0
    special: dict[str, int] = field(default_factory=dict)
    words: tuple[int, int] = (0, 0)
    sentinels: list[int] = field(default_factory=list)
    continues: np.ndarray | None = None
    counts: np.ndarray | None = None
    labels: dict[str, list[str]] = field(default_factory=dict)
    classes: dict[str, np.ndarray] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    image: tuple[int, int, int] | None = None
    entities: int = 0
    relations: int = 0
    names: list[str] = field(default_factory=list)
    vectors: np.ndarray | None = None
    tokenizer: Any = None
    pairs: Callable[[], float] | None = None

    @property
    def pad(self) -> int:
        """The padding id; 0 where the tokenizer has none (it is then never a target)."""
        return self.special.get("pad", 0)

    def role(self, name: str, where: str) -> int:
        """The id of the special token that plays a role; `where` needs it. Raises RecipeError if there is none."""
        if name not in self.special:
            raise RecipeError(
                f"{where}: needs a [{name}] token; this tokenizer has {', '.join(self.special) or 'no special ones'}\n"
                "  next: data prepared with a tokenizer of the recipe's own kind"
            )
        return self.special[name]

    @property
    def bigram(self) -> float | None:
        """What knowing the token before costs on held-out text, in nats a token; None away from training."""
        return self.pairs() if self.pairs is not None else None

    def is_special(self) -> np.ndarray:
        """bool [v]: special tokens, which are never hidden and never a random replacement."""
        flag = np.zeros(self.vocab, dtype=bool)
        flag[[i for i in self.special.values() if i < self.vocab]] = True
        flag[[i for i in self.sentinels if i < self.vocab]] = True
        return flag
