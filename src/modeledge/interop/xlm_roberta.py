"""XLM-R: RoBERTa's tensors under another name of the type. Source of the names: transformers' XLMRobertaForMaskedLM."""

from __future__ import annotations

from modeledge.interop.roberta import Roberta as _Roberta


class XLMRoberta(_Roberta):
    spelled = "xlm-roberta"
    classes = tuple((parts, f"XLM{name}") for parts, name in _Roberta.classes)
