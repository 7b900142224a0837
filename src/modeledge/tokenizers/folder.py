"""The tokenizer of a Hugging Face folder, as it is."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import tokenizers as hf

from modeledge.core import PartConfig
from modeledge.tokenizers import Layout, Tokenizer, read_inner, read_settings

_USUAL = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<|endoftext|>", "[CLS]"),
    "eos": ("</s>", "<|endoftext|>", "[SEP]"),
}
_LANGUAGE = re.compile("[a-z]{2,3}_[A-Z]{2}")
"""How mBART names the token of a language."""


class Folder(Tokenizer):
    """Any tokenizer.json. Truncation and padding, which would lose or add tokens, are switched off, and that is
    said."""

    class Config(PartConfig):
        """path: a folder with a tokenizer.json (and, for the roles of special tokens, tokenizer_config.json)."""

        path: str

    def __init__(self, config: Config):
        super().__init__(config)
        folder = Path(config.path)
        inner, settings = read_inner(folder), read_settings(folder)
        for name, switch in {"truncation": inner.no_truncation, "padding": inner.no_padding}.items():
            if getattr(inner, name) is not None:
                logging.getLogger("modeledge").warning("%s/tokenizer.json: %s switched off", folder, name)
                switch()
        self.adopt(inner, _roles(settings, inner.get_vocab(with_added_tokens=True)) | _languages(inner))

    def layout(self) -> Layout:
        """Nothing of our own: the folder's post-processing stays."""
        return Layout((), (), {})


def _roles(settings: dict[str, Any], table: dict[str, int]) -> dict[str, str]:
    """Who plays which role: as the settings say, else by the usual names."""
    roles = {}
    for role, usual in _USUAL.items():
        said = settings.get(f"{role}_token")
        said = said.get("content") if isinstance(said, dict) else said
        found = next((t for t in (said, *usual) if t in table), None)
        if found is not None:
            roles[role] = found
    return roles


def _languages(inner: hf.Tokenizer) -> dict[str, str]:
    """The special tokens of languages, numbered in the order of their ids."""
    added = sorted(inner.get_added_tokens_decoder().items())
    names = [token.content for _, token in added if token.special and _LANGUAGE.fullmatch(token.content)]
    return {f"lang{i}": name for i, name in enumerate(names)}
