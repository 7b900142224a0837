"""Tokenizers: from text to ids and back, trained here or loaded from a Hugging Face folder.

Built on the `tokenizers` library; a kind adds the special tokens of its family in the order of the released models, so
that exported folders have the ids their readers expect. Not here: sentence boundaries and Chinese words (data.prepare).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers as hf
from pydantic import Field
from tokenizers import processors

from modeledge.core import DataError, InputError, Part, PartConfig, RecipeError, find, unknown
from modeledge.tokenizers._alphabet import alphabet, without_special
from modeledge.tokenizers._cache import WordCache, applies
from modeledge.tokenizers._pieces import Pieces, pieces_of

CONFIG_FILE = "tokenizer_config.json"
OWN_KEY = "modeledge"


class Layout(NamedTuple):
    """The special tokens of a family.

    front, back  tokens before and after the ordinary ids, in order
    roles        role -> token (pad unk cls sep mask bos eos)
    single, pair templates of one and of two texts, in the notation of `tokenizers` ("" : nothing is added)
    """

    front: tuple[str, ...]
    back: tuple[str, ...]
    roles: dict[str, str]
    single: str = ""
    pair: str = ""


class Encoded(NamedTuple):
    """One text with places: ids [n], the character range of each token [n, 2], which tokens begin a word [n]."""

    ids: np.ndarray
    spans: np.ndarray
    word_starts: np.ndarray


class EncodedWords(NamedTuple):
    """One text given as words: ids [n] and the index of the word each token belongs to [n]."""

    ids: np.ndarray
    words: np.ndarray


class Frame(NamedTuple):
    """Special ids around one text (before, after) or two (before, between, after); their segments; the segments of the
    first and of the second text."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    texts: tuple[int, int]


