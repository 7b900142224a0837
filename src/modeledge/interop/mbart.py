"""mBART: BART's parts with norms before each branch and one at the end of each stack.

Source of the names: transformers' MBartForConditionalGeneration, whose decoder begins with what ends the labels, the
token of a language."""

from __future__ import annotations

from modeledge.interop._encoder import both
from modeledge.interop._stacks import SEQ2SEQ
from modeledge.interop.bart import Bart


class MBart(Bart):
    same = {**Bart.same, "join.kind": "pre"}
    once = {**Bart.once, **both("layer_norm", "norm")}
    start = "lang"
    classes = (*(({kind}, "MBartForConditionalGeneration") for kind in SEQ2SEQ), (set(), "MBartModel"))
