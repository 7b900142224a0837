"""What every recipe must hold of what its model is shown: nothing leaks, padding and neighbours do not matter, shares
are as stated, and who sees whom is as a plain loop says. G1, G2, ... are the generic checks."""

import numpy as np
import pytest
import torch

from modeledge.core import IGNORE, RecipeError, keyed
from modeledge.core.batch import PER_TOKEN
from modeledge.recipe.resolve import resolve
from modeledge.visibility import see

NOTHING_HIDDEN = {
    "bilm": "targets are the row's own tokens, no field of labels: tests/objectives/test_bilm.py",
    "guided_mlm": "the model chooses what is hidden by what stands there: tests/objectives/test_guided_mlm.py",
    "btmlm": "invents a translation of the whole sentence, hidden words and all (arXiv:2012.15674 §3.3)",
    "clwr": "a word asks for its translations by its own embedding (arXiv:1909.00964 §3.1)",
    **dict.fromkeys(("contrast", "hictl", "match", "xlco"), "tells whole texts apart, both in full view"),
    **dict.fromkeys(("nsp", "sop", "relation", "classify", "classify_pair", "regress", "choice", "image_label", "flag"),
                    "the label is about what is shown, and none of its tokens"),
    **dict.fromkeys(("skipgram", "cbow", "glove", "translate"), "scores pairs that it is given"),
}  # fmt: skip
"""Objectives without a hidden token, by kind, and why."""

TEXTS = ("ids", "target_ids")
LABELS = ("labels", "decoder_labels", "entity_labels")
FILLS = {"labels": IGNORE, "decoder_labels": IGNORE, "entity_labels": IGNORE, "doc": -1, "entities": -1, "block": -1}
IDS = ("ids", "behind_ids", "decoder_ids", "query_ids", "whole")


