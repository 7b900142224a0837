"""An encoder that sees everything and a decoder that sees its own past and the encoder's states.

Sources: arXiv:1706.03762 §3.1; T5, arXiv:1910.10683 §2.1 (its parts: bucketed positions, rms norm, no biases, unscaled
attention)."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field
from torch import Tensor, nn

from modeledge.backbones._levels import Levels, chained, within
from modeledge.backbones.transformer import EVERYTHING, Transformer
from modeledge.core import Batch, Facts, Output, Part
from modeledge.layers.attention import Across, Cache, Keep
from modeledge.visibility import Seen, both, see
from modeledge.visibility.causal import causal
from modeledge.visibility.cross import cross
from modeledge.visibility.document import document


class EncoderDecoder(nn.Module, Part):
    """Both stacks are made of the same parts and share the token table. `seen` says who sees whom in the encoder.

    Named intermediates: those of the stacks behind `encoder.` and `decoder.`; `decoder.blocks.3.cross` (b h t s)."""

    class Config(Transformer.Config):
        """decoder_layers: default as many as the encoder's. Everything else holds for both stacks."""

        decoder_layers: int | None = Field(None, ge=0)

    decodes = True
    """It writes: what follows `decoder_ids`, reading `ids`."""

    def __init__(self, config: Config, facts: Facts):
        super().__init__()
        self.config, self.width = config, config.width
        depth = config.layers if config.decoder_layers is None else config.decoder_layers
        self.encoder = Transformer(config.model_copy(update={"pool": None}), facts)
        self.decoder = Transformer(config.model_copy(update={"pool": None, "layers": depth}), facts, cross=True)
        self.decoder.embedding.word = self.encoder.embedding.word

    @property
    def embed(self) -> nn.Module | None:
        """The token table of both stacks."""
        return self.encoder.embed

    def levels(self) -> Levels:
        """The parts from the input to the output."""
        return chained(within("encoder", self.encoder.levels()), within("decoder", self.decoder.levels()))

    def new_cache(self) -> Cache:
        """An empty memory for generation; it also holds the encoder's states, which are computed once."""
        return Cache()

    def forward(
        self, batch: Batch, seen: Seen = EVERYTHING, *, keep: Collection[str] = (), cache: Cache | None = None
    ) -> Output:
        """Encode `batch.ids` and decode `batch.decoder_ids`; without decoder ids `states` are the encoder's.

        With a cache the decoder ids are those that follow the cached ones, and the encoder runs at the first call."""
        inner, outer = (Keep([k.removeprefix(p) for k in keep if k.startswith(p)]) for p in ("encoder.", "decoder."))
        if cache is not None and cache.source is not None:
            states, mask = cache.source
        else:
            states = self.encoder.run(batch, seen, inner)
            mask = self._reach(batch, states)
        out = Output(encoder_states=states, cache=cache)
        if cache is not None:
            cache.source = states, mask
        out.states = self._decode(batch, states, mask, outer, cache) if "decoder_ids" in batch else states
        for prefix, kept in (("encoder.", inner), ("decoder.", outer)):
            out.kept.update({prefix + name: x for name, x in kept.found.items()})
        return out

    def _reach(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Which encoder states each decoder token may see: b 1 u s."""
        docs = (batch["decoder_doc"], batch["doc"]) if "decoder_doc" in batch else None
        u = batch["decoder_ids"].shape[1] if docs is not None else 1
        rule = cross(batch.get("readable", batch.get("valid")), docs=docs)
        return see(rule, len(states), u, states.shape[1], device=states.device).mask

    def _decode(self, batch: Batch, states: Tensor, mask: Tensor | None, keep: Keep, cache: Cache | None) -> Tensor:
        ids = batch["decoder_ids"]
        rule = both(causal, document(batch["decoder_doc"])) if "decoder_doc" in batch else causal
        start = 0 if cache is None else cache.length
        seen = see(rule, *ids.shape, device=ids.device, start=start)
        shown = Batch(ids=ids).but(positions=batch.get("decoder_positions"), lang=batch.get("decoder_lang"))
        return self.decoder.run(shown, seen, keep, cache, Across(mask=mask, keep=keep, source=states))
