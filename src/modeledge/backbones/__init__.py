"""Networks from a batch to states. `Backbone(config, facts)`; `backbone(batch, seen, keep=(), cache=None) -> Output`.

A backbone has `width` (of `states`) and `embed` (the token table, `embed.weight` is v e; None without one). It knows
nothing of objectives, devices or processes. Its `levels()` are the names of its parts in groups from the input to the
output, for what treats layers by their depth: what no group names belongs to the last."""