def stirred(model):
    """The model with every weight moved, so that nothing is zero by init and everything depends on everything."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def stages(stage):
    """The first stage of a recipe and the last, each with its model stirred and its feed."""

    def make(name, *sets):
        for last in (False, True)[: 1 + bool(resolve(name).keys.get("stages"))]:
            made, model, feed, _ = stage(name, *sets, last=last)
            yield made, stirred(model), feed

    return make


def groups(feed):
    """(source, names) of all objectives of a feed, those that share a pass together."""
    return [(feed.source_of(names[0]), names) for names in feed.groups(list(feed.objectives))]


def viewed(feed, raw, names, draw=0):
    """What the model is shown for raw rows, with the draws of that number."""
    for name in names:
        raw = feed.objectives[name].view(raw, keyed(0, "view", name, draw))
    return raw


def rows_of(feed, source, names, number=0):
    """Raw rows of a source, as `viewed` takes them."""
    raw = feed.rows(source, number)
    return raw.but(task=np.full(raw.size, feed.task_of(names[0]))) if feed.mix.kind in ("union", "ramp") else raw


def losses(model, feed, batch, names):
    """The summed losses of a group."""
    torch.manual_seed(0)
    with torch.no_grad():
        sums = model(names, feed.objectives[names[0]].finish(batch).tensors())
    return {name: (float(value.total), float(value.count)) for name, value in sums.items()}


# -- G1 -----------------------------------------------------------------------------------------------------------


def other_word(ids, facts):
    """Another ordinary token for each, of like sort; special ones as they are."""
    first, end = facts.words
    ordinary = (ids >= first) & (ids < end)
    return np.where(ordinary, first + (ids - first + 7) % (end - first), ids).astype(ids.dtype)


def hidden_and_changed(one, two):
    """The places of each field of labels that differ between two views of a batch and are hidden in both.

    A place where the token is shown all the same (kept, not masked) is no hidden one; a row whose other places are
    labelled otherwise drew otherwise (rare words) and says nothing."""
    out = {}
    for field in LABELS:
        if field not in one or one[field].shape != two[field].shape or one.ids.shape != two.ids.shape:
            continue
        asked = (one[field] == IGNORE) == (two[field] == IGNORE)
        differs = (one[field] != two[field]) & asked.all(tuple(range(1, asked.ndim)), keepdims=True)
        shown = one.ids != two.ids
        if field == "decoder_labels":
            shown = shown.any(tuple(range(1, shown.ndim))).reshape(-1, 1)
        elif shown.shape != differs.shape:  # labels apart from the row: XLNet's queries; half a row may be another's
            shown = np.broadcast_to(shown.sum(1, keepdims=True) > 1, differs.shape)
        out[field] = differs & ~shown
    return out


def hidden_places(feed, raw, names, facts):
    """For each text and each field of labels: a place of each row that is hidden, or -1."""
    found, one = {}, viewed(feed, raw, names)
    for text in TEXTS:
        for at in range(raw[text].shape[-1] if text in raw else 0):
            two = viewed(feed, changed(raw, text, np.full(raw.size, at), facts), names)
            for field, places in hidden_and_changed(one, two).items():
                best = found.setdefault((text, field), np.full(raw.size, -1))
                best[places.any(tuple(range(1, places.ndim)))] = at  # the last: something stands before it
    return {key: at for key, at in found.items() if (at >= 0).any()}


def changed(raw, text, at, facts):
    """The rows with another word at one place each."""
    here = np.arange(raw[text].shape[-1]) == at.reshape(-1, *[1] * (raw[text].ndim - 1))
    return raw.but(**{text: np.where(here, other_word(raw[text], facts), raw[text])})


def test_what_is_hidden_does_not_show_in_the_score_of_its_own_place(stages, name):
    """G1: another word at a hidden place of the row, the same draws: the loss of that place against one fixed label is
    what it was, while with other words around it is not."""
    for made, model, feed in stages(name):
        for source, names in groups(feed):
            if not {feed.objectives[n].config.kind for n in names} - NOTHING_HIDDEN.keys():
                continue
            raw = rows_of(feed, source, names)
            found = hidden_places(feed, raw, names, made.facts)
            assert found, f"{names} hides nothing: say why in NOTHING_HIDDEN"
            one = viewed(feed, raw, names)
            for (text, field), at in found.items():
                two = viewed(feed, changed(raw, text, at, made.facts), names)
                places = hidden_and_changed(one, two)[field]
                others = {f: np.full_like(one[f], IGNORE) for f in LABELS if f in one and f != field}
                asked = {field: np.where(places, made.facts.words[0], IGNORE), **others}
                third = one.but(ids=other_word(one.ids, made.facts))
                before, after, elsewhere = (losses(model, feed, b.but(**asked), names) for b in (one, two, third))
                own = [n for n, (_, count) in before.items() if count == places.sum()]
                assert own, (name, names, text, field, before)
                assert all(after[n] == pytest.approx(before[n], rel=1e-6) for n in own), (names, field, before, after)
                assert any(abs(elsewhere[n][0] - before[n][0]) > 1e-3 for n in own), (names, field, before, elsewhere)


# -- G2, G3 -------------------------------------------------------------------------------------------------------


def wider(batch, pad, more=8):
    """The batch with `more` columns of padding behind every text it holds."""
    shape, wrote = batch.ids.shape, batch.get("decoder_ids", batch.ids).shape
    asked = batch.get("query_ids", batch.ids).shape
    out = {}
    for field, value in batch.items():
        texts = [
            (field in PER_TOKEN, shape),
            (field.startswith("decoder_"), wrote),
            (field.startswith("query_"), asked),
        ]
        if not any(mine and value.shape[: len(s)] == s for mine, s in texts):
            out[field] = value
            continue
        axis = next(len(s) for mine, s in texts if mine and value.shape[: len(s)] == s) - 1
        fill = pad if field in IDS else FILLS.get(field, 0)
        behind = (*value.shape[:axis], more, *value.shape[axis + 1 :])
        out[field] = np.concatenate([value, np.full(behind, fill, value.dtype)], axis=axis)
    real = batch.get("valid", np.ones(shape, bool))
    out["valid"] = np.concatenate([real, np.zeros((*shape[:-1], more), bool)], axis=-1)
    if "special" in out:
        out["special"][..., -more:] = True
    return batch.but(**out)


def test_padding_changes_no_loss(stages, name):
    """G2: eight more columns of padding behind every text."""
    sources = resolve(name).keys["data"].items()
    shorter = [f"data.{source}.length=24" for source, c in sources if "length" in c and "query" not in c]
    for made, model, feed in stages(name, *shorter):  # so that tables of 32 places have room
        for source, names in groups(feed):
            raw = rows_of(feed, source, names)
            if "ids" not in raw or names[0] in PADLESS:
                continue
            batch = viewed(feed, raw, names)
            before = losses(model, feed, batch, names)
            after = losses(model, feed, wider(batch, made.facts.pad), names)
            for loss, (total, count) in before.items():
                assert after[loss][1] == count, (name, loss)
                assert after[loss][0] / max(count, 1) == pytest.approx(total / max(count, 1), abs=1e-5), (name, loss)


PADLESS = {
    "glove": "a row is a list of counted pairs, not a text",
    "translate": "a row is a triple of numbers, not a text",
}
"""Objectives whose rows have no padding, by name, and why."""


def alone(batch, document, pad):
    """The rows with one document each: the rest is padding, nothing is asked there."""
    own = batch.doc == document
    where = own if batch.labels.shape == own.shape else np.take_along_axis(own, batch.query_at, axis=1)
    return batch.but(
        ids=np.where(own, batch.ids, pad).astype(batch.ids.dtype),
        doc=np.where(own, 0, -1).astype(batch.doc.dtype),
        valid=own & batch.get("valid", True),
        labels=np.where(where, batch.labels, IGNORE),
    )


def test_documents_packed_in_a_row_cost_what_they_cost_alone(stages, name):
    """G3, for every source that can keep the documents of a row apart; an objective that cannot says so."""
    apart = [n for n, c in resolve(name).keys["data"].items() if c["kind"] in ("contiguous", "full_sentences")]
    for made, model, feed in stages(name, *(f"data.{source}.isolate=true" for source in apart)):
        for source, names in groups(feed):
            objective = feed.objectives[names[0]]
            if source in apart and not all(feed.objectives[n].apart for n in names):
                with pytest.raises(RecipeError, match=r"cannot keep the documents of a row apart\n.*isolate: false"):
                    feed.require(names, source, rows_of(feed, source, names))
                continue
            if source not in apart or objective.draws:
                continue
            steps = (viewed(feed, rows_of(feed, source, names, number), names) for number in range(9))
            batch = next((b for b in steps if "doc" in b and b.doc.max() > 0), None)
            assert batch is not None, f"{names}: no row of two documents came with `doc`"
            if "labels" not in batch:
                continue
            whole, count = losses(model, feed, batch, names)[names[0]]
            parts = [alone(batch, d, made.facts.pad) for d in range(int(batch.doc.max()) + 1)]
            each = [losses(model, feed, part, names)[names[0]] for part in parts]
            assert sum(c for _, c in each) == count
            assert sum(t for t, _ in each) / count == pytest.approx(whole / count, abs=1e-5), (name, names)


# -- G6 -----------------------------------------------------------------------------------------------------------


def near(shares, expected, slack=0.0):
    """The mean over rows within four standard errors of what is expected, and the slack: of some 300 such checks over
    the catalogue one would be off by three."""
    error = shares.std(ddof=1) / len(shares) ** 0.5
    return abs(shares.mean() - expected) <= 4 * error + slack + 1e-9


def test_shares_of_what_is_hidden_are_those_stated(stage, toy, name):
    """G6: of the ordinary tokens `rate` are asked, of those the stated shares are masks and other tokens. A row hides a
    whole number of tokens, so half a token a row is left to rounding."""
    asks = {o.name or o.kind: getattr(o, "mask", o) for o in toy(name)[1].objectives}
    asks = {n: o for n, o in asks.items() if isinstance(getattr(o, "replace", None), tuple) and o.kind != "mass"}
    asks = {n: o for n, o in asks.items() if getattr(o, "select", "") != "mention"}  # one a row, whatever the rate
    if not asks:
        return
    made, _, feed, _ = stage(name)
    for source, names in groups(feed):
        config = asks.get(names[0])
        rows = [feed.rows(source, step) for step in range(40 if config else 0)]
        rows = [raw.but(done=np.zeros_like(raw.done)) for raw in rows]  # where a rate falls, the first
        views = [viewed(feed, raw, names, draw=step) for step, raw in enumerate(rows)]
        if config is None or "labels" not in views[0] or views[0].labels.shape != rows[0].ids.shape:
            continue
        rate = config.rate[0] if isinstance(config.rate, tuple) else config.rate
        counts = [counted(raw, view, made.facts) for raw, view in zip(rows, views, strict=True)]
        ordinary, asked, masked, other = np.concatenate(counts, axis=1)
        enough = rate * ordinary >= 3  # of a shorter row one word is hidden, however long
        wrong_by_chance = config.replace[1] / np.diff(made.facts.words)[0]  # a random token that is the right one
        assert enough.sum() < 50 or near((asked - rate * ordinary)[enough], 0, slack=0.5), (name, names, asked.mean())
        assert near(masked - config.replace[0] * asked, 0), (name, names, masked.sum() / asked.sum())
        assert near(other - (config.replace[1] - wrong_by_chance) * asked, 0), (name, names, other.sum() / asked.sum())


def counted(raw, view, facts):
    """Of each row: ordinary tokens, those that are asked, of these those shown as a mask and as another token."""
    special = raw.special if "special" in raw else facts.is_special()[raw.ids]
    target, mask = view.labels != IGNORE, view.ids == facts.special["mask"]
    shown = (~special & raw.get("valid", True), target, target & mask, target & ~mask & (view.ids != view.labels))
    return np.stack([places.sum(1) for places in shown])


# -- G12 ----------------------------------------------------------------------------------------------------------


def may_see(objective, batch, b, q, k):
    """Whether the query at place q of row b sees the key at k, by what the paper says, one place at a time."""
    kind, config = objective.config.kind, objective.config
    config = getattr(config, "mask", config)
    rule = getattr(getattr(config, "visible", None), "rule", "full")
    rule = "causal" if kind == "clm" or getattr(config, "sees", "") == "causal" else rule
    if kind in ("rnn_lm", "bilm", "side_lm", "glove"):
        return True  # the backbone's directions say, or a row is no text
    if kind in ("skipgram", "cbow"):
        allowed = 0 < abs(q - k) <= batch["reach"][b, q]
    elif kind == "plm":
        free = batch["rank"][b, k] < 0
        turn = batch["rank"][b, q] if batch["predicted"][b, q] else batch["rank"][b, q] + 1
        allowed = k == q or free or batch["rank"][b, k] < turn
    elif kind == "mplm":
        allowed = may_see_compensated(batch["stream"][b], batch["rank"][b], q, k)
    elif kind == "camlm":
        hidden, same = batch["labels"][b] != IGNORE, batch["lang"][b, q] == batch["lang"][b, k]
        allowed = (k == q or (not same and not hidden[k])) if hidden[q] else same and not hidden[k]
    elif kind == "infill" or rule == "prefix":
        allowed = k < batch["prefix"][b] or k <= q
    else:
        allowed = {"full": True, "causal": k <= q, "anticausal": k >= q}["causal" if kind == "memory_lm" else rule]
    if config is objective.config and getattr(config, "sees", "") == "causal":
        return bool(allowed)  # padding stands behind, where nobody looks
    if "doc" in batch and batch["doc"][b, q] != batch["doc"][b, k]:
        return False
    return bool(allowed) and ("valid" not in batch or bool(batch["valid"][b, k]))


def may_see_compensated(stream, rank, q, k):
    """MPNet: every row sees the context and each predicted position once, as its token or as the mask for it."""
    token, mask, ask = 0, 1, 2
    if stream[k] == ask:
        return False
    if rank[k] < 0:
        return True  # context
    shown = {token: rank[k] <= rank[q], mask: False, ask: rank[k] < rank[q]}[int(stream[q])]
    return bool(shown) if stream[k] == token else not shown


def test_who_sees_whom_is_as_a_plain_loop_says(stages, name):
    """G12: the rule, as attention takes it, against a loop over rows, queries and keys."""
    for _, _, feed in stages(name):
        for source, names in groups(feed):
            batch = viewed(feed, rows_of(feed, source, names), names)
            if "ids" not in batch or batch.ids.ndim != 2:
                continue
            objective = feed.objectives[names[0]]
            b, t = 2, batch.ids.shape[1]
            batch = batch.rows(slice(-b, None))
            seen = see(objective.visible(batch.tensors()), b, t, device="cpu")
            found = torch.ones(b, t, t, dtype=torch.bool) if seen.mask is None else seen.mask[:, 0]
            found = found.tril() if seen.causal else found
            real = batch.get("valid", np.ones(batch.ids.shape, bool))
            for row, q, k in np.ndindex(b, t, t):
                if real[row, q]:
                    told = bool(found[row, q, k])
                    assert told == may_see(objective, batch, row, q, k), (name, names, row, q, k, told)