class Tokenizer(Part):
    """Text to ids and back. Trained by `train`, or restored by `load_tokenizer`.

    special    ids of special tokens by role: pad unk cls sep mask bos eos, those the family has
    sentinels  ids of T5's sentinels in the order of use
    vocab      how many ids there are
    words      (first, end): the longest run of ordinary ids
    """

    class Config(PartConfig):
        """vocab: at most so many ids, special ones included; lowercase: fold case and, in WordPiece, strip accents;
        sentinels: how many <extra_id_n> stand at the end, for span corruption (T5: 100)."""

        vocab: int = Field(30_522, ge=16, le=4_000_000)
        lowercase: bool = False
        sentinels: int = Field(0, ge=0, le=1000)

    inner: hf.Tokenizer
    """The pipeline of the `tokenizers` library, once there is one."""
    spells = False
    """Whether training starts from the characters of the corpus."""

    def __init__(self, config: Any):
        self.config = config
        self.cache: WordCache | None = None
        self.special: dict[str, int] = {}
        self.sentinels: list[int] = []
        self.vocab = 0

    @property
    def kind(self) -> str:
        """The name of the kind: the name of its file."""
        return type(self).__module__.rsplit(".", 1)[-1]

    def __getstate__(self) -> dict[str, Any]:
        roles = {role: self.inner.id_to_token(i) for role, i in self.special.items()}
        return {"config": self.config, "inner": self.inner.to_str(), "roles": roles}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.config = state["config"]
        self.adopt(hf.Tokenizer.from_str(state["inner"]), state["roles"])

    @property
    def portable(self) -> bool:
        """Whether tokenizer.json by itself, read by another library, gives these ids."""
        return True

    # ---- what a kind says ----

    def layout(self) -> Layout:
        """The family's special tokens."""
        raise NotImplementedError

    def blank(self) -> hf.Tokenizer:
        """An untrained pipeline."""
        raise NotImplementedError

    def trainer(self, vocab: int, special: list[str], letters: list[str]) -> Any:
        """What learns at most `vocab` ids beginning with `special`, from the characters `letters`."""
        raise NotImplementedError

    def inside(self, letter: str) -> str | None:
        """How a character is written inside (WordPiece) or at the end (BPE) of a word, if not as itself."""
        return None

    # ---- making ----

    def train(self, texts: Iterator[str]) -> Tokenizer:
        """Learn the vocabulary from texts, which are held in memory meanwhile; the same texts give the same ids.

        Raises RecipeError for a vocabulary that special tokens fill, DataError if there is nothing to learn from."""
        layout, most = self.layout(), self.config.vocab
        special = len(layout.front) + len(layout.back) + self.config.sentinels
        if most <= special:
            raise RecipeError(
                f"tokenizer.vocab: {most} ids are no more than the {special} special tokens, of which "
                f"{self.config.sentinels} are sentinels\n  next: a larger vocab, or fewer sentinels"
            )
        held = [clean(t) for t in texts]
        if not any(t.strip() for t in held):
            raise DataError("tokenizer: nothing to learn from: every text is empty")
        back = [*layout.back, *(f"<extra_id_{i}>" for i in reversed(range(self.config.sentinels)))]
        inner = self.learn(held, most - len(back), list(layout.front))
        inner.add_special_tokens([hf.AddedToken(token, special=True, normalized=False) for token in back])
        return self.adopt(inner, layout.roles)

    def learn(self, texts: list[str], vocab: int, special: list[str]) -> hf.Tokenizer:
        """A pipeline with at most `vocab` ids that begin with `special`."""
        inner = self.blank()
        letters = alphabet(inner, texts, vocab) if self.spells else []
        written = [w for c in letters if (w := self.inside(c))]
        inner.train_from_iterator(texts, self.trainer(vocab, [*special, *written], letters))
        return without_special(inner, written)

    def adopt(self, inner: hf.Tokenizer, roles: dict[str, str]) -> Tokenizer:
        """Take a trained pipeline and the tokens that play the roles."""
        self.inner = inner
        inner.encode_special_tokens = True  # a text that spells a special token does not become one
        self.cache = WordCache(self.ids_of) if applies(inner) else None
        table = inner.get_vocab(with_added_tokens=True)
        self.vocab = max(table.values()) + 1
        self.special = {role: table[token] for role, token in roles.items() if token in table}
        sentinels = []
        while (name := f"<extra_id_{len(sentinels)}>") in table:
            sentinels.append(table[name])
        self.sentinels = sentinels
        self._template()
        return self

    def _template(self) -> None:
        layout = self.layout()
        if not layout.single:
            return
        table = self.inner.get_vocab(with_added_tokens=True)
        named = [t for t in {*layout.roles.values()} if t in table and t in f"{layout.single} {layout.pair}"]
        pair = layout.pair or None
        self.inner.post_processor = processors.TemplateProcessing(
            single=layout.single, pair=pair, special_tokens=[(t, table[t]) for t in sorted(named)]
        )

    def save(self, folder: Path | str) -> None:
        """Write tokenizer.json and tokenizer_config.json, which `transformers.AutoTokenizer` opens, into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.inner.save(str(folder / "tokenizer.json"))
        settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        settings |= {f"{role}_token": self.pieces.tokens[i] for role, i in self.special.items()}
        if self.sentinels:
            settings["additional_special_tokens"] = [self.pieces.tokens[i] for i in self.sentinels]
        own = {"kind": self.kind, "config": self.config.model_dump(mode="json"), "fingerprint": self.fingerprint}
        settings[OWN_KEY] = own
        (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    # ---- facts ----

    @cached_property
    def pieces(self) -> Pieces:
        """What each id looks like: strings and how they join into words."""
        return pieces_of(self.inner, self.vocab, self._special_ids)

    @property
    def _special_ids(self) -> list[int]:
        added = [i for i, token in self.inner.get_added_tokens_decoder().items() if token.special]
        return sorted({*self.special.values(), *self.sentinels, *added})

    @property
    def words(self) -> tuple[int, int]:
        """(first, end) of the longest run of ids none of which is special."""
        edges = [-1, *self._special_ids, self.vocab]
        first, end = max(zip(edges, edges[1:], strict=False), key=lambda pair: pair[1] - pair[0])
        return first + 1, end

    @property
    def continues(self) -> np.ndarray | None:
        """bool [v]: the token continues a word (WordPiece's ##); None where one token does not say so alone."""
        return self.pieces.continues

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the kind and of every token with its id: the same exactly if ids mean the same."""
        lines = [self.kind, *(json.dumps([i, token]) for i, token in enumerate(self.pieces.tokens))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def frame(self, *, pair: bool = False) -> Frame:
        """What the family puts around one text, or around and between two; nothing but eos where it has no template."""
        return self._frames[pair]

    @cached_property
    def _frames(self) -> dict[bool, Frame]:
        return {pair: self._read_frame(pair) for pair in (False, True)}

    def _read_frame(self, pair: bool) -> Frame:
        made = self.inner.encode("a", "a" if pair else None)
        owner = [-1 if s is None else s for s in made.sequence_ids]
        own = [[i for i, s in enumerate(owner) if s == which] for which in range(1 + pair)]
        if len(own[0]) == len(made.ids) - len(own[-1]) * pair or not all(own):
            end = tuple(self.special[r] for r in ("eos", "sep") if r in self.special)[:1]
            none = tuple(0 for _ in end)
            return Frame((), end if pair else (), end, ((), none if pair else (), none), (0, 0))
        cuts = [own[0][0], own[0][-1] + 1, own[-1][0], own[-1][-1] + 1]
        places = slice(cuts[0]), slice(cuts[1], max(cuts[1], cuts[2])), slice(cuts[3], None)
        types = made.type_ids
        ids, segments = ([tuple(column[p]) for p in places] for column in (made.ids, types))
        before, between, after = segments
        return Frame(*ids, segments=(before, between, after), texts=(types[cuts[0]], types[cuts[2]]))

    # ---- use ----

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """All ids of all texts in a row, and how many each text has (int32, int64); the fast way, for stores.

        No special tokens are added, and none are read from the text, here and in the other ways to encode."""
        texts = [clean(t) for t in texts]
        if self.cache is not None:
            return self.cache.encode_flat(texts)
        encoded = self.ids_of(texts)
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum())), lengths

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without places."""
        return [e.ids for e in self.inner.encode_batch_fast(texts, add_special_tokens=False)]

    def encodings(self, texts: Sequence[str]) -> list[hf.Encoding]:
        """The ids of each text with their places in it."""
        return self.inner.encode_batch(texts, add_special_tokens=False)

    def encode_training(self, texts: Sequence[str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """As `encode_flat`, for text to be trained on: where a kind draws how words are cut, by chance."""
        return self.encode_flat(texts)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text: int32 [n] each."""
        ids, lengths = self.encode_flat(texts)
        return np.split(ids, np.cumsum(lengths)[:-1]) if len(lengths) else []

    def encode_spans(self, texts: Sequence[str]) -> list[Encoded]:
        """The ids of each text with character ranges (without the leading space a piece may carry) and word starts."""
        found = []
        for text, encoding in zip(texts, self.encodings([clean(t) for t in texts]), strict=True):
            ids = np.asarray(encoding.ids, np.int32)
            spans = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
            blank = np.fromiter((c.isspace() for c in text), bool, len(text))
            blank = np.append(blank, False)
            spans[:, 0] += blank[spans[:, 0]] & (spans[:, 1] > spans[:, 0] + 1)
            found.append(Encoded(ids, spans, self.word_starts(ids)))
        return found

    def encode_words(self, rows: Sequence[Sequence[str]]) -> list[EncodedWords]:
        """The ids of texts that come as words, each word encoded by itself as if a space stood before it.

        A word that leaves no token becomes the unknown token, so that every word has at least one."""
        distinct = list(dict.fromkeys(chain.from_iterable(rows)))
        lead = " " if self.pieces.spaces else ""
        ids = dict(zip(distinct, self.encode_batch([lead + w for w in distinct]), strict=True))
        filler = np.array([self.special.get("unk", self.words[0])], np.int32)
        found = []
        for row in rows:
            parts = [ids[w] if len(ids[w]) else filler for w in row]
            sizes = np.fromiter(map(len, parts), np.int64, len(parts))
            flat = np.concatenate(parts) if parts else np.zeros(0, np.int32)
            found.append(EncodedWords(flat, np.repeat(np.arange(len(row)), sizes)))
        return found

    def word_starts(self, ids: np.ndarray) -> np.ndarray:
        """bool [n]: which of consecutive tokens begin a word; the first always does."""
        return self.pieces.word_starts(ids)

    def decode(self, ids: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        """The text of the ids; special tokens are left out unless asked for."""
        return self.inner.decode([int(i) for i in ids], skip_special_tokens=not special)


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The tokenizer of a folder written by `Tokenizer.save`, or of any Hugging Face folder with a tokenizer.json.

    Raises DataError naming the file that is missing, damaged or of an unknown kind."""
    folder = Path(folder)
    own = read_settings(folder).get(OWN_KEY)
    if not own or own.get("kind") == "folder":
        kind = find("tokenizers", "folder")
        return kind(kind.Config(kind="folder", path=str(folder)))
    kind = find("tokenizers", own["kind"])
    tokenizer = kind(kind.Config.model_validate(own["config"]))
    inner, layout = read_inner(folder), tokenizer.layout()
    known = all(inner.token_to_id(token) is not None for token in (*layout.front, *layout.back))
    if not known or own.get("fingerprint") != tokenizer.adopt(inner, layout.roles).fingerprint:
        raise DataError(f"{folder}/tokenizer.json: its vocabulary is not the one {CONFIG_FILE} was written for")
    return tokenizer


def read_inner(folder: Path) -> hf.Tokenizer:
    """The pipeline in `folder`/tokenizer.json. Raises DataError naming the file."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        then = "re-save a folder with vocab files by transformers' AutoTokenizer.save_pretrained"
        raise DataError(f"{folder}: no tokenizer.json in this folder\n  next: {then}")
    try:
        return hf.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"{file}: not a tokenizer: {error}") from None


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of `folder`/tokenizer_config.json, empty if there is none. Raises DataError naming the file."""
    file = folder / CONFIG_FILE
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{file}: expected a JSON object, found {type(settings).__name__}")
    return settings


def role_id(tokenizer: Tokenizer, role: str) -> int:
    """The id that plays `role`. Raises InputError naming the roles there are."""
    if role not in tokenizer.special:
        raise InputError(unknown(f"tokenizer {tokenizer.kind}", "special token for the role", role, tokenizer.special))
    return tokenizer.special[role]


def clean(text: str) -> str:
    """Lone surrogates cannot be encoded: they become U+FFFD."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
