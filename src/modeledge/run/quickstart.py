"""The whole story in minutes on a laptop: pre-train on the embedded corpus, ask whether it helped, report.

A BERT is pre-trained on the standard library's documentation; then it learns from ten labelled docstrings a package to
say which package a docstring belongs to, against the same model from scratch, each at its own best learning rate
(chosen on other docstrings with one seed) and with the same seeds. What comes out is printed as it came out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modeledge.analysis.intervals import Interval, difference, interval
from modeledge.core import InputError, keyed
from modeledge.data.prepare import prepare
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run import corpus
from modeledge.run.fill import MASK, fill
from modeledge.run.finetune import Question, Tuning, finetune
from modeledge.run.keep import Loaded, load_model
from modeledge.run.port import export_model
from modeledge.run.pretrain import Outcome, pretrain
from modeledge.run.progress import Silent
from modeledge.run.report import write_report

RECIPE = "bert"
RATES = {"pre-trained": (5e-4, 1e-3), "from scratch": (1e-3, 2e-3)}
"""Learning rates each contender may choose from."""
SHORT = ("objectives=[{kind: mlm}]", "data.text={kind: full_sentences, length: 64}", "backbone.join=pre")
"""What a run of three minutes wants, and BERT itself has not: every token spent on the masked words of one text (half
of a segment pair comes from elsewhere), rows so short that each position is seen often, and norms before the branches,
which leave the plateau of the frequencies sooner."""
EPOCHS, BATCH, LENGTH = 20.0, 20, 64
POOL = "objectives.0.pool=mean"
"""Without next-sentence prediction the first token stands for nothing yet; the mean of the tokens does."""
Say = Callable[[str], None]


def quickstart(
    out: str | Path, *, seconds: float = 180.0, seeds: int = 5, size: str = "mini", quiet: bool = False
) -> dict[str, Any]:
    """Run the story into the folder `out`, pre-training for `seconds`; returns what was measured.

    Raises InputError if `out` already holds something, or the standard library came without its sources;
    SystemExit with the code of the signal if one of the trainings was asked to stop."""
    out, begun = Path(out), time.monotonic()
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: there is already something here\n  next: choose another --out, or remove it first")
    say: Say = (lambda text: None) if quiet else (lambda text: print(text, flush=True))
    say("1. A corpus: the documentation of Python's standard library (nothing is downloaded)")
    found, files = corpus.write_corpus(out / "corpus")
    say(f"   {corpus.describe(found)}")
    say("2. A tokenizer and a store")
    made = prepare_store(files.text, out / "store", size=size)
    say("   " + "\n   ".join(made.lines()))
    say(f"3. Pre-training {RECIPE} --size {size} for {seconds:.0f} s")
    outcome = learn(out, seconds=seconds, size=size, quiet=quiet)
    say("   " + str(outcome).replace("\n", "\n   "))
    if outcome.exit_code:
        raise SystemExit(outcome.exit_code)
    loaded = load_model(out / "run")
    say("4. Which package does a docstring belong to? Ten labelled examples each; fresh weights as the other contender")
    compared = contend(loaded, files, seeds=seeds, say=say)
    compared["chance"] = 1 / len(found.packages)
    say("5. Three hidden words of docstrings it has never seen")
    samples = show_masks(loaded, found, say=say)
    say("6. A folder that transformers opens")
    exported = export_model(out / "run", out / "hf")
    say("   " + str(exported).replace("\n", "\n   "))
    for name, told in (("comparison", compared), ("samples", samples)):
        (out / "run" / f"{name}.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    report = write_report(out / "run")
    spent = time.monotonic() - begun
    say("\n".join(last_lines(out, outcome, compared, report, seconds=spent)))
    return {"seconds": spent, "pretraining": outcome.as_dict(), "comparison": compared, "samples": samples,
            "export": exported.as_dict(), "report": str(report)}  # fmt: skip


def prepare_store(text: Path, store: Path, *, size: str) -> Any:
    """The corpus as tokens, with the tokenizer the recipe asks for."""
    wanted = check(resolve(RECIPE, size=size)).tokenizer
    return prepare([text], out=store, tokenizer=wanted, valid_fraction=0.05, processes=1)


def learn(out: Path, *, seconds: float, size: str, quiet: bool) -> Outcome:
    """The pre-training, with a look at the held-out documents now and then."""
    sets = [*SHORT, "loop.evaluate={every: 100, batches: 4}"]
    budget = f"{seconds:g}s"
    return pretrain(
        RECIPE, size=size, data=[str(out / "store")], out=out / "run", budget=budget, sets=sets, quiet=quiet
    )


def contend(loaded: Loaded, files: corpus.CorpusFiles, *, seeds: int, say: Say) -> dict[str, Any]:
    """Accuracy on the test docstrings of the pre-trained and of a fresh model, over seeds, as a report shows it."""
    scores: dict[str, dict[int, float]] = {}
    rates = {}
    for name, choices in RATES.items():
        tried = {lr: _score(loaded, files.train, files.dev, lr, name, [0])[0] for lr in choices}
        rates[name] = max(tried, key=lambda lr: tried[lr])
        told = ", ".join(f"{lr:g}: {score:.3f}" for lr, score in tried.items())
        say(f"   {name}: learning rate {rates[name]:g} (accuracy on other docstrings with one seed: {told})")
        scores[name] = _score(loaded, files.train, files.test, rates[name], name, list(range(seeds)))
        say(f"   {name}: accuracy {interval(list(scores[name].values()))} over {seeds} seeds")
    ours, fresh = scores["pre-trained"], scores["from scratch"]
    gain = difference(fresh, ours)
    rows = []
    for name, by_seed in scores.items():
        mean, half, _ = interval(list(by_seed.values()))
        half = half if seeds > 1 else 0.0
        rows.append({"name": name, "scores": list(by_seed.values()), "mean": mean, "low": mean - half,
                     "high": mean + half, "note": f"learning rate {rates[name]:g}"})  # fmt: skip
    return {
        "title": "Which package does a docstring belong to?",
        "text": f"Accuracy on the same docstrings over the same seeds: {told_gain(gain)}.",
        "metric": "accuracy",
        "rows": rows,
        "gain": gain.as_dict(),
        "verdict": told_gain(gain),
    }


def told_gain(gain: Interval) -> str:
    """What the paired difference over seeds says, whichever way it went."""
    if gain.n < 2:
        return f"pre-training changed it by {gain.mean:+.3f} with one seed, which is no evidence"
    if not gain.sure:
        return f"no sure difference: pre-training changed it by {gain.mean:+.3f} ± {gain.half:.3f}"
    word = "helped" if gain.mean > 0 else "hurt"
    return f"pre-training {word}: {gain.mean:+.3f} ± {gain.half:.3f} (95 % interval over {gain.n} seeds)"


def _score(loaded: Loaded, train: Path, test: Path, lr: float, name: str, seeds: list[int]) -> dict[int, float]:
    question = Question("classify", train, valid=test, length=LENGTH)
    tuning = Tuning(epochs=EPOCHS, batch=BATCH, lr=lr, scratch=name == "from scratch", sets=(POOL,))
    tuned = finetune(loaded, question, tuning, seeds=seeds, progress=Silent())
    if tuned.exit_code:
        raise SystemExit(tuned.exit_code)
    return tuned.values()


def show_masks(loaded: Loaded, found: corpus.Corpus, *, say: Say, count: int = 3) -> list[dict[str, Any]]:
    """Hide a word in some short test docstrings and let the model say what it was."""
    known = set(loaded.facts.tokenizer.pieces.tokens)
    samples: list[dict[str, Any]] = []
    order = keyed("filled masks").permutation(len(found.test))
    for text, _ in (found.test[i] for i in order):
        words = text.split()
        fit = [w for w in words[2:-1] if w.isalpha() and w.islower() and len(w) > 3 and w in known]
        if len(samples) < count and 8 <= len(words) <= 16 and "\n" not in text and fit:
            hidden = fit[len(fit) // 2]
            samples.append({"text": text.replace(f" {hidden} ", f" {MASK} ", 1), "answer": hidden})
    samples = [s for s in samples if MASK in s["text"]]
    for sample, filled in zip(samples, fill(loaded, [s["text"] for s in samples]), strict=True):
        sample["guesses"] = filled.guesses[0]
        guesses = ", ".join(f"{word} {chance:.0%}" for word, chance in filled.guesses[0])
        say(f"   {sample['text']}\n      it was: {sample['answer']}; it says: {guesses}")
    return samples


def last_lines(out: Path, outcome: Outcome, compared: dict[str, Any], report: Path, *, seconds: float) -> list[str]:
    """What was learnt, where everything lies, what to type next."""
    done = outcome.done
    baseline = done.baselines.get("mlm", {}).get("unigram")
    loss = done.result.valid.get("mlm")
    known = loss is not None and baseline is not None
    learnt = f"held-out loss {loss:.2f}, unigram baseline {baseline:.2f}; " if known else ""
    ours, fresh = compared["rows"]
    minutes, rest = divmod(round(seconds), 60)
    return [
        "",
        f"Done in {minutes} min {rest:02d} s.",
        f"Learnt: {learnt}accuracy {ours['mean']:.3f} against {fresh['mean']:.3f} from scratch.",
        f"        {compared['verdict']}",
        f"Lies in {out}: run/model, hf (for transformers), store, corpus; open {report}",
        "Next, with your own text:",
        f"  modeledge pretrain {RECIPE} --size mini --set backbone.join=pre --data FILES --budget 30min --out myrun",
        "  modeledge finetune myrun --task classify --data YOUR_TABLE --out mytask",
    ]
